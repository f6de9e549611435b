"""The description of this machine, and the versions of the tools."""

import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

_PACKAGES = ("versioned-io", "pyarrow", "obstore", "sqlalchemy", "zstandard", "blake3", "pyfastcdc", "xxhash")


def describe_machine(directory: Path, peers: dict[str, str]) -> dict[str, Any]:
    """Return CPU, cores, memory, disk, kernel and versions; *directory* is where the benchmarks write."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "disk": _file_system(directory),
        "disk_free_gib": round(shutil.disk_usage(directory).free / 2**30),
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
        "peers": peers,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(directory: Path) -> str:
    mounts = [part for part in psutil.disk_partitions(all=True) if directory.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"
