list "berth_instance" "front" {
  provider = berth

  config {
    labels = { tier = "front" }
  }
}

list "berth_image" "all" {
  provider         = berth
  include_resource = true
}

list "berth_remote" "all" {
  provider = berth
}

list "berth_volume" "all" {
  provider = berth
}

list "berth_network" "all" {
  provider = berth
}
