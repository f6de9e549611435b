"""Oxen through its Python package: ``python peer_oxen.py ACTION [NAME]`` in a workspace, with its own interpreter.

The package has no command. It needs no server: everything here is local.
"""

import sys
from importlib.metadata import version
from pathlib import Path

DATA = "data"


def main(action: str, name: str = "") -> None:
    """Do one action in the current directory."""
    if action == "version":
        print(f"oxenai {version('oxenai')}")
        return
    from oxen import Repo
    from oxen.user import config_user

    repo = Repo(str(Path.cwd()))
    if action == "init":
        config_user("bench", "bench@localhost")
        repo.init()
    elif action == "ingest":
        repo.add(DATA)
        repo.commit(name)
    elif action == "restore":
        repo.restore(DATA)
    else:
        msg = f"no such action: {action}"
        raise SystemExit(msg)


if __name__ == "__main__":
    main(*sys.argv[1:])
