variable "name" {
  description = "What the application is called; the names of all that belongs to it begin with this."
  type        = string
  default     = "shop"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,49}$", var.name))
    error_message = "The name is up to 50 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "host" {
  description = "The host to run on: a key of the provider's hosts, or an address. Default: the provider's host."
  type        = string
  default     = null
}

variable "image" {
  description = "The application's image, such as ghcr.io/example/shop:1.4. It listens on application_port."
  type        = string
}

variable "application_port" {
  description = "Where the application listens in its instance."
  type        = number
  default     = 8080
}

variable "published_port" {
  description = "Port of the host that leads to the application. Default: a free one, chosen once and kept."
  type        = number
  default     = null
}

variable "published_address" {
  description = "Address of the host that listens; 0.0.0.0 is all."
  type        = string
  default     = "127.0.0.1"
}

variable "environment" {
  description = "More environment variables of the application."
  type        = map(string)
  default     = {}
}

variable "memory" {
  description = "The most memory that the application may use, and the database likewise."
  type        = object({ application = optional(string, "256MiB"), database = optional(string, "512MiB") })
  default     = {}
}

variable "database_image" {
  description = "The database's image: PostgreSQL, or what takes its environment variables."
  type        = string
  default     = "docker.io/postgres:16"
}

variable "database_path" {
  description = "Where the database keeps its files in its instance. They are in a volume."
  type        = string
  default     = "/var/lib/postgresql/data"
}

variable "database_port" {
  description = "Where the database listens in its instance. Nothing but the application reaches it."
  type        = number
  default     = 5432
}

variable "database_password" {
  description = "The database's password. It is in no state and no plan."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "database_password_version" {
  description = "Another number sends database_password again."
  type        = number
  default     = 1
}

variable "keep_data" {
  description = "Whether the database's volume stays when all of this is destroyed."
  type        = bool
  default     = true
}

variable "labels" {
  description = "Labels of all that is made."
  type        = map(string)
  default     = {}
}
