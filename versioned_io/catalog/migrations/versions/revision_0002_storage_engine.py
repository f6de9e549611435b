"""Columns and tables for rewriting history, gc and rebuild: states, the journal, leases, idempotency keys."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables, and the columns with defaults that fit the existing rows."""
    _add_to_history()
    _add_to_names()
    _add_to_stored_content()
    _create_journal()


def _add_to_history() -> None:
    op.add_column("commits", sa.Column("state", sa.String(16), nullable=False, server_default="live"))
    op.add_column("commits", sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("commits", sa.Column("generation", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("commits", sa.Column("merged_id", sa.String(32)))
    op.add_column("commits", sa.Column("touched", sa.LargeBinary))
    op.create_index("ix_commits_parent_id", "commits", ["parent_id"])


def _add_to_names() -> None:
    op.add_column("branches", sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("branches", sa.Column("is_protected", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("branches", sa.Column("retention", sa.Text))


def _add_to_stored_content() -> None:
    op.add_column("packs", sa.Column("condemned_at", sa.BigInteger))
    op.create_table(
        "leases",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("begun_at", sa.BigInteger, nullable=False),
        sa.Column("renewed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_leases"),
        comment="transactions under way that have stored packs which no commit refers to yet",
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(250), nullable=False),
        sa.Column("commits", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
        comment="transactions that a retry must not repeat, and what they committed",
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def _create_journal() -> None:
    op.create_table(
        "journal",
        sa.Column("sequence", ROW_ID, nullable=False, autoincrement=True),
        sa.Column("repo", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("old_id", sa.String(32)),
        sa.Column("new_id", sa.String(32)),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("pack", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_journal"),
        comment="everything that happened to names other than a commit on a branch; also in the packs",
    )
    op.create_index("ix_journal_repo_name_sequence", "journal", ["repo", "name", "sequence"])
