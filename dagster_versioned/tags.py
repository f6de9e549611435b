"""The names under which lineage is found in Dagster: run tags, and metadata of materialisations."""

LINEAGE_ID = "versioned/lineage_id"
"""Run tag and metadata: the lineage ID of everything that one write led to."""

COMMIT = "versioned/commit"
"""Run tag: the commit that asked for the run. Metadata: the commit that holds what was materialised."""

REF = "versioned/ref"
"""Run tag: the branch that the commit was made on. Input metadata: what to read instead of the branch's head."""

REPO = "versioned/repo"
"""Metadata: the repo that the materialisation is in."""

BRANCH = "versioned/branch"
"""Metadata: the branch that the materialisation was committed to."""

INPUTS = "versioned/inputs"
"""Metadata: the exact files that the materialisation was made from."""
