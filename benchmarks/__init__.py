"""Reproducible benchmarks beside peers: the costs of versioned-io, compared with its targets; see ``make bench``."""
