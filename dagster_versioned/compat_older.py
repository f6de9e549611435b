"""Uses of Dagster's internals that older IO managers and existing projects need; see `compat`."""

import copy
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import dagster as dg

from versioned_io.errors import InvalidInputError


def input_of_partition(context: dg.InputContext, key: str) -> dg.InputContext:
    """Return a context that asks for one partition of an input that may have several."""
    one = copy.copy(context)
    definition = context.asset_partitions_def
    one._asset_partitions_subset = definition.subset_with_partition_keys([key])  # noqa: SLF001
    return one


def input_context_of(
    asset_key: dg.AssetKey, partitions: dg.PartitionsDefinition[Any] | None, instance: dg.DagsterInstance | None
) -> dg.InputContext:
    """Return a context outside of a run that asks for an asset's value; `input_of_partition` narrows it.

    Cost: some 10 ms, since Dagster prepares resources for it.
    """
    return dg.build_input_context(asset_key=asset_key, asset_partitions_def=partitions, instance=instance)


def stock_io_manager() -> dg.ResourceDefinition:
    """Return the IO manager of assets that name none, in a project that sets none."""
    from dagster._core.definitions.job_definition import default_job_io_manager

    return default_job_io_manager


def io_managers_of(
    assets: Mapping[dg.AssetKey, dg.AssetsDefinition], keys: Iterable[dg.AssetKey]
) -> dict[str, list[dg.AssetKey]]:
    """Return the executable ones of *keys* by the resource key of their IO manager."""
    found: dict[str, list[dg.AssetKey]] = defaultdict(list)
    for key in keys:
        if assets[key].is_materializable:
            found[assets[key].get_io_manager_key_for_asset_key(key)].append(key)
    return found


@contextmanager
def instance_or_ephemeral() -> Iterator[dg.DagsterInstance]:
    """Yield the instance of ``DAGSTER_HOME``; without that variable one in memory, which has no dynamic partitions."""
    made = dg.DagsterInstance.get() if os.environ.get("DAGSTER_HOME") else dg.DagsterInstance.ephemeral()
    with made as instance:
        yield instance


def load_repository(location: str, attribute: str | None) -> dg.RepositoryDefinition:
    """Return the definitions of a Python file, or of a module by its name.

    Raises:
        InvalidInputError: There are none, several without *attribute*, or the file does not exist.
    """
    from dagster._core.definitions.reconstruct import repository_def_from_target_def
    from dagster._core.workspace.autodiscovery import (
        loadable_targets_from_python_file,
        loadable_targets_from_python_module,
    )

    is_file = location.endswith(".py")
    if is_file and not Path(location).is_file():
        msg = f"there is no file {location}"
        raise InvalidInputError(msg)
    try:
        if is_file:
            targets = loadable_targets_from_python_file(location, str(Path(location).resolve().parent))
        else:
            targets = loadable_targets_from_python_module(location, str(Path.cwd()))
    except (dg.DagsterError, ModuleNotFoundError) as error:
        msg = f"{location} has no definitions that can be loaded: {error}"
        raise InvalidInputError(msg) from error
    named = [one for one in targets if attribute is None or one.attribute == attribute]
    if len(named) != 1:
        names = ", ".join(one.attribute for one in targets)
        msg = f"{location} has {names}: choose one with --attribute"
        raise InvalidInputError(msg)
    repository = repository_def_from_target_def(named[0].target_definition)
    if repository is None:
        msg = f"{location} has no definitions under the name {named[0].attribute}"
        raise InvalidInputError(msg)
    return repository


def paths_of(manager: dg.UPathIOManager, context: dg.InputContext | dg.OutputContext) -> list[Any]:
    """Return the places where *manager* keeps the value of *context*; of a partitioned one that of each partition."""
    if context.has_asset_key and context.has_asset_partitions:
        return list(partition_paths_of(manager, context).values())
    return [manager._get_path(context)]  # noqa: SLF001


def partition_paths_of(manager: dg.UPathIOManager, context: dg.InputContext | dg.OutputContext) -> Mapping[str, Any]:
    """Return the place of each partition of *context*.

    A multi-dimensional partition of very old Dagster versions lies elsewhere; that place is returned if it exists and
    the present one does not.
    """
    found: dict[str, Any] = manager._get_paths_for_partitions(context)  # noqa: SLF001
    for key, older in manager._get_multipartition_backcompat_paths(context).items():  # noqa: SLF001
        if isinstance(context, dg.InputContext) and not manager.path_exists(found[key]) and manager.path_exists(older):
            found[key] = older
    return found


def filesystem_manager(base_dir: str) -> dg.UPathIOManager:
    """Return the object that `dagster.FilesystemIOManager` makes for a directory, or for a URL of fsspec."""
    from dagster._core.storage.fs_io_manager import PickledObjectFilesystemIOManager

    return PickledObjectFilesystemIOManager(base_dir=base_dir)  # type: ignore[no-untyped-call]


def s3_pickle_manager(url: str, s3: Any) -> dg.UPathIOManager:  # noqa: ANN401 (an S3Resource or None)
    """Return the object that `dagster_aws.s3.S3PickleIOManager` makes for ``s3://bucket/prefix``."""
    from dagster_aws.s3 import PickledObjectS3IOManager, S3Resource

    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client = (s3 if s3 is not None else S3Resource()).get_client()
    return PickledObjectS3IOManager(bucket, client, prefix.rstrip("/") or None)


def is_stock_pickle_manager(manager: dg.UPathIOManager) -> bool:
    """Return whether Dagster or dagster-aws made *manager*, so that its files are pickles."""
    return type(manager).__name__ in {"PickledObjectFilesystemIOManager", "PickledObjectS3IOManager"} and type(
        manager
    ).__module__.partition(".")[0] in {"dagster", "dagster_aws"}


@contextmanager
def open_stock_pickle(manager: Any, path: Any) -> Iterator[IO[bytes]]:  # noqa: ANN401 (two unrelated classes; a UPath)
    """Open the file of a stock IO manager.

    Raises:
        FileNotFoundError: There is none.
    """
    if not hasattr(manager, "bucket"):
        with path.open("rb") as file:
            yield file
        return
    try:
        body = manager.s3.get_object(Bucket=manager.bucket, Key=path.as_posix())["Body"]
    except manager.s3.exceptions.NoSuchKey as error:
        msg = f"there is no object s3://{manager.bucket}/{path.as_posix()}"
        raise FileNotFoundError(msg) from error
    with closing(body):
        yield body
