"""Rebuilding a lost catalog from the packs alone: what lies in them, what that says of names, and the rows for it."""
