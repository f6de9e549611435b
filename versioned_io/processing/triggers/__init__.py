"""Triggers: a branch follows another when enough has changed on it, or when a schedule says so."""
