"""The catalog's migrations, one module a revision, run by Alembic."""
