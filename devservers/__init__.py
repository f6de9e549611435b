"""Real servers for tests and demos: PostgreSQL, Airflow and Dagster, started on loopback and stopped completely.

This package is not part of the distribution. Every server runs under a guard process of its own. The guard ends the
server and all its descendants when the calling process stops it, exits, or is killed. Logs are kept in the directory
that the caller chose, and are shown when something fails.
"""
