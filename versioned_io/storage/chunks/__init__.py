"""Chunks: content-defined pieces of files, named by their content, stored once."""
