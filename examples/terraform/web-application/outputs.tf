output "port" {
  description = "Port of the host that leads to the application."
  value       = tonumber(berth_instance.application.ports["http"].host_port)
}

output "url" {
  description = "Where the application is, as the host itself reaches it."
  value       = "http://127.0.0.1:${berth_instance.application.ports["http"].host_port}/"
}

output "images" {
  description = "What runs, each by its digest."
  value = {
    application = berth_image.application.reference_resolved
    database    = berth_image.database.reference_resolved
  }
}

output "database_address" {
  description = "The database's address on the private network."
  value       = berth_instance.database.ipv4_address
}

output "volume" {
  description = "Name of the volume that holds the database's files."
  value       = berth_volume.data.name
}

output "ids" {
  description = "Ids of the instances, for commands and actions."
  value = {
    application = berth_instance.application.id
    database    = berth_instance.database.id
  }
}
