# Data sources and functions: what is there, and what text means.
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
  host           = var.host
  default_labels = { managed-by = "terraform" }
}

resource "berth_remote" "hub" {
  name     = "hub"
  address  = var.registry
  insecure = true
}

# Asks the registry, and pulls nothing: the instance below runs what the tag means at this apply.
data "berth_image" "web" {
  reference = "${berth_remote.hub.name}:berth/tiny:1"
}

resource "berth_instance" "web" {
  name        = "web"
  image       = data.berth_image.web.reference_resolved
  labels      = { tier = "front" }
  environment = provider::berth::parse_env_file(file("${path.module}/web.env"))
  ports       = { http = { container_port = 8080 } }
  limits      = { memory = "64MiB" }

  stop_timeout = "1s"
}

data "berth_host" "this" {}

data "berth_instance" "web" {
  name = berth_instance.web.name
}

data "berth_instances" "front" {
  labels     = { tier = "front" }
  depends_on = [berth_instance.web]
}

output "memory_left" {
  value = data.berth_host.this.memory_bytes - provider::berth::parse_size("64MiB")
}

output "tag" {
  value = provider::berth::parse_reference(data.berth_image.web.reference).tag
}

output "started_at" {
  value = data.berth_instance.web.started_at
}

output "front" {
  value = [for instance in data.berth_instances.front.instances : instance.name]
}

data "berth_remote_repositories" "hub" {
  remote = berth_remote.hub.name
}

data "berth_image_tags" "web" {
  repository = "${berth_remote.hub.name}:berth/tiny"
}

# The network that is there from the first.
data "berth_network" "default" {
  name       = "default"
  depends_on = [berth_instance.web]
}

resource "berth_volume" "data" {
  name = "data"
}

data "berth_volume" "data" {
  name = berth_volume.data.name
}

data "berth_instance_logs" "web" {
  instance = berth_instance.web.id
  tail     = 5
}

output "tags" {
  value = data.berth_image_tags.web.tags
}

output "has_web" {
  value = contains(data.berth_remote_repositories.hub.repositories, "berth/tiny")
}

output "subnet" {
  value = data.berth_network.default.ipv4_subnet
}

output "volume_is_used" {
  value = length(data.berth_volume.data.used_by) > 0
}
