"""Repos as external assets of Dagster's graph, with a materialisation for each partition that a commit touched."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

import versioned_io as vio
from dagster_versioned import compat, tags
from dagster_versioned.affected_partitions import wanted_of
from dagster_versioned.commit_watch import CommitWatch
from dagster_versioned.cursor_hold import hold_commit
from dagster_versioned.lazy_store import LazyStore
from dagster_versioned.naming import asset_of_repo
from dagster_versioned.partition_mapping import Touched, causes_of
from dagster_versioned.sensor_cursor import CausedBy, SensorCursor, parse_sensor_cursor
from dagster_versioned.sorted_out import SortedOut, add_requests_for, sort_out
from dagster_versioned.store_fields import StoreLike, settings_of
from versioned_io.errors import RefNotFoundError, RepoNotFoundError, StoreNotFoundError
from versioned_io.model.partitions import PartitionTemplate
from versioned_io.model.refs import BranchRef, parse_branch_ref

MAX_EVENTS = 1_000
"""How many materialisations one tick reports: some 7 ms each, where a tick may take 60 s. The rest waits a tick."""


def build_repo_assets(
    *refs: str,
    partitions: str | None = None,
    key: str | None = None,
    partitions_def: dg.PartitionsDefinition[Any] | None = None,
    store: StoreLike | None = None,
    catalog: str | None = None,
    resource_key: str = "versioned_store",
    io_manager_key: str = "io_manager",
    group_name: str | None = None,
    minimum_interval_seconds: int | None = None,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
) -> dg.Definitions:
    """Build the external assets that stand for repos, and the sensors that report their commits.

    Merge the result into your definitions: ``dg.Definitions.merge(build_repo_assets("orders"), ...)``. An asset that
    takes ``orders`` as an input then hangs on the repo in the graph. A commit by Airflow, the command line or another
    program becomes a materialisation without a run. Its data version is the digest of the content. So staleness and
    automation conditions see exactly the partitions that a commit touched.

    A partition is reported if its content differs from the last reported one. So a repeated tick, or another sensor on
    the same repo, reports nothing again. Only two sensors whose ticks overlap may both report a commit; the data
    version is then the same. The sensors start running, since they launch nothing.

    Args:
        refs: Branches, ``repo@branch``, or repos, whose branch is then ``main``. The repo ``raw.orders`` is the asset
            ``raw/orders``. A repo that does not exist yet is waited for.
        partitions, key: The templates of the paths and of the partition key, as for `build_commit_sensor`. Without
            them the asset has no partitions.
        partitions_def: The partitions; by default dynamic ones with the name of the repo, which are added as they come.
        store: Its location, its `StoreSettings`, or a resource that is configured with plain values; by default the
            resource under *resource_key*.
        io_manager_key: The IO manager that loads the files, where an asset takes the repo as an input.

    Raises:
        RefSyntaxError: One of *refs* is not a branch.
        InvalidInputError: *partitions* or *key* is not a template.
        DagsterInvalidDefinitionError: *refs* is empty, or *partitions_def* was given without *partitions*.

    Cost: a tick costs as one of `build_commit_sensor`, and 1 query of the instance and 1 listing of each touched
        partition's files.

    Example:
        >>> made = build_repo_assets("orders", partitions="{date}.csv", store="./data")
        >>> [spec.key.to_user_string() for spec in made.resolve_all_asset_specs()]
        ['orders']
        >>> [sensor.name for sensor in made.sensors]
        ['orders_main_asset']
    """
    if not refs:
        raise dg.DagsterInvalidDefinitionError("name at least one repo")
    if partitions_def is not None and partitions is None:
        raise dg.DagsterInvalidDefinitionError("partitions_def needs partitions=, the template of the paths")
    template = None if partitions is None else PartitionTemplate.parse(partitions, key)
    assets: list[dg.AssetSpec] = []
    sensors: list[dg.SensorDefinition] = []
    for ref in refs:
        branch = parse_branch_ref(ref if "@" in ref else f"{ref}@main")
        definition = partitions_def
        if definition is None and template is not None:
            definition = dg.DynamicPartitionsDefinition(name=branch.repo)
        spec = dg.AssetSpec(
            asset_of_repo(branch.repo),
            partitions_def=definition,
            group_name=group_name,
            description=f"The repo {branch.repo}, as it is on the branch {branch.branch}.",
            metadata={tags.REF: str(branch)},
            kinds={"versioned"},
        ).with_io_manager_key(io_manager_key)
        reporter = _Reporter(branch, spec, template, CommitWatch(branch, partitions, key))
        assets.append(spec)
        sensors.append(reporter.sensor(store, catalog, resource_key, minimum_interval_seconds, default_status))
    return dg.Definitions(assets=assets, sensors=sensors)


class _Reporter:
    """The sensor of one repo."""

    def __init__(
        self, branch: BranchRef, spec: dg.AssetSpec, template: PartitionTemplate | None, watch: CommitWatch
    ) -> None:
        self._branch = branch
        self._spec = spec
        self._template = template
        self._watch = watch

    def sensor(
        self,
        store: StoreLike | None,
        catalog: str | None,
        resource_key: str,
        minimum_interval_seconds: int | None,
        default_status: dg.DefaultSensorStatus,
    ) -> dg.SensorDefinition:
        name = re.sub(r"[^A-Za-z0-9_]", "_", f"{self._branch.repo}_{self._branch.branch}_asset")

        def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
            found = store if store is not None else getattr(context.resources, resource_key)
            with LazyStore(settings_of(found, catalog), create=False) as opened:
                result = self._evaluate(context, opened)
                if result.cursor:
                    hold_commit(context, name, opened.get(), result)
                return result

        return dg.SensorDefinition(
            name=name,
            evaluation_fn=evaluate,
            minimum_interval_seconds=minimum_interval_seconds,
            default_status=default_status,
            description=f"Reports the commits of {self._branch}.",
            required_resource_keys={resource_key} if store is None else None,
            metadata={tags.REF: str(self._branch)},
        )

    def _evaluate(self, context: dg.SensorEvaluationContext, opened: LazyStore) -> dg.SensorResult:
        cursor = parse_sensor_cursor(context.cursor) if context.cursor else SensorCursor()
        watch = self._watch
        try:
            store = opened.get()
            changes = store.changes(str(self._branch), since=cursor.commit, partitions=watch.partitions, key=watch.key)
        except (StoreNotFoundError, RepoNotFoundError, RefNotFoundError) as error:
            return dg.SensorResult(skip_reason=f"{self._branch} does not exist yet: {error}")
        if changes.unknown:
            context.log.warning("%s: %s", self._branch, changes.unknown)
        head = changes.head
        if head is None:
            return dg.SensorResult(skip_reason=f"no commit on {self._branch}")
        definition = self._spec.partitions_def
        with compat.partitions_loaded_from(context.instance):
            touched = Touched(causes_of(changes.keys), causes_of(changes.deleted))
            wanted = wanted_of(touched, cursor)
            sorted_out = SortedOut(known=list(wanted)) if definition is None else sort_out(wanted, definition)
            known = cursor.in_turn(sorted_out.known)
            now = known[:MAX_EVENTS]
            added = [] if definition is None else add_requests_for(now, definition, context.instance)
        kept = sorted([*known[MAX_EVENTS:], *sorted_out.unknown, *sorted_out.never])
        later = {key: wanted[key] for key in kept}
        after = str(SensorCursor(head.id, later))
        snapshot = store.snapshot(f"{self._branch.repo}@{head.id}")
        found = [self._content_of(key, snapshot) for key in now]
        reported = self._reported(context.instance, now)
        events = [self._event(one, wanted[one.key]) for one in found if reported.get(one.key) != one.digest]
        return dg.SensorResult(
            asset_events=events,
            cursor=after,
            dynamic_partitions_requests=added,
            skip_reason=None if events else f"nothing new on {self._branch}",
        )

    def _reported(self, instance: dg.DagsterInstance, keys: Sequence[str]) -> Mapping[str, str]:
        """Return the data version that each key has in Dagster."""
        if self._spec.partitions_def is not None:
            return compat.data_versions_of(instance, self._spec.key, keys)
        found = compat.data_version_of(instance, self._spec.key)
        return {} if found is None else dict.fromkeys(keys, found)

    def _content_of(self, key: str, snapshot: "vio.Snapshot") -> "_Content":
        if self._template is None:
            return _Content(key, snapshot.commit.tree_digest, {})
        files = list(snapshot.glob(self._template.glob_of(key)))
        sizes = {"versioned/files": len(files), "dagster/size_bytes": sum(file.size for file in files)}
        return _Content(key, _digest_of(files), sizes)

    def _event(self, content: "_Content", cause: CausedBy) -> dg.AssetMaterialization:
        return dg.AssetMaterialization(
            asset_key=self._spec.key,
            partition=content.key if self._spec.partitions_def is not None else None,
            description=f"commit {cause.commit} of {self._branch}",
            metadata={
                tags.LINEAGE_ID: cause.lineage_id,
                tags.COMMIT: str(cause.commit),
                tags.REPO: self._branch.repo,
                tags.BRANCH: self._branch.branch,
                **content.metadata,
            },
            tags={tags.DATA_VERSION: content.digest, tags.COMMIT: str(cause.commit), tags.LINEAGE_ID: cause.lineage_id},
        )


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of a partition, or of the whole repo: its digest, and facts about it."""

    key: str
    digest: str
    metadata: Mapping[str, Any]


def _digest_of(files: Sequence["vio.FileInfo"]) -> str:
    """Return the digest of a partition's content: equal files under equal paths give an equal one."""
    lines = sorted(f"{file.path}\0{file.digest}\n" for file in files)
    return hashlib.blake2b("".join(lines).encode(), digest_size=32).hexdigest()
