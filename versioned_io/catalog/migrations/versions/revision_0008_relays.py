"""Columns for a subscription's relay and consumer, which until now were only part of its name."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_OWN = "(relay)"


def upgrade() -> None:
    """Add the two columns, and fill them from names of the form ``relay:consumer:template``.

    Rows whose name was too long, and so ends in a digest, are filled when their consumer next runs.
    """
    op.add_column("subscriptions", sa.Column("relay", sa.String(250)))
    op.add_column("subscriptions", sa.Column("consumer", sa.String(250)))
    table = sa.table(
        "subscriptions", *map(sa.column, ("id", "name", "partitions", "key_template", "relay", "consumer"))
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(table.c.id, table.c.name, table.c.partitions, table.c.key_template)).all():
        found = _parts_of(row.name, row.partitions, row.key_template)
        if found is not None:
            relay, consumer = found
            connection.execute(sa.update(table).where(table.c.id == row.id).values(relay=relay, consumer=consumer))


def _parts_of(name: str, partitions: str | None, key: str | None) -> tuple[str, str | None] | None:
    seen_as = "*" if partitions is None else partitions + ("" if key is None else f" as {key}")
    if not name.endswith(f":{seen_as}"):
        return None
    relay, colon, consumer = name.removesuffix(f":{seen_as}").rpartition(":")
    if not (colon and relay and consumer):
        return None
    return relay, None if consumer == _OWN else consumer
