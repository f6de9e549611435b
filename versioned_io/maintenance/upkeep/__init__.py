"""Maintenance of a store in small steps, by one process at a time."""
