"""Rebuilding a lost catalog, and recovering an older one, from the records and entries in packs."""
