"""A table for the commits that consumers with cursors of their own hold against expiry."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the table, empty: a consumer enters its commit when it next moves its cursor."""
    op.create_table(
        "held_cursors",
        sa.Column("name", sa.String(250), nullable=False),
        sa.Column("commit_id", sa.String(32), nullable=False),
        sa.Column("hold_s", sa.BigInteger, nullable=False),
        sa.Column("held_until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_held_cursors"),
        comment="commits at which consumers with cursors outside of the store stand, each held for a time",
    )
