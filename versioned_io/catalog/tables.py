"""The catalog's tables, as the newest migration leaves them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    true,
)

from versioned_io.catalog.values import as_bytes, as_microseconds, as_time

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)

# SQLite makes only a column of type INTEGER an alias of the rowid, which is the cheapest key.
RowId = BigInteger().with_variant(Integer(), "sqlite")


class Timestamp(TypeDecorator[datetime]):
    """A time in UTC as microseconds since 1970, so that both databases store and order it in the same way."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 (SQLAlchemy's signature)
        """Return *value* as microseconds since 1970."""
        return None if value is None else as_microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the time at *value* microseconds since 1970.

        Raises:
            IntegrityError: *value* is too large for a date, or not an integer, which SQLite does not enforce. Run fsck.
        """
        return None if value is None else as_time(value)


class Blob(TypeDecorator[bytes]):
    """A column of bytes. SQLite may return a value of another type; that raises IntegrityError."""

    impl = LargeBinary
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], bytes | None]:  # noqa: ARG002
        """Return the function that converts a value of the driver to bytes."""
        return as_bytes


properties = Table(
    "properties",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
    comment="the store's ID and other single facts",
)

repos = Table(
    "repos",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("description", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("deleted_at", Timestamp),
    Column("recorded_name", String(128)),
    Column("kind", String(16), nullable=False, server_default="user"),
    Column("owner_id", BigInteger, index=True),
)
"""``kind`` is that of `RepoKind`, and ``owner_id`` the repo that a system repo goes with; null for a user's repo.
``deleted_at`` is when the repo was deleted: it has no branches and tags any more, and its commits stay for lineage.
``recorded_name`` is the name in packs of a repo that was renamed.
"""

segments = Table(
    "segments",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("parent_id", RowId, ForeignKey("segments.id")),
    Column("first_number", BigInteger, nullable=False),
    comment="unbroken runs of history; a fork begins one, so any n-th commit is one look-up a fork away",
)

commits = Table(
    "commits",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("lineage_id", String(32), nullable=False, index=True),
    Column("repo_id", RowId, ForeignKey("repos.id"), nullable=False),
    Column("branch", String(128), nullable=False),
    Column("segment_id", RowId, ForeignKey("segments.id"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("parent_id", String(32), ForeignKey("commits.id")),
    Column("message", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("run", Text),
    Column("stats", Text, nullable=False),
    Column("root", Text),
    Column("pack", String(32), nullable=False),
    Column("state", String(16), nullable=False, server_default="live"),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("generation", BigInteger, nullable=False, server_default="0"),
    Column("merged_id", String(32)),
    Column("touched", Blob),
    Column("order", BigInteger, nullable=False, server_default="0"),
    Column("inputs_are_complete", Boolean, nullable=False, server_default=true()),
    Column("mark_epoch", Integer, index=True),
    UniqueConstraint("segment_id", "number"),
    Index(None, "repo_id", "created_at"),
    Index(None, "parent_id"),
    Index(None, "order"),
)
"""``state`` is ``live``, or ``forgotten`` once the data may be collected.

``epoch`` is the epoch of the branch when the commit was made on it.
``generation`` counts how often the tree was rewritten, with the same files (compaction) or fewer (purge).
``merged_id`` is the other parent of a merge.
``touched`` is a filter of the paths that the commit may have changed, or null where they are not known. See
`versioned_io.storage.pages.touched`.
``order`` is higher than that of every earlier commit, independent of clocks. See `versioned_io.catalog.ordering`.
``mark_epoch`` is the round of marking that walked the present tree, or null. See `versioned_io.catalog.rounds`.
"""

branches = Table(
    "branches",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("repo_id", RowId, ForeignKey("repos.id"), nullable=False),
    Column("name", String(128), nullable=False),
    Column("head_id", String(32), ForeignKey("commits.id")),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("is_protected", Boolean, nullable=False, server_default=false()),
    Column("retention", Text),
    UniqueConstraint("repo_id", "name"),
)
"""``epoch`` is the number of the journal entry that last moved the branch other than by a commit on its head."""

tags = Table(
    "tags",
    metadata,
    Column("repo_id", RowId, ForeignKey("repos.id"), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("commit_id", String(32), ForeignKey("commits.id"), nullable=False),
    Column("created_at", Timestamp, nullable=False),
)

provenance = Table(
    "provenance",
    metadata,
    Column("commit_id", String(32), ForeignKey("commits.id"), primary_key=True),
    Column("input_id", String(32), ForeignKey("commits.id"), primary_key=True, index=True),
    comment="which commits a commit was made from, as they were read",
)

input_files = Table(
    "input_files",
    metadata,
    Column("commit_id", String(32), ForeignKey("commits.id"), primary_key=True),
    Column("input_id", String(32), ForeignKey("commits.id"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("output", Text, primary_key=True),
    Column("digest", Blob(32), nullable=False),
    Column("written_by", String(32), ForeignKey("commits.id"), nullable=False),
    Column("confirmed_by", String(32), ForeignKey("commits.id")),
    Index(None, "written_by", "path"),
    Index(None, "commit_id", "output"),
    Index(None, "digest"),
    comment="which version of which file a commit was made from",
)
"""``confirmed_by`` is the newest commit, up to the one that was read, whose run wrote the same bytes again, or null."""
_CONFIRMED = Index("ix_input_files_confirmed_by_path", input_files.c.confirmed_by, input_files.c.path)

confirmations = Table(
    "confirmations",
    metadata,
    Column("commit_id", String(32), ForeignKey("commits.id"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("written_by", String(32), ForeignKey("commits.id"), nullable=False),
    Column("order", BigInteger, nullable=False),
    Index(None, "written_by", "path", "order"),
    comment="files that the run of a commit wrote again as they were",
)
"""``written_by`` is the commit that first wrote the bytes. ``order`` is the order of the confirming commit."""

packs = Table(
    "packs",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("condemned_at", Timestamp),
    Column("tier", SmallInteger, nullable=False, server_default="0"),
    Column("live_bytes", BigInteger),
    Column("mark_epoch", Integer),
    # By the round first: an index by the state first draws SQLite away from the names that a commit asks for.
    Index(None, "mark_epoch", "state", "condemned_at"),
)
"""``tier`` counts how often the contents of the pack were merged. ``live_bytes`` is the number of live bytes that the
last mark found in it: a hint. ``mark_epoch`` is the round of marking that first found it referenced, or null."""

leases = Table(
    "leases",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("begun_at", Timestamp, nullable=False),
    Column("renewed_at", Timestamp, nullable=False),
    Column("kind", String(16), nullable=False, server_default="transaction"),
    comment="transactions under way that have stored packs which no commit refers to yet",
)

maintenance = Table(
    "maintenance",
    metadata,
    Column("task", String(32), primary_key=True),
    Column("done_at", Timestamp),
    Column("watermark", BigInteger, nullable=False, server_default="0"),
    Column("seconds", Float, nullable=False, server_default="0"),
    Column("bytes_written", BigInteger, nullable=False, server_default="0"),
    Column("problem", Text),
    comment="what maintenance has done, task by task, and how far it has come",
)

journal = Table(
    "journal",
    metadata,
    Column("sequence", RowId, primary_key=True, autoincrement=True),
    Column("repo", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("action", String(32), nullable=False),
    Column("old_id", String(32)),
    Column("new_id", String(32)),
    Column("details", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("pack", String(32), nullable=False),
    Index(None, "repo", "name", "sequence"),
    comment="everything that happened to names other than a commit on a branch; also in the packs",
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", String(250), primary_key=True),
    Column("commits", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False, index=True),
    comment="transactions that a retry must not repeat, and what they committed",
)

chunks = Table(
    "chunks",
    metadata,
    Column("digest", Blob(32), primary_key=True),
    Column("pack", String(32), ForeignKey("packs.name"), nullable=False, index=True),
    Column("offset", BigInteger, nullable=False),
    Column("stored", Integer, nullable=False),
    Column("inner", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    comment="where a content is stored already",
)

damages = Table(
    "damages",
    metadata,
    Column("pack", String(32), primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("inner", BigInteger, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("digest", LargeBinary(32), nullable=False, index=True),
    Column("found_at", Timestamp, nullable=False),
    Column("new_pack", String(32), index=True),
    Column("new_offset", BigInteger),
    Column("new_stored", BigInteger),
    Column("new_inner", BigInteger),
    comment="contents that can't be read where they lie, and where they were stored anew; a page has size 0",
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("name", String(250), nullable=False),
    Column("branch_id", RowId, ForeignKey("branches.id"), nullable=False),
    Column("partitions", Text),
    Column("key_template", Text),
    Column("cursor_id", String(32), ForeignKey("commits.id")),
    Column("sequence", BigInteger, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("relay", String(250)),
    Column("consumer", String(250)),
    UniqueConstraint("branch_id", "name"),
)

triggers = Table(
    "triggers",
    metadata,
    Column("branch_id", RowId, ForeignKey("branches.id"), primary_key=True, autoincrement=False),
    Column("source_id", RowId, ForeignKey("branches.id"), nullable=False, index=True),
    Column("rule", Text, nullable=False),
    Column("set_at", Timestamp, nullable=False),
    Column("fired_at", Timestamp),
    comment="branches that follow another one when a rule holds",
)

held_cursors = Table(
    "held_cursors",
    metadata,
    Column("name", String(250), primary_key=True),
    Column("commit_id", String(32), nullable=False),
    Column("hold_s", BigInteger, nullable=False),
    Column("held_until", Timestamp, nullable=False),
    comment="commits at which consumers with cursors outside of the store stand, each held for a time",
)

due_keys = Table(
    "due_keys",
    metadata,
    Column("subscription_id", RowId, ForeignKey("subscriptions.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("commit_id", String(32), ForeignKey("commits.id"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("requested_at", Timestamp, nullable=False),
    Column("announced_at", Timestamp),
    Column("owner", Text),
    Column("claimed_sequence", BigInteger),
    Column("claimed_until", Timestamp),
    Column("done_sequence", BigInteger, nullable=False),
    Column("done_commit_id", String(32), ForeignKey("commits.id")),
    Column("done_by", Text),
    comment="per subscription and partition key: the newest commit that asks for work, and whether it was done",
)

results = Table(
    "results",
    metadata,
    Column("fingerprint", Blob(32), primary_key=True),
    Column("commit_id", String(32), ForeignKey("commits.id"), nullable=False),
    comment="which commit of a repo of results holds the first result of a fingerprint",
)

claims = Table(
    "claims",
    metadata,
    Column("fingerprint", Blob(32), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("until", Timestamp, nullable=False),
    comment="fingerprints that a run evaluates now, each until a time",
)

failures = Table(
    "failures",
    metadata,
    Column("fingerprint", Blob(32), primary_key=True),
    Column("commit_id", String(32), ForeignKey("commits.id"), nullable=False),
    comment="which commit of a repo of results holds the last failure of a fingerprint that has no result",
)

disagreements = Table(
    "disagreements",
    metadata,
    Column("fingerprint", Blob(32), primary_key=True),
    Column("commit_id", String(32), ForeignKey("commits.id"), primary_key=True),
    Column("pipeline", Text, nullable=False),
    Column("found_at", Timestamp, nullable=False),
    comment="commits of repos of results that hold other bytes for a fingerprint than its first result",
)

datum_states = Table(
    "datum_states",
    metadata,
    Column("number", RowId, primary_key=True, autoincrement=True),
    Column("commit_id", String(32), ForeignKey("commits.id"), nullable=False, unique=True),
    Column("output_id", String(32), ForeignKey("commits.id"), nullable=False, index=True),
    comment="which commit of a repo of datums describes which commit of a pipeline's output; the newest counts",
)

datum_uses = Table(
    "datum_uses",
    metadata,
    Column("digest", Blob(6), primary_key=True),
    Column("state", BigInteger, primary_key=True, autoincrement=False),
    Column("datum", Text, primary_key=True),
    comment="which datums of a commit were made from a content",
)
"""``digest`` is the beginning of a content's digest, and ``datum`` the name of a row in the datum tree. ``state`` is a
number of `datum_states`; it has no index, which would double the table, and only rare deletions ask by it."""


def tables_for(dialect: str) -> MetaData:
    """Return the tables with the options that only the DDL of *dialect* has: ``sqlite`` or ``postgresql``.

    An option loads its dialect, and PostgreSQL's takes 50 ms, so the tables do without until somebody creates them.
    """
    if dialect == "sqlite":
        for one in (results, claims, failures, datum_uses):
            one.dialect_options[dialect]["with_rowid"] = False
    _CONFIRMED.dialect_options[dialect]["where"] = input_files.c.confirmed_by.is_not(None)
    return metadata
