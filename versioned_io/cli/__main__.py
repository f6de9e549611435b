"""``python -m versioned_io.cli`` is ``versioned``."""

from versioned_io.cli import main

main()
