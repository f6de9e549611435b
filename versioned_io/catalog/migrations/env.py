"""Alembic's environment script: it runs the migrations on the connection of the caller."""

from alembic import context

from versioned_io.catalog.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
