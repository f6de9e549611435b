"""A table for the triggers of branches."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table, empty."""
    op.create_table(
        "triggers",
        sa.Column("branch_id", ROW_ID, nullable=False, autoincrement=False),
        sa.Column("source_id", ROW_ID, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("set_at", sa.BigInteger, nullable=False),
        sa.Column("fired_at", sa.BigInteger),
        sa.ForeignKeyConstraint(["branch_id"], ["branches.id"], name="fk_triggers_branch_id"),
        sa.ForeignKeyConstraint(["source_id"], ["branches.id"], name="fk_triggers_source_id"),
        sa.PrimaryKeyConstraint("branch_id", name="pk_triggers"),
        comment="branches that follow another one when a rule holds",
    )
    op.create_index("ix_triggers_source_id", "triggers", ["source_id"])
