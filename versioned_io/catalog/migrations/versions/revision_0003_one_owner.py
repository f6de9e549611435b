"""A revision without changes to tables: from here on a store has one owner, and a roll-back is detected."""

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Change no table."""
