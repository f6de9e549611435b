"""Backups of a whole store at another place, and restoring stores from them."""
