"""The catalog: everything of a store that moves or must be queried, in SQLite or PostgreSQL."""
