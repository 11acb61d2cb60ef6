"""Lease records in DynamoDB."""
