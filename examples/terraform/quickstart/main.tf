terraform {
  required_providers {
    berth = {
      source = "berth-run/berth"
    }
  }
}

variable "host" {
  description = "Where the agent listens: unix:///path, https://host:port or ssh://user@host."
  type        = string
}

variable "registry" {
  description = "The registry's address."
  type        = string
}

provider "berth" {
  host = var.host
}

resource "berth_remote" "local" {
  name     = "local"
  address  = var.registry
  insecure = true
}

resource "berth_image" "web" {
  reference = "${berth_remote.local.name}:berth/web:1"
}

resource "berth_instance" "web" {
  name  = "web"
  image = berth_image.web.id

  environment = {
    GREETING = "hello"
  }

  ports = {
    http = { container_port = 80 }
  }
}

output "page" {
  value = "http://127.0.0.1:${berth_instance.web.ports.http.host_port}/"
}
