"""Measuring the size of a store."""
