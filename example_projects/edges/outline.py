"""The same edges as a program: files below ``$PFS_ROOT/photographs`` in, files below ``$PFS_ROOT/out`` out."""

import os
from pathlib import Path

from sobel import draw_edges

root = Path(os.environ.get("PFS_ROOT", "/pfs"))
for photograph in sorted((root / "photographs").iterdir()):
    (root / "out" / f"{photograph.stem}.png").write_bytes(draw_edges(photograph.read_bytes()))
