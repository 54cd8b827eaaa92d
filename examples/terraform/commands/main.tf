# An ephemeral: a token that a command in an instance makes, used and kept nowhere.
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

resource "berth_instance" "vault" {
  name  = "vault"
  image = "${berth_remote.hub.name}:berth/tiny:1"

  stop_timeout = "1s"
}

# Runs in every plan and every apply, so let it only read.
ephemeral "berth_instance_exec" "token" {
  instance = berth_instance.vault.id
  command  = ["cat", "/etc/hostname"]
}

resource "berth_remote" "mirror" {
  name     = "mirror"
  address  = "https://mirror.example"
  username = "ci"

  password_wo         = ephemeral.berth_instance_exec.token.stdout
  password_wo_version = 1
}

# Runs once, and again when the version changes.
resource "berth_exec" "migrate" {
  instance = berth_instance.vault.id
  command  = ["sh", "-c", "echo version 2 > /www/index.html"]
  triggers = { version = "2" }
}
