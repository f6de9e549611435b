"""Pages side by side: a path that is a file in one and a directory in another is found, however they are cut."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from versioned_io.errors import IntegrityError
from versioned_io.maintenance.fsck.spans import Span

_names = st.sampled_from(["a", "a-", "a-b", "a.b", "a0", "b", "é", " "])
_paths = st.lists(_names, min_size=1, max_size=3).map("/".join)


def spans(pages):
    """Return what pages side by side span, or None when a path in them is a file and a directory."""
    with contextlib.suppress(IntegrityError):
        first, *others = map(Span.of_paths, pages)
        for other in others:
            first = first.followed_by(other)
        return first
    return None


@settings(max_examples=300)
@given(st.sets(_paths, min_size=1, max_size=12), st.lists(st.integers(1, 4), min_size=12, max_size=12), st.data())
def test_a_file_that_is_a_directory_is_found_however_the_pages_are_cut(found, cuts, data):
    paths = sorted(found)
    pages = []
    for size in cuts:
        pages, paths = ([*pages, paths[:size]] if paths else pages), paths[size:]
    collides = any(other.startswith(f"{path}/") for path in found for other in found)
    assert (spans(pages) is None) == collides
    if not collides:
        # Groups of pages, joined first among themselves as below an index page, span the same.
        middle = data.draw(st.integers(1, len(pages)))
        left, right = spans(pages[:middle]), pages[middle:]
        assert (left.followed_by(spans(right)) if right else left) == spans(pages)
