"""``python -m versioned_io.interfaces.cli`` is ``versioned``."""

from versioned_io.interfaces.cli import main

main()
