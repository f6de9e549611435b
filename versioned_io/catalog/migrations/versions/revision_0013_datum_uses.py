"""Tables for the lineage of datums."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables, empty."""
    op.create_table(
        "datum_states",
        sa.Column("number", ROW_ID, nullable=False, autoincrement=True),
        sa.Column("commit_id", sa.String(32), nullable=False),
        sa.Column("output_id", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(["commit_id"], ["commits.id"], name="fk_datum_states_commit_id"),
        sa.ForeignKeyConstraint(["output_id"], ["commits.id"], name="fk_datum_states_output_id"),
        sa.PrimaryKeyConstraint("number", name="pk_datum_states"),
        sa.UniqueConstraint("commit_id", name="uq_datum_states_commit_id"),
        comment="which commit of a repo of datums describes which commit of a pipeline's output; the newest counts",
    )
    op.create_index("ix_datum_states_output_id", "datum_states", ["output_id"])
    op.create_table(
        "datum_uses",
        sa.Column("digest", sa.LargeBinary(6), nullable=False),
        sa.Column("state", sa.BigInteger, nullable=False),
        sa.Column("datum", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("digest", "state", "datum", name="pk_datum_uses"),
        comment="which datums of a commit were made from a content",
        sqlite_with_rowid=False,
    )
