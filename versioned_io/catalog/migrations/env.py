"""What Alembic runs to bring a catalog up: the migrations, on the connection that the caller holds."""

from alembic import context

from versioned_io.catalog.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
