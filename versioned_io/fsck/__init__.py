"""Checking a store: every byte is compared with its name, and the catalog with the packs."""
