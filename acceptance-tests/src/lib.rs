//! Helpers of the acceptance tests: real Terraform, a real registry, a real agent.
