"""Commit photographs that scikit-image ships: six of them, or those that are named."""

import os
import sys
from importlib.resources import files

import versioned_io as vio

SIX = ("camera.png", "chelsea.png", "coins.png", "moon.png", "rocket.jpg", "brick.png")


def ingest(store: vio.Store, names: tuple[str, ...] = SIX) -> vio.Commit:
    """Commit these photographs to the repo of photographs, and return the commit."""
    store.create_repo("photographs", exist_ok=True)
    with store.transaction("photographs@main", message=f"add {', '.join(names)}") as tx:
        for name in names:
            tx.write(name, (files("skimage") / "data" / name).read_bytes())
    return tx.commit


if __name__ == "__main__":
    with vio.open_or_create_store(os.environ.get("VERSIONED_STORE", "store")) as opened:
        print(ingest(opened, tuple(sys.argv[1:]) or SIX).id)
