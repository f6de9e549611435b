"""Keeping a store sound and small: expiry, garbage collection, compaction, fsck, rebuild, backup."""
