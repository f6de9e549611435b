"""The run context: it records the reads of a piece of work as the provenance of its commits."""
