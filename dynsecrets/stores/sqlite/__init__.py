"""Lease records in a SQLite file."""
