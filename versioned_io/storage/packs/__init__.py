"""Packs: the only kind of object, a run of checked frames with an index at its end."""
