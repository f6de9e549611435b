"""The description of this distribution for Airflow's provider machinery.

Airflow calls `get_provider_info` while it initialises its configuration, so neither this module nor its package may
import Airflow.
"""

from typing import Any

PACKAGE_NAME = "versioned-io"  # must be the distribution's name, or Airflow refuses the provider
INTEGRATION = "versioned-io"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, as ``airflow/provider_info.schema.json`` defines it."""
    return {
        "package-name": PACKAGE_NAME,
        "name": INTEGRATION,
        "description": "Versioned repos: a commit runs exactly the affected partitions, under one lineage ID.",
        "integrations": [{"integration-name": INTEGRATION, "tags": ["software"]}],
        "hooks": [{"integration-name": INTEGRATION, "python-modules": ["airflow_versioned.hooks"]}],
        "operators": [
            {
                "integration-name": INTEGRATION,
                "python-modules": [
                    "airflow_versioned.operators",
                    "airflow_versioned.datums",
                    "airflow_versioned.merging",
                    "airflow_versioned.run_branch",
                ],
            }
        ],
        "sensors": [{"integration-name": INTEGRATION, "python-modules": ["airflow_versioned.sensors"]}],
        "task-decorators": [
            {"name": "versioned", "class-name": "airflow_versioned.decorator.versioned_task"},
            {"name": "datum", "class-name": "airflow_versioned.datum_decorator.datum_task"},
        ],
        "filesystems": ["airflow_versioned.filesystems"],
        "triggers": [{"integration-name": INTEGRATION, "python-modules": ["airflow_versioned.triggers"]}],
        "extra-links": ["airflow_versioned.links.CommitLink"],
        "asset-uris": [
            {
                "schemes": ["versioned"],
                "handler": "airflow_versioned.uris.sanitize_uri",
                "to_openlineage_converter": "airflow_versioned.open_lineage.convert_asset",
            }
        ],
        "connection-types": [
            {
                "connection-type": "versioned",
                "hook-class-name": "airflow_versioned.hooks.VersionedHook",
                "hook-name": "Versioned store",
                # The two standard fields carry the two URLs. Airflow encrypts and masks `password` everywhere,
                # which a field inside `extra` of another name is not.
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "port", "schema", "extra"],
                    "relabeling": {"host": "Store URL", "password": "Catalog URL"},
                    "placeholders": {
                        "host": "/data/store or s3://bucket/prefix",
                        "password": "postgresql+psycopg://user:password@host/db (empty: SQLite in the store)",
                    },
                },
                "conn-fields": {
                    "deployment": {
                        "label": "Deployment",
                        "description": (
                            "Names this Airflow in the store's subscriptions. Two deployments that share a store "
                            "need two names, or each takes work from the other."
                        ),
                        "schema": {"type": ["string", "null"], "default": "airflow"},
                    },
                    "push_url": {
                        "label": "Push URL",
                        "description": "Airflow's API server: commits post their events to it, right after the commit.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "push_token": {
                        "label": "Push token",
                        "description": "A token of Airflow's API, for a user who may create asset events.",
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                    "credentials_conn_id": {
                        "label": "Credentials connection",
                        "description": "Another connection whose credentials the store uses, such as aws_default.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "storage_options": {
                        "label": "Storage options",
                        "description": "Credentials, endpoint and time limits, as name=value or as a JSON object.",
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                    "cache": {
                        "label": "Cache",
                        "description": "A local directory that keeps what was read of an object store.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "cache_bytes": {
                        "label": "Cache size",
                        "description": "How many bytes the cache keeps.",
                        "schema": {"type": ["integer", "null"], "minimum": 0},
                    },
                    "sources": {
                        "label": "Sources",
                        "description": (
                            "The places outside of the store that referenced files may be read from, each with its "
                            "storage options: a JSON object."
                        ),
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                },
            }
        ],
    }
