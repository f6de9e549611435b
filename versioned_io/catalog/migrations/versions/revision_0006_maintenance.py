"""The state of maintenance, so that a run needs to look only at new commits and packs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the rounds of marking, the tiers of packs, and the table of tasks, with nothing marked or merged."""
    op.add_column("commits", sa.Column("mark_epoch", sa.Integer))
    op.create_index("ix_commits_mark_epoch", "commits", ["mark_epoch"])
    op.add_column("packs", sa.Column("tier", sa.SmallInteger, nullable=False, server_default="0"))
    op.add_column("packs", sa.Column("live_bytes", sa.BigInteger))
    op.add_column("packs", sa.Column("mark_epoch", sa.Integer))
    op.create_index("ix_packs_mark_epoch", "packs", ["mark_epoch"])
    op.add_column("leases", sa.Column("kind", sa.String(16), nullable=False, server_default="transaction"))
    op.create_table(
        "maintenance",
        sa.Column("task", sa.String(32), nullable=False),
        sa.Column("done_at", sa.BigInteger),
        sa.Column("watermark", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("seconds", sa.Float, nullable=False, server_default="0"),
        sa.Column("bytes_written", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("problem", sa.Text),
        sa.PrimaryKeyConstraint("task", name="pk_maintenance"),
        comment="what maintenance has done, task by task, and how far it has come",
    )
