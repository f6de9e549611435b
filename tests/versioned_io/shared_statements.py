"""One cache of compiled statements for all catalogs of a process, which is half of the work of a small test."""

from sqlalchemy import Connection, Engine, event

MOST = 5_000
"""Tests of migrations make tables of their own each time, whose statements are never asked for again."""


class _OneCache(dict):
    """Compiled statements by what they say and the kind of database, whichever engine they were compiled for."""

    @staticmethod
    def _key(key):
        return type(key[0]), *key[1:]  # the dialect's class, not the engine's own dialect

    def get(self, key, default=None):
        return super().get(self._key(key), default)

    def __setitem__(self, key, value):
        if len(self) >= MOST:
            self.clear()
        super().__setitem__(self._key(key), value)


_compiled = _OneCache()


def _is_of_a_catalog(engine: Engine) -> bool:
    """Return whether an engine is our own: Dagster and Airflow, which give theirs other options, name no such file."""
    return engine.dialect.driver == "psycopg" or str(engine.url.database).endswith("catalog.db")


def _share(connection: Connection) -> None:
    if _is_of_a_catalog(connection.engine):
        connection.execution_options(compiled_cache=_compiled)


def share_statements() -> None:
    """Let the catalogs of this process share their compiled statements from now on. Idempotent."""
    if not event.contains(Engine, "engine_connect", _share):
        event.listen(Engine, "engine_connect", _share)
