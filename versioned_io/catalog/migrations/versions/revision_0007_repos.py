"""Deleted repos keep their row, since lineage refers to their commits; renamed repos keep their recorded name."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns for the time of deletion, and for the recorded name of a renamed repo."""
    op.add_column("repos", sa.Column("deleted_at", sa.BigInteger))
    op.add_column("repos", sa.Column("recorded_name", sa.String(128)))
