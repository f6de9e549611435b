"""Opens the store of argv[1] as a user that may not write to it, and prints what it sees and what it is refused."""

import json
import os
import sys

import versioned_io as vio

NOBODY = 65534


def look(url):
    seen, refused = {}, {}
    with vio.open_store(url) as store:
        snapshot = store.snapshot("r@main")
        seen = {file.path: snapshot.read(file.path).decode() for file in snapshot.walk()}
        assert len(list(store.log("r@main"))) == store.commit("r@main").number
        assert store.fsck().is_clean

        def commit():
            with store.transaction("r@main") as tx:
                tx.write("a", os.urandom(8))

        changes = {
            "commit": commit,
            "create_repo": lambda: store.create_repo("other"),
            "create_tag": lambda: store.create_tag("r@v1", at="r@main"),
            "put": lambda: store._backend.objects.put("packs/zz/x", [b"x"]),
            "delete": lambda: store._backend.objects.delete([next(store._backend.objects.list("packs/")).key]),
        }
        for name, change in changes.items():
            try:
                change()
            except vio.VersionedError as error:
                refused[name] = [error.code, str(error)]
    return {"seen": seen, "refused": refused}


if __name__ == "__main__":
    if os.geteuid() == 0:
        look(sys.argv[2])  # loads every module: the interpreter's own may be out of nobody's reach
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        print(json.dumps(look(sys.argv[1])))
    except vio.VersionedError as error:
        print(json.dumps({"error": [error.code, str(error)]}))
