"""The link from a task's page in Airflow to the branch that it committed to."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf
from airflow.sdk.execution_time.xcom import XCom

from airflow_versioned.uris import AssetAddress

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class CommitLink(BaseOperatorLink):
    """Leads to the branch's assets in Airflow, whose events show commit and lineage ID."""

    name = "Versioned branch"
    xcom_key = "versioned_branch_link"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """Return the URL, or an empty text if the task has made no commit.

        Cost: 1 request to Airflow's API server.
        """
        made = XCom.get_value(ti_key=ti_key, key="return_value")
        if not isinstance(made, Mapping) or not {"repo", "branch"} <= made.keys():
            return ""
        connection: Any = getattr(operator, "versioned_conn_id", None)
        uri = AssetAddress(made["repo"], made["branch"], *([connection] if connection else [])).uri
        return f"{conf.get('api', 'base_url', fallback='').rstrip('/')}/assets?{urlencode({'name_pattern': uri})}"
