"""The catalog's tables, as the newest migration leaves them."""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)

# SQLite makes a rowid alias, and so a cheap key, only of a column of the type INTEGER.
RowId = BigInteger().with_variant(Integer(), "sqlite")


class Timestamp(TypeDecorator[datetime]):
    """A time in UTC as microseconds since 1970, so that both databases keep and order it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 (SQLAlchemy's signature)
        """Return *value* as microseconds since 1970."""
        if value is None:
            return None
        delta = value.astimezone(UTC) - _EPOCH
        return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the time that *value* microseconds since 1970 are."""
        return (
            None
            if value is None
            else datetime.fromtimestamp(value // 1_000_000, UTC).replace(microsecond=value % 1_000_000)
        )


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

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
)

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
    Column("touched", LargeBinary),
    UniqueConstraint("segment_id", "number"),
    Index(None, "repo_id", "created_at"),
    Index(None, "parent_id"),
)
"""``state`` is ``live``, or ``forgotten`` once the data may be collected; ``epoch`` is the branch's when it took the
commit; ``generation`` counts how often the tree was written again, with the same files (compaction) or fewer (purge);
``merged_id`` is the other parent of a merge; ``touched`` says which paths it may have changed, null where that is
not known: see `versioned_io.catalog.touched`."""

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
"""``epoch`` is the number of the journal's entry that last set the branch by other means than a commit on its head."""

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
    Column("digest", LargeBinary(32), nullable=False),
    Column("written_by", String(32), ForeignKey("commits.id"), nullable=False),
    Index(None, "written_by", "path"),
    comment="which version of which file a commit was made from",
)

packs = Table(
    "packs",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("condemned_at", Timestamp),
)

leases = Table(
    "leases",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("begun_at", Timestamp, nullable=False),
    Column("renewed_at", Timestamp, nullable=False),
    comment="transactions under way that have stored packs which no commit refers to yet",
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
    Column("digest", LargeBinary(32), primary_key=True),
    Column("pack", String(32), ForeignKey("packs.name"), nullable=False, index=True),
    Column("offset", BigInteger, nullable=False),
    Column("stored", Integer, nullable=False),
    Column("inner", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    comment="where a content is stored already",
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
    UniqueConstraint("branch_id", "name"),
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
