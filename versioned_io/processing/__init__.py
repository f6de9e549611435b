"""The consequences of a commit: affected partition keys, durable cursors, announcements."""
