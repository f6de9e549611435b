"""The rule for the kept part of a branch's history."""

import json
from dataclasses import asdict, dataclass

from versioned_io.errors import IntegrityError, InvalidInputError
from versioned_io.errors.root import quoted


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """The kept part of a branch's history; a commit that neither limit keeps may be forgotten.

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
        """Return the rule as the catalog and the journal keep it.

        >>> vio.RetentionRule(keep_last=10).to_json()
        '{"keep_for_s": null, "keep_last": 10}'
        """
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "RetentionRule":
        """Return the rule that `to_json` wrote.

        >>> vio.RetentionRule.from_json('{"keep_last": 10}')
        RetentionRule(keep_last=10, keep_for_s=None)

        Raises:
            IntegrityError: It is malformed.
        """
        try:
            values = json.loads(text)
            rule = cls(values.get("keep_last"), values.get("keep_for_s"))
        except (AttributeError, TypeError, ValueError, InvalidInputError) as error:
            msg = f"the retention rule {quoted(text)} is malformed ({error}); run fsck"
            raise IntegrityError(msg) from error
        for value, kinds in ((rule.keep_last, int), (rule.keep_for_s, int | float)):
            if isinstance(value, bool) or not isinstance(value, kinds | None):
                msg = f"the retention rule {quoted(text)} is malformed: {quoted(value)} is not a number; run fsck"
                raise IntegrityError(msg)
        return rule
