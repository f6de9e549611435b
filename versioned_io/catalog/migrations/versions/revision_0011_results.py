"""Kinds of repos, and the tables about results of datums."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Every repo becomes one of a user; the new tables begin empty."""
    op.add_column("repos", sa.Column("kind", sa.String(16), nullable=False, server_default="user"))
    op.add_column("repos", sa.Column("owner_id", sa.BigInteger))
    op.create_index("ix_repos_owner_id", "repos", ["owner_id"])
    _by_fingerprint(
        "results",
        _batch("results"),
        comment="which commit of a repo of results holds the first result of a fingerprint",
    )
    _by_fingerprint(
        "claims",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        comment="fingerprints that a run evaluates now, each until a time",
    )
    _by_fingerprint(
        "failures",
        _batch("failures"),
        comment="which commit of a repo of results holds the last failure of a fingerprint that has no result",
    )
    op.create_table(
        "disagreements",
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=False),
        _batch("disagreements"),
        sa.Column("pipeline", sa.Text, nullable=False),
        sa.Column("found_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", "commit_id", name="pk_disagreements"),
        comment="commits of repos of results that hold other bytes for a fingerprint than its first result",
    )


def _batch(table: str) -> sa.Column[Any]:
    to_commits = sa.ForeignKey("commits.id", name=f"fk_{table}_commit_id")
    return sa.Column("commit_id", sa.String(32), to_commits, nullable=False)


def _by_fingerprint(name: str, *columns: sa.Column[Any], comment: str) -> None:
    key = sa.PrimaryKeyConstraint("fingerprint", name=f"pk_{name}")
    own = sa.Column("fingerprint", sa.LargeBinary(32), nullable=False)
    op.create_table(name, own, *columns, key, comment=comment, sqlite_with_rowid=False)
