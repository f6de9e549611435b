"""Draw the rooms of the core on their floors, with an arrow for each import from room to room.

Usage: ``python scripts/draw_house.py [TREE] [TARGET]``. TREE is a checkout, by default this one; TARGET is the SVG file
to write, by default ``docs/pictures/house-after.svg``. A test compares that picture with the source.
"""

import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
AFTER = ROOT / "docs" / "pictures" / "house-after.svg"
PACKAGE = "versioned_io"
WIDTH, FLOOR, ROOM, TALL = 1160, 74, 104, 26


def arrows_of(tree: Path) -> set[tuple[str, str]]:
    """Return each pair of rooms of which the first imports the second, in the source below *tree*."""
    sys.path.insert(0, str(tree))
    try:
        graph = grimp.build_graph(PACKAGE, cache_dir=None)
    finally:
        sys.path.remove(str(tree))
    rooms = {name.split(".")[1] for name in graph.modules if "." in name}
    found = {
        (importer.split(".")[1], imported.split(".")[1])
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if "." in importer and "." in imported
    }
    return {(one, other) for one, other in found if one != other and {one, other} <= rooms}


def floors_of(arrows: set[tuple[str, str]]) -> list[list[str]]:
    """Return the rooms by floor, from the ground up; each stands as low as its imports allow.

    Raises:
        ValueError: The imports form a circle.
    """
    below = {room: {other for one, other in arrows if one == room} for pair in arrows for room in pair}
    floors: list[list[str]] = []
    while below:
        lowest = sorted(room for room, others in below.items() if not others)
        if not lowest:
            msg = f"a circle among {', '.join(sorted(below))}"
            raise ValueError(msg)
        floors.append(lowest)
        below = {room: others - set(lowest) for room, others in below.items() if others}
    return floors


def draw(arrows: set[tuple[str, str]]) -> str:
    """Return the picture, as SVG."""
    floors = floors_of(arrows)
    height = FLOOR * len(floors) + 20
    places = {
        room: (WIDTH * (number + 1) / (len(rooms) + 1), height - FLOOR * (floor + 0.5) - 10)
        for floor, rooms in enumerate(floors)
        for number, room in enumerate(rooms)
    }
    lines = [
        f'<line x1="{places[one][0]:.0f}" y1="{places[one][1] + TALL / 2:.0f}" '
        f'x2="{places[other][0]:.0f}" y2="{places[other][1] - TALL / 2:.0f}" '
        'stroke="#7a8ba0" stroke-opacity="0.55" stroke-width="1.2"/>'
        for one, other in sorted(arrows)
    ]
    boxes = [
        f'<rect x="{x - ROOM / 2:.0f}" y="{y - TALL / 2:.0f}" width="{ROOM}" height="{TALL}" rx="5" fill="#eef3f8" '
        f'stroke="#33506d"/><text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="middle">{room}</text>'
        for room, (x, y) in sorted(places.items())
    ]
    title = f"{len(places)} rooms on {len(floors)} floors, {len(arrows)} arrows"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
    start = f'{head}font-size="12"><title>{title}</title><rect width="{WIDTH}" height="{height}" fill="white"/>'
    return "\n".join([start, *lines, *boxes, "</svg>"]) + "\n"


def main() -> int:
    """Draw one tree."""
    tree = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else AFTER
    target.write_text(draw(arrows_of(tree)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
