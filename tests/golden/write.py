"""Write a golden store: ``python -m tests.golden.write format-1`` makes ``tests/golden/format-1.tar.xz``.

Run it once for each version that changes what stores hold, and keep the archives of all released versions: each must
stay readable. The archive holds the store, and ``expected.json`` with what must be read from it.
"""

import json
import random
import sys
import tarfile
import tempfile
from pathlib import Path

import versioned_io as vio

HERE = Path(__file__).parent


def fill(store: vio.Store) -> None:
    """Make every kind of thing that a store can hold."""
    large = random.Random(1).randbytes(200_000)
    store.create_repo("weather", description="observations")
    store.create_repo("models")
    for number in range(3):
        with store.transaction("weather@main", message=f"load {number}", author="golden", metadata={"n": number}) as tx:
            tx.write("large.bin", large + b"%d" % number)
            for month in range(1, 13):
                tx.write(
                    f"201{number}/{month:02}.csv", f"rain\n{number}.{month}\n".encode(), attributes={"kind": "csv"}
                )
    with store.transaction("weather@main", message="many") as tx:
        for number in range(1_500):
            tx.write(f"many/{number:04}.txt", b"%d" % (number % 7))
        tx.write("日本/é.txt", "ünï".encode())
        tx.write("empty", b"")
    store.create_tag("weather@v1", at="weather@main~1")
    store.create_branch("weather@dev", at="weather@main")
    with store.transaction("weather@dev", message="on dev") as tx:
        tx.delete("2010/")
        tx.move("large.bin", "moved.bin")
        tx.write("2011/01.csv", b"+", append=True)
    store.merge("weather@dev", "weather@main", fast_forward=False)
    store.revert("weather@main", "weather@main")
    store.reset("weather@dev", "weather@v1")
    with store.transaction("weather@dev", idempotency_key="golden") as tx:
        tx.write("after", b"reset")
    store.protect_branch("weather@main")
    with store.run("train", code_version="1", params={"depth": 3}, run_id="r1"):
        store.snapshot("weather@main").read("2011/01.csv")
        with store.transaction("models@main", message="trained") as tx:
            tx.write("model.bin", b"model")


def describe(store: vio.Store) -> dict[str, object]:
    """Return what must be read from the store, as JSON can hold it."""
    found: dict[str, object] = {}
    for repo in store.repos():
        for branch in repo.branches:
            ref = f"{repo.name}@{branch.name}"
            found[ref] = [
                {
                    "commit": commit.to_json(),
                    "tree": commit.tree_digest,
                    "files": {
                        file.path: [file.size, file.digest, dict(file.attributes), file.written_by]
                        for file in store.snapshot(f"{repo.name}@{commit.id}").walk()
                    },
                }
                for commit in store.log(ref)
            ]
        found[f"tags of {repo.name}"] = store.tags(repo.name)
    found["upstream of the model"] = [[use.file.repo, use.file.path] for use in store.upstream("models@main").files]
    return found


def main(name: str) -> None:
    """Write the archive *name*."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / name
        with vio.create_store(place / "store") as store:
            fill(store)
            (place / "expected.json").write_text(json.dumps(describe(store), indent=1, sort_keys=True))
        with tarfile.open(HERE / f"{name}.tar.xz", "w:xz") as archive:
            archive.add(place, arcname=name)


if __name__ == "__main__":
    main(sys.argv[1])
