# What a plan says. No host is asked.
mock_provider "berth" {}

variables {
  image             = "ghcr.io/example/shop:1.4"
  database_password = "not a secret"
  keep_data         = true
}

run "the_defaults" {
  command = plan

  assert {
    condition     = berth_network.private.isolated && berth_network.private.name == "shop-private"
    error_message = "The network is not private."
  }
  assert {
    condition     = berth_instance.application.ports["http"].host_address == "127.0.0.1"
    error_message = "The application is published to everyone, though nobody asked for it."
  }
  assert {
    condition     = berth_instance.database.ports == null && join(" ", keys(berth_instance.database.networks)) == "eth0"
    error_message = "The database is to be reached by the private network alone."
  }
  assert {
    condition     = berth_volume.data.keep_on_destroy
    error_message = "The data would go with the application."
  }
}

run "another_name" {
  command = plan

  variables {
    name   = "books"
    labels = { owner = "me" }
  }

  assert {
    condition     = berth_instance.database.name == "books-database" && berth_volume.data.name == "books-data"
    error_message = "The name is not in the names."
  }
  assert {
    condition     = berth_instance.application.labels == tomap({ owner = "me", application = "books", tier = "application" })
    error_message = "The labels are not put together."
  }
}

run "a_name_that_cannot_be" {
  command = plan

  variables {
    name = "My Shop"
  }

  expect_failures = [var.name]
}
