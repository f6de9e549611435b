"""The rule that says how much of a branch's history is kept."""

import json
from dataclasses import asdict, dataclass

from versioned_io.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """How much of a branch's history is kept; what neither part keeps may be forgotten.

    Attributes:
        keep_last: The newest commits, at least 1.
        keep_for_s: Commits younger than this, in seconds.
    """

    keep_last: int | None = None
    keep_for_s: float | None = None

    def __post_init__(self) -> None:
        if self.keep_last is None and self.keep_for_s is None:
            msg = "a retention rule needs keep_last or keep_for: remove the rule to keep everything"
            raise InvalidInputError(msg)
        if (self.keep_last is not None and self.keep_last < 1) or (self.keep_for_s is not None and self.keep_for_s < 0):
            msg = f"can't keep the last {self.keep_last} commits for {self.keep_for_s} s: both count up from nothing"
            raise InvalidInputError(msg)

    def to_json(self) -> str:
        """Return the rule as the catalog and the journal keep it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "RetentionRule":
        """Return the rule that `to_json` wrote."""
        return cls(**json.loads(text))
