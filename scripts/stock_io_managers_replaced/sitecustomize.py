"""Loaded by every Python process of `make dagster-suite`: puts the versioned IO manager in the place of stock ones.

The settings are in the environment: the store's root, whether outputs are exported, and the endpoint of S3.
"""

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster._core.storage.fs_io_manager as stock

_ROOT = Path(os.environ["SUITE_ROOT"])
_EXPORT = os.environ.get("SUITE_EXPORT") == "1"
_STOCK = stock.PickledObjectFilesystemIOManager


def _versioned(place: str, older: object) -> Any:  # noqa: ANN401 (dagster_versioned is loaded when first used)
    from dagster_versioned import VersionedIOManager

    store = _ROOT / hashlib.sha256(place.encode()).hexdigest()[:20]
    return VersionedIOManager(store=str(store), fallback=older, export=_EXPORT and older is not None)


class _InPlaceOfFilesystem(_STOCK):
    """The class that `FilesystemIOManager` and Dagster's default make their object of; a subclass of a test stays."""

    def __new__(cls, base_dir: str | None = None, **options: Any) -> Any:  # noqa: ANN401
        """Return the versioned IO manager; without export, the tests see a project that has nothing on disk."""
        if cls is not _InPlaceOfFilesystem:
            return super().__new__(cls)
        return _versioned(str(base_dir), _STOCK(base_dir=base_dir, **options) if _EXPORT else None)


stock.PickledObjectFilesystemIOManager = _InPlaceOfFilesystem

if find_spec("dagster_aws") is not None:
    import dagster_aws.s3.io_manager as stock_s3

    _STOCK_S3 = stock_s3.PickledObjectS3IOManager

    def _in_place_of_s3(s3_bucket: str, s3_session: Any, s3_prefix: str | None = None) -> Any:  # noqa: ANN401
        """Return the IO manager for what `S3PickleIOManager` asks for; it reads the bucket, and exports to it."""
        older = _STOCK_S3(s3_bucket=s3_bucket, s3_session=s3_session, s3_prefix=s3_prefix)
        return _versioned(f"{s3_bucket}/{s3_prefix}", older)

    stock_s3.PickledObjectS3IOManager = _in_place_of_s3
