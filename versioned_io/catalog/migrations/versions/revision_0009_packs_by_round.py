"""An index of packs by round and state, so that the packs to be judged are found among any number of deleted ones."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Put the index in the place of the one by round alone; no row changes."""
    op.create_index("ix_packs_mark_epoch_state_condemned_at", "packs", ["mark_epoch", "state", "condemned_at"])
    op.drop_index("ix_packs_mark_epoch", "packs")
