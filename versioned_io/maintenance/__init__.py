"""Keeping a store sound and small: forgetting, marking, collecting."""
