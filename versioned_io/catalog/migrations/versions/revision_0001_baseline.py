"""The first catalog: repos, history, lineage, stored content, subscriptions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table of the first catalog."""
    _create_names_and_history()
    _create_lineage()
    _create_stored_content()
    _create_subscriptions()


def _create_names_and_history() -> None:
    op.create_table(
        "properties",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_properties"),
        comment="the store's ID and other single facts",
    )
    op.create_table(
        "repos",
        sa.Column("id", ROW_ID, nullable=False, autoincrement=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_repos"),
        sa.UniqueConstraint("name", name="uq_repos_name"),
    )
    op.create_table(
        "segments",
        sa.Column("id", ROW_ID, nullable=False, autoincrement=True),
        sa.Column("parent_id", ROW_ID),
        sa.Column("first_number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_segments"),
        sa.ForeignKeyConstraint(["parent_id"], ["segments.id"], name="fk_segments_parent_id"),
        comment="unbroken runs of history; a fork begins one, so any n-th commit is one look-up a fork away",
    )
    op.create_table(
        "commits",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("lineage_id", sa.String(32), nullable=False),
        sa.Column("repo_id", ROW_ID, nullable=False),
        sa.Column("branch", sa.String(128), nullable=False),
        sa.Column("segment_id", ROW_ID, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("parent_id", sa.String(32)),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("run", sa.Text),
        sa.Column("stats", sa.Text, nullable=False),
        sa.Column("root", sa.Text),
        sa.Column("pack", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_commits"),
        sa.ForeignKeyConstraint(["repo_id"], ["repos.id"], name="fk_commits_repo_id"),
        sa.ForeignKeyConstraint(["segment_id"], ["segments.id"], name="fk_commits_segment_id"),
        sa.ForeignKeyConstraint(["parent_id"], ["commits.id"], name="fk_commits_parent_id"),
        sa.UniqueConstraint("segment_id", "number", name="uq_commits_segment_id_number"),
    )
    op.create_index("ix_commits_lineage_id", "commits", ["lineage_id"])
    op.create_index("ix_commits_repo_id_created_at", "commits", ["repo_id", "created_at"])
    op.create_table(
        "branches",
        sa.Column("id", ROW_ID, nullable=False, autoincrement=True),
        sa.Column("repo_id", ROW_ID, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("head_id", sa.String(32)),
        sa.PrimaryKeyConstraint("id", name="pk_branches"),
        sa.ForeignKeyConstraint(["repo_id"], ["repos.id"], name="fk_branches_repo_id"),
        sa.ForeignKeyConstraint(["head_id"], ["commits.id"], name="fk_branches_head_id"),
        sa.UniqueConstraint("repo_id", "name", name="uq_branches_repo_id_name"),
    )
    op.create_table(
        "tags",
        sa.Column("repo_id", ROW_ID, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("commit_id", sa.String(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("repo_id", "name", name="pk_tags"),
        sa.ForeignKeyConstraint(["repo_id"], ["repos.id"], name="fk_tags_repo_id"),
        sa.ForeignKeyConstraint(["commit_id"], ["commits.id"], name="fk_tags_commit_id"),
    )


def _create_lineage() -> None:
    op.create_table(
        "provenance",
        sa.Column("commit_id", sa.String(32), nullable=False),
        sa.Column("input_id", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("commit_id", "input_id", name="pk_provenance"),
        sa.ForeignKeyConstraint(["commit_id"], ["commits.id"], name="fk_provenance_commit_id"),
        sa.ForeignKeyConstraint(["input_id"], ["commits.id"], name="fk_provenance_input_id"),
        comment="which commits a commit was made from, as they were read",
    )
    op.create_index("ix_provenance_input_id", "provenance", ["input_id"])
    op.create_table(
        "input_files",
        sa.Column("commit_id", sa.String(32), nullable=False),
        sa.Column("input_id", sa.String(32), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("output", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("written_by", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("commit_id", "input_id", "path", "output", name="pk_input_files"),
        sa.ForeignKeyConstraint(["commit_id"], ["commits.id"], name="fk_input_files_commit_id"),
        sa.ForeignKeyConstraint(["input_id"], ["commits.id"], name="fk_input_files_input_id"),
        sa.ForeignKeyConstraint(["written_by"], ["commits.id"], name="fk_input_files_written_by"),
        comment="which version of which file a commit was made from",
    )
    op.create_index("ix_input_files_written_by_path", "input_files", ["written_by", "path"])


def _create_stored_content() -> None:
    op.create_table(
        "packs",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_packs"),
    )
    op.create_table(
        "chunks",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("pack", sa.String(32), nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("stored", sa.Integer, nullable=False),
        sa.Column("inner", sa.Integer, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_chunks"),
        sa.ForeignKeyConstraint(["pack"], ["packs.name"], name="fk_chunks_pack"),
        comment="where a content is stored already",
    )
    op.create_index("ix_chunks_pack", "chunks", ["pack"])


def _create_subscriptions() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("id", ROW_ID, nullable=False, autoincrement=True),
        sa.Column("name", sa.String(250), nullable=False),
        sa.Column("branch_id", ROW_ID, nullable=False),
        sa.Column("partitions", sa.Text),
        sa.Column("key_template", sa.Text),
        sa.Column("cursor_id", sa.String(32)),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_subscriptions"),
        sa.ForeignKeyConstraint(["branch_id"], ["branches.id"], name="fk_subscriptions_branch_id"),
        sa.ForeignKeyConstraint(["cursor_id"], ["commits.id"], name="fk_subscriptions_cursor_id"),
        sa.UniqueConstraint("branch_id", "name", name="uq_subscriptions_branch_id_name"),
    )
    op.create_table(
        "due_keys",
        sa.Column("subscription_id", ROW_ID, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("commit_id", sa.String(32), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("requested_at", sa.BigInteger, nullable=False),
        sa.Column("announced_at", sa.BigInteger),
        sa.Column("owner", sa.Text),
        sa.Column("claimed_sequence", sa.BigInteger),
        sa.Column("claimed_until", sa.BigInteger),
        sa.Column("done_sequence", sa.BigInteger, nullable=False),
        sa.Column("done_commit_id", sa.String(32)),
        sa.Column("done_by", sa.Text),
        sa.PrimaryKeyConstraint("subscription_id", "key", name="pk_due_keys"),
        sa.ForeignKeyConstraint(["subscription_id"], ["subscriptions.id"], name="fk_due_keys_subscription_id"),
        sa.ForeignKeyConstraint(["commit_id"], ["commits.id"], name="fk_due_keys_commit_id"),
        sa.ForeignKeyConstraint(["done_commit_id"], ["commits.id"], name="fk_due_keys_done_commit_id"),
        comment="per subscription and partition key: the newest commit that asks for work, and whether it was done",
    )
