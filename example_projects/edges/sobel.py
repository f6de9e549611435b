"""Drawing the edges of a picture, and a sheet of many pictures."""

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

WIDTH = 128
COLUMNS = 4


def draw_edges(data: bytes) -> bytes:
    """Return the edges of a picture as a PNG: the length of the gradient of its brightness."""
    picture = Image.open(io.BytesIO(data)).convert("L")
    picture.thumbnail((WIDTH, WIDTH))
    down, right = np.gradient(np.asarray(picture, dtype=np.float32))
    return _as_png(Image.fromarray(np.clip(np.hypot(down, right) * 4, 0, 255).astype(np.uint8)))


def draw_sheet(pictures: Iterable[bytes]) -> bytes:
    """Return one PNG with all pictures, four in a row."""
    opened = [Image.open(io.BytesIO(data)) for data in pictures]
    rows = -(-len(opened) // COLUMNS)
    sheet = Image.new("L", (WIDTH * COLUMNS, WIDTH * rows))
    for number, picture in enumerate(opened):
        row, column = divmod(number, COLUMNS)
        sheet.paste(picture, (WIDTH * column, WIDTH * row))
    return _as_png(sheet)


def _as_png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
