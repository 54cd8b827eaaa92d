# Makes it and takes it down, with the images of a remote "hub".
variables {
  name              = "tested"
  image             = "hub:berth/tiny:1"
  database_image    = "hub:berth/database:1"
  database_path     = "/var/lib/postgresql"
  database_password = "correct horse"
  keep_data         = false
}

run "comes_up" {
  assert {
    condition     = berth_instance.application.status == "running" && berth_instance.database.status == "running"
    error_message = "Not both run."
  }
  assert {
    condition     = berth_instance.application.environment["DATABASE_HOST"] == output.database_address
    error_message = "The application does not know where the database is."
  }
  assert {
    condition     = output.port > 0 && startswith(output.url, "http://127.0.0.1:")
    error_message = "It is not published."
  }
}

run "changes_in_place" {
  variables {
    memory = { application = "128MiB" }
  }

  assert {
    condition     = berth_instance.application.id == run.comes_up.ids.application && output.port == run.comes_up.port
    error_message = "Another limit made another instance, or another port."
  }
}
