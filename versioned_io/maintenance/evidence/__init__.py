"""Evidence about commits and names: the records and entries in packs, compared with the catalog."""
