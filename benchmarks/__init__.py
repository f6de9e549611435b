"""Side by side with peers, reproducible: what versioned-io costs, beside what it promises; see ``make bench``."""
