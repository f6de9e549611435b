"""Which commits and packs are kept, and collecting the rest."""
