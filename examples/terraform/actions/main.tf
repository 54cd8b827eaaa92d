# Actions, which need Terraform 1.14: run one with "terraform apply -invoke=action.TYPE.NAME", or let a change trigger it.
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

resource "berth_instance" "web" {
  name  = "web"
  image = "${berth_remote.hub.name}:berth/tiny:1"

  stop_timeout = "1s"

  lifecycle {
    action_trigger {
      events  = [after_create]
      actions = [action.berth_instance_exec.migrate]
    }
  }
}

action "berth_instance_exec" "migrate" {
  config {
    instance = berth_instance.web.id
    command  = ["sh", "-c", "echo migrated > /www/index.html"]
  }
}

action "berth_instance_restart" "web" {
  config {
    instance = berth_instance.web.id
  }
}

# Before an apply that needs it, so that the apply is short.
action "berth_image_pull" "next" {
  config {
    reference = "${berth_remote.hub.name}:berth/tiny:2"
  }
}

# Says what could go; without dry_run it goes.
action "berth_image_prune" "unused" {
  config {
    dry_run = true
  }
}
