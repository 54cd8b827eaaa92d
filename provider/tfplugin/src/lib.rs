//! A typed framework for providers of Terraform's plugin protocol 6; knows nothing of Berth.
