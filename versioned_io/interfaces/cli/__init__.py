"""The command line: ``versioned``, with tables that fit a terminal and ``--json`` everywhere."""


def main() -> None:
    """Run the command line; the console script calls this.

    | exit code | meaning |
    |---|---|
    | 0 | done |
    | 2 | the call is invalid |
    | 3 | not found |
    | 4 | conflict |
    | 5 | storage or catalog failed |
    | 6 | stored bytes are damaged |
    | 7 | another format, upgrade |
    | 8 | a gate was not passed |
    | 9 | `status --check` found a problem, or overdue maintenance |
    | 1 | anything else |
    """
    from versioned_io.interfaces.cli.app import run

    run()
