"""Bytes: objects, packs, chunks and pages. No module here imports the catalog."""
