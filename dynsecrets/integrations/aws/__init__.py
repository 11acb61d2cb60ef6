"""IAM users as leases."""
