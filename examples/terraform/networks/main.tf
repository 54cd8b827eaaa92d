# Networks: one of the agent's own, and the physical one that the host is on.
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

variable "parent" {
  description = "A bridge or an interface of the host that leads to the physical network."
  type        = string
}

provider "berth" {
  host = var.host
}

# Nothing leads out of it.
resource "berth_network" "back" {
  name     = "back"
  isolated = true
}

# Its DHCP server gives each instance an address of its own.
resource "berth_network" "lan" {
  name   = "lan"
  type   = "physical"
  parent = var.parent
}

resource "berth_remote" "hub" {
  name     = "hub"
  address  = var.registry
  insecure = true
}

resource "berth_image" "web" {
  reference = "${berth_remote.hub.name}:berth/tiny:1"
}

resource "berth_instance" "front" {
  name  = "front"
  image = berth_image.web.id

  networks = {
    eth0 = { network = berth_network.lan.id }
    eth1 = { network = berth_network.back.id }
  }

  # The server answers in its own time.
  wait_for     = { condition = "address", interface = "eth0" }
  stop_timeout = "1s"
}

resource "berth_instance" "store" {
  name         = "store"
  image        = berth_image.web.id
  networks     = { eth0 = { network = berth_network.back.id } }
  stop_timeout = "1s"
}

output "address" {
  value = berth_instance.front.ipv4_address
}
