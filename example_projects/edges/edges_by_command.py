"""The pipeline of edges as a command, which could be a program in any language."""

import os
from pathlib import Path

import versioned_io as vio

HERE = Path(__file__).parent

edges_by_command = vio.command(
    "edges_by_command",
    ["python3", "outline.py", "sobel.py"],  # files that arguments name are there, and count as code
    inputs=vio.glob("photographs@main", "/(*).{png,jpg}"),
    output="edges_by_command@main",
    directory=HERE,
    pfs=True,  # as a spec of Pachyderm has it, so both share results; it needs user namespaces of Linux
)


def main() -> None:
    """Run it, and print what was done."""
    with vio.open_store(os.environ.get("VERSIONED_STORE", "store")) as store:
        store.create_repo(edges_by_command.output.repo, exist_ok=True)
        run = store.pipeline(edges_by_command).run()
        print(edges_by_command.name, run.state, dict(run.counts))


if __name__ == "__main__":
    main()
