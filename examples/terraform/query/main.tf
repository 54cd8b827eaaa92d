# Lists, which need Terraform 1.14: "terraform query" shows what there is, and with -generate-config-out=FILE writes the
# configuration that takes it over.
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

