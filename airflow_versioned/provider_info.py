"""What Airflow's provider discovery reads about this package; imports nothing of Airflow."""


def get_provider_info() -> dict[str, object]:
    """Return the provider's description, as Airflow's ``provider_info.schema.json`` defines it."""
    return {
        "package-name": "versioned-io",
        "name": "Versioned IO",
        "description": "Versioned repos whose commits drive partition-keyed runs, under one lineage ID.",
    }
