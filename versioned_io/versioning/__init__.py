"""Version control: snapshots, transactions, names, history, lineage, runs."""
