import uuid

import psycopg
import pytest


def test_a_database_is_empty_durable_enough_and_its_own(postgres_server):
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server.create_database(name)) as connection:
        connection.execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS n")
    with psycopg.connect(postgres_server.url(name)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (10,)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)


def test_a_wrong_password_is_refused(postgres_server):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(
            host="127.0.0.1", port=postgres_server.port, user="versioned", password="guess", dbname="postgres"
        )


def test_a_stopped_server_leaves_no_data(tmp_path):
    from devservers.postgres_server import PostgresServer

    server = PostgresServer(tmp_path).start()
    directory = server._directory
    assert directory is not None
    assert directory.exists()
    server.stop()
    server.stop()
    assert not directory.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url("postgres"), connect_timeout=2)
