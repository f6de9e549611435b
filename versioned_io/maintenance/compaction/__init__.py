"""Compaction: merging small packs, and moving live data out of packs that are mostly dead."""
