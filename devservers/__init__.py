"""Real servers for tests and demos: PostgreSQL, Airflow and Dagster, started on loopback and stopped whole.

Not part of the distribution. Every server runs under a guard process of its own, which ends the
server and everything it started as soon as the process that asked for it stops it, exits, or is
killed. Logs are kept in the directory that the caller chose and are shown when something fails.
"""
