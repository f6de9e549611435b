"""An order of commits that doesn't depend on clocks, and indexes for lineage queries."""

import heapq

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_BATCH = 10_000


def upgrade() -> None:
    """Set the order of every commit: after its parents and its provenance, and otherwise by its date."""
    op.add_column("commits", sa.Column("order", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("commits", sa.Column("inputs_are_complete", sa.Boolean, nullable=False, server_default=sa.true()))
    _number_commits()
    op.create_index("ix_commits_order", "commits", ["order"])
    _add_confirmations()


def _add_confirmations() -> None:
    with op.batch_alter_table("input_files") as table:
        table.add_column(sa.Column("confirmed_by", sa.String(32)))
        table.create_foreign_key("fk_input_files_confirmed_by", "commits", ["confirmed_by"], ["id"])
    is_confirmed = sa.text("confirmed_by IS NOT NULL")
    op.create_index(
        "ix_input_files_confirmed_by_path",
        "input_files",
        ["confirmed_by", "path"],
        sqlite_where=is_confirmed,
        postgresql_where=is_confirmed,
    )
    op.create_index("ix_input_files_commit_id_output", "input_files", ["commit_id", "output"])
    op.create_index("ix_input_files_digest", "input_files", ["digest"])
    op.create_table(
        "confirmations",
        sa.Column("commit_id", sa.String(32), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("written_by", sa.String(32), nullable=False),
        sa.Column("order", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("commit_id", "path", name="pk_confirmations"),
        sa.ForeignKeyConstraint(["commit_id"], ["commits.id"], name="fk_confirmations_commit_id"),
        sa.ForeignKeyConstraint(["written_by"], ["commits.id"], name="fk_confirmations_written_by"),
        comment="files that the run of a commit wrote again as they were",
    )
    op.create_index("ix_confirmations_written_by_path_order", "confirmations", ["written_by", "path", "order"])


def _number_commits() -> None:
    connection = op.get_bind()
    dates: dict[str, int] = {}
    edges: set[tuple[str, str]] = set()
    for commit_id, parent, merged, date in connection.execute(
        sa.text("SELECT id, parent_id, merged_id, created_at FROM commits")
    ):
        dates[commit_id] = date
        edges |= {(commit_id, source) for source in (parent, merged) if source is not None}
    edges.update((row[0], row[1]) for row in connection.execute(sa.text("SELECT commit_id, input_id FROM provenance")))
    numbered = [
        {"commit": commit_id, "number": number} for number, commit_id in enumerate(_in_order(dates, edges), start=1)
    ]
    update = sa.text('UPDATE commits SET "order" = :number WHERE id = :commit')
    for start in range(0, len(numbered), _BATCH):
        connection.execute(update, numbered[start : start + _BATCH])


def _in_order(dates: dict[str, int], edges: set[tuple[str, str]]) -> list[str]:
    """Return the commits, each after its sources; among several candidates the one with the earliest date is next."""
    left = dict.fromkeys(dates, 0)
    following: dict[str, list[str]] = {}
    for commit_id, source in edges:
        if source in dates:
            left[commit_id] += 1
            following.setdefault(source, []).append(commit_id)
    ready = [(dates[commit_id], commit_id) for commit_id, count in left.items() if not count]
    heapq.heapify(ready)
    found = []
    while ready:
        _, commit_id = heapq.heappop(ready)
        found.append(commit_id)
        for after in following.get(commit_id, []):
            left[after] -= 1
            if not left[after]:
                heapq.heappush(ready, (dates[after], after))
    return found
