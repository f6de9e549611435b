"""Queries about lineage, and lineage for others: graphs, exports, and everything that a run was made of."""
