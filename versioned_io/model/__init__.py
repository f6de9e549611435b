"""The values that all other rooms share, and their text forms; no SQL, and no bytes of packs."""
