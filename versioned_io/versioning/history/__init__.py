"""Queries about history, and operations that apply changes of one history to another."""
