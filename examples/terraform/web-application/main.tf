# A web application and its database on one host: the database is on a network of their own, and keeps its files in a volume.

locals {
  labels = merge(var.labels, { application = var.name })
}

resource "berth_image" "application" {
  host      = var.host
  reference = var.image
}

resource "berth_image" "database" {
  host      = var.host
  reference = var.database_image
}

# Between the two of them. Nothing leads out of it.
resource "berth_network" "private" {
  host     = var.host
  name     = "${var.name}-private"
  isolated = true
  labels   = local.labels
}

resource "berth_volume" "data" {
  host            = var.host
  name            = "${var.name}-data"
  keep_on_destroy = var.keep_data
  labels          = local.labels
}

resource "berth_instance" "database" {
  host  = var.host
  name  = "${var.name}-database"
  image = berth_image.database.id

  secret_environment_wo         = { POSTGRES_PASSWORD = var.database_password }
  secret_environment_wo_version = var.database_password_version

  networks = { eth0 = { network = berth_network.private.id } }
  mounts   = { data = { source = berth_volume.data.name, target = var.database_path } }
  limits   = { memory = var.memory.database }

  # What makes its files at the first start may take its time.
  health_check = { tcp = { port = var.database_port }, interval = "2s", start_period = "2m" }
  wait_for     = { condition = "healthy" }
  stop_timeout = "1m"

  labels = merge(local.labels, { tier = "database" })
}

resource "berth_instance" "application" {
  host  = var.host
  name  = var.name
  image = berth_image.application.id

  environment = merge(var.environment, {
    DATABASE_HOST = berth_instance.database.ipv4_address
    DATABASE_PORT = tostring(var.database_port)
  })
  secret_environment_wo         = { DATABASE_PASSWORD = var.database_password }
  secret_environment_wo_version = var.database_password_version

  networks = {
    eth0 = { network = "default" }
    eth1 = { network = berth_network.private.id }
  }
  ports = {
    http = {
      container_port = var.application_port
      host_port      = var.published_port
      host_address   = var.published_address
    }
  }
  limits = { memory = var.memory.application }

  health_check = { tcp = { port = var.application_port }, interval = "2s", start_period = "1m" }
  wait_for     = { condition = "healthy" }

  labels = merge(local.labels, { tier = "application" })
}
