"""Checking a store: every content is compared with its digest, and the catalog with the packs."""
