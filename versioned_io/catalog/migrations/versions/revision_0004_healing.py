"""A table of damaged frames, and of the places where their contents were stored again."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the empty table of damages."""
    op.create_table(
        "damages",
        sa.Column("pack", sa.String(32), nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("inner", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("found_at", sa.BigInteger, nullable=False),
        sa.Column("new_pack", sa.String(32)),
        sa.Column("new_offset", sa.BigInteger),
        sa.Column("new_stored", sa.BigInteger),
        sa.Column("new_inner", sa.BigInteger),
        sa.PrimaryKeyConstraint("pack", "offset", "inner", name="pk_damages"),
        comment="contents that can't be read where they lie, and where they were stored anew; a page has size 0",
    )
    op.create_index("ix_damages_digest", "damages", ["digest"])
    op.create_index("ix_damages_new_pack", "damages", ["new_pack"])
