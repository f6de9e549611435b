"""The commits that a task reads and makes, as OpenLineage datasets with versions.

Airflow's OpenLineage provider asks the hook lineage collector what a task has used, and converts each asset with the
converter of its scheme. So one place serves hooks, operators, ``@task.versioned`` and paths. A dataset is a branch; its
version is a commit.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_versioned.uris import AssetAddress
from versioned_io.errors import NotFoundError, VersionedError

if TYPE_CHECKING:
    from airflow.sdk import Asset
    from openlineage.client.event_v2 import Dataset

    from versioned_io import Commit, Run, Store, StoreSettings

NAMESPACE_SCHEME = "versioned+"
"""Before the scheme of a store's URL: the objects of the store are not the dataset."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UsedStores:
    """The stores that a task has opened through an Airflow connection, and the commits that it named itself.

    Attributes:
        settings: By the URL of the store.
        inputs: The commits that were read without a read of a file, such as the source of a merge, by store.
        outputs: The commits that the task has made, or to which it has moved a branch.
    """

    settings: "dict[str, StoreSettings]" = field(default_factory=dict)
    inputs: "list[tuple[str, Commit]]" = field(default_factory=list)
    outputs: "list[tuple[str, Commit]]" = field(default_factory=list)


_used = UsedStores()  # by the task of this process, which is one


def note_store(settings: "StoreSettings") -> None:
    """Remember that the running task opens a store. Cost: none."""
    _used.settings[settings.store] = settings


def note_input(store: "Store", commit: "Commit") -> None:
    """Remember that the running task uses *commit*, such as the source of a merge. Cost: none."""
    _used.inputs.append((store.url, commit))


def note_output(store: "Store", commit: "Commit") -> None:
    """Remember that the running task has made *commit*, or moved a branch to it. Cost: none."""
    _used.outputs.append((store.url, commit))


def forget_uses() -> None:
    """Begin a new task."""
    for noted in (_used.settings, _used.inputs, _used.outputs):
        noted.clear()


def report_datasets(run: "Run | None", made: "Iterable[Commit]", instance: Any) -> None:  # noqa: ANN401 (Airflow's own)
    """Add the commits that the task has used to Airflow's collector of lineage, if a reader of it is installed.

    A failure is logged: the task is over, and its lineage in the store is complete.

    Args:
        run: The run of the task; None if it has read nothing.
        made: The commits that the task has made in any way.
        instance: The task instance, whose lineage it is.

    Cost: none without a reader; else 1 SELECT for each commit that was read or made.
    """
    from airflow.sdk.lineage import NoOpCollector, get_hook_lineage_collector

    collector = get_hook_lineage_collector()
    if isinstance(collector, NoOpCollector):
        return
    try:
        read = () if run is None else run.provenance
        inputs = [*_used.inputs, *_find_commits(read)]
        outputs = [*_used.outputs, *_find_commits([commit.id for commit in made])]
        for add, found in ((collector.add_input_asset, inputs), (collector.add_output_asset, outputs)):
            for url, commit in {(url, commit.id, commit.branch): (url, commit) for url, commit in found}.values():
                add(instance, uri=AssetAddress(commit.repo, commit.branch).uri, asset_extra=_describe(url, commit))
    except Exception:  # noqa: BLE001 (it would end the listeners of other plugins)
        _log.exception("can't report the datasets of %s to OpenLineage", instance)


def _find_commits(ids: "Iterable[str]") -> "list[tuple[str, Commit]]":
    """Return the commits with these IDs, and the URL of the store that each is in. Those of other stores are left out.

    A store out of reach is logged. The commits of other stores are found all the same.

    Cost: 1 SELECT for each ID and store.
    """
    left = [*ids]
    found: list[tuple[str, Commit]] = []
    for settings in _used.settings.values():
        if not left:
            break
        try:
            with settings.open() as store:
                there = [(store.url, one) for one in _commits_of(store, left)]
        except (VersionedError, OSError):
            _log.exception("can't report the datasets in %s to OpenLineage", settings.store)
            continue
        found += there
        left = [one for one in left if one not in {commit.id for _, commit in there}]
    return found


def _commits_of(store: "Store", ids: "Iterable[str]") -> "Iterator[Commit]":
    for one in ids:
        try:
            yield store.commit(one)
        except NotFoundError:
            continue


def _describe(url: str, commit: "Commit") -> dict[str, Any]:
    return {"store": url, "branch": str(commit.branch), "commit": commit.id, "lineage_id": commit.lineage_id}


def convert_asset(asset: "Asset", lineage_context: object) -> "Dataset | None":  # noqa: ARG001 (the provider's own)
    """Return the dataset of a commit that a task has used; OpenLineage's provider calls this.

    The namespace is the store's URL after ``versioned+``, and the name is ``repo@branch``. The facet ``version`` is the
    commit's ID. A tag holds the lineage ID.

    Returns:
        None for an asset that is only declared: which commit it stands for is not known.
    """
    from openlineage.client.event_v2 import Dataset
    from openlineage.client.facet_v2 import dataset_version_dataset, tags_dataset

    from airflow_versioned.uris import parse_address

    facts = asset.extra
    if not {"store", "commit", "lineage_id"} <= facts.keys():
        return None
    address = parse_address(urlsplit(str(asset.uri)))
    tag = tags_dataset.TagsDatasetFacetFields(key="lineage_id", value=str(facts["lineage_id"]), source="versioned-io")
    return Dataset(
        namespace=name_namespace(str(facts["store"])),
        name=f"{address.repo}@{address.branch}",
        facets={
            "version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=str(facts["commit"])),
            "tags": tags_dataset.TagsDatasetFacet(tags=[tag]),
        },
    )


def name_namespace(url: str) -> str:
    """Return the namespace of a store's datasets: ``versioned+s3://bucket/prefix``, ``versioned+file:///data/store``."""
    return f"{NAMESPACE_SCHEME}{url}" if "://" in url else f"{NAMESPACE_SCHEME}file://{url}"
