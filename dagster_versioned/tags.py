"""The names under which lineage is found in Dagster: run tags, and metadata of materialisations."""

LINEAGE_ID = "versioned/lineage_id"
"""Run tag and metadata: the lineage ID of everything that one write led to."""

COMMIT = "versioned/commit"
"""Run tag: the commit that caused the run. Metadata: the commit that holds the materialisation."""

REF = "versioned/ref"
"""Run tag: the branch of the commit. Input metadata: the ref to read instead of the branch's head."""

CAUSES = "versioned/causes"
"""Tag of a backfill that commits of many lineage IDs caused: finds the commit of each partition; see `causes`."""

REPO = "versioned/repo"
"""Metadata: the repo that the materialisation is in."""

BRANCH = "versioned/branch"
"""Metadata: the branch that the materialisation was committed to."""

INPUTS = "versioned/inputs"
"""Metadata: the exact files from which the materialisation was made."""

MADE_FROM = "versioned/made_from"
"""Metadata: a table of the repos and commits from which the materialisation was made, to be read by a person."""

ROW_COUNT_BEFORE = "versioned/row_count_before"
"""Metadata: of a table, its number of rows in the commit before."""

ROW_COUNT_CHANGE = "versioned/row_count_change"
"""Metadata: of a table, how many rows it has more, or less, than in the commit before."""

ROWS_ADDED = "versioned/rows_added"
"""Metadata: of a table, how many of its rows were not in the commit before."""

ROWS_REMOVED = "versioned/rows_removed"
"""Metadata: of a table, how many rows of the commit before are not in it."""

COLUMNS_CHANGED = "versioned/columns_changed"
"""Metadata: of a table, the columns that were added or removed, or have another type than in the commit before."""

PIPELINE = "versioned/pipeline"
"""Run tag and metadata: the pipeline whose datums the run evaluates."""

DATUMS = "versioned/datums"
"""Metadata: a number of datums; what became of them follows, such as ``_run`` or ``_skipped``."""

STATE = "versioned/state"
"""Metadata: how the run of a pipeline ended: ``succeeded``, ``partial``, or ``stored`` without a commit."""

PENDING_DATUMS = "versioned/pending_datums"
"""Metadata: of an asset with a partition for each datum, how many datums the commit waits for."""

FAILED_DATUMS = "versioned/failed_datums"
"""Metadata: the errors of failed datums by key, at most 20."""

DATA_VERSION = "dagster/data_version"
"""Dagster's tag of a materialisation: its data version."""
