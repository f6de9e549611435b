"""The prose rules of this project: what the checker looks for, and the wording that is wanted instead.

Each rule has an example of the wrong wording and of the right one. The tests hold the checker against both.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAXIMUM_WORDS = 25


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of prose, where it stands, and in what kind of text."""

    text: str
    line: int
    kind: str  # "markdown", "docstring", "summary", "comment" or "message"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the house style: its ID, its advice, an example of each side, and its pattern."""

    id: str
    advice: str
    wrong: str
    right: str
    pattern: re.Pattern[str] | None = None
    kinds: frozenset[str] = frozenset({"markdown", "docstring", "summary", "comment", "message"})

    def matches(self, sentence: Sentence) -> Iterator[str]:
        """Yield the words of *sentence* that break this rule."""
        if sentence.kind not in self.kinds:
            return
        if self.pattern is not None:
            # Faster than a pattern that ignores case; the first letter shows where a sentence begins.
            text = sentence.text[0] + sentence.text[1:].lower()
            yield from (match[0].strip() for match in self.pattern.finditer(text))
        elif sentence.text.count(" ") >= MAXIMUM_WORDS and (words := count_words(sentence.text)) > MAXIMUM_WORDS:
            yield f"{words} words: {' '.join(sentence.text.split()[:6])} ..."


def count_words(text: str) -> int:
    """Return how many words *text* has; a number, a path or a piece of inline code is one word."""
    return sum(1 for word in text.split() if any(map(str.isalnum, word)))


def any_of(*alternatives: str) -> re.Pattern[str]:
    """Return a pattern that matches one of *alternatives*, in lower case except for the first letter of a sentence."""
    return re.compile("|".join(f"(?:{alternative})" for alternative in alternatives))


# A sentence of which the pattern is the subject is no question: no question mark ends it.
_STATEMENT = r"(?!.*\?)"
_BE = r"(?:is|are|was|were|be|been)"
_AUXILIARY = r"(?:is|are|was|were|does|do|did|has|have|can|could|will|would|must)"
_FEW = r"(?:[\w'`*-]+ ){1,4}"
_CLAUSE = r"(?:[,;:(] |\b(?:that|and|so|but|because|of|by|from|to|for|than|with|in|on|at|as|or) )"

RULES = (
    Rule(
        "actor",
        "Name the actor (a writer, a reader, a caller); 'who' and 'whoever' are not subjects",
        wrong="Who met others on a branch holds it from the start the next time.",
        right="A writer that lost a race locks the branch up front next time.",
        pattern=any_of(
            rf"^[Ww]ho\b{_STATEMENT}", r"\b[Ww]ho(?:m)?ever\b", r"\b(?:so that|for|of|but) who\b", r"[:;] who\b(?!.*\?)"
        ),
    ),
    Rule(
        "is-no",
        "Write 'is not a', never 'is no'",
        wrong="'x/y' is no repo name.",
        right="'x/y' is not a valid repo name.",
        pattern=any_of(rf"(?<![Tt]here )\b{_BE} no (?!longer\b|more\b|less\b|fewer\b|one\b)[\w'`-]+"),
    ),
    Rule(
        "what-clause",
        "Use a noun, not a clause that begins with 'what'",
        wrong="What is much is stored before others have to wait for it.",
        right="Large data is uploaded before the lock is taken.",
        pattern=any_of(
            rf"^[Ww]hat\b{_STATEMENT}",
            rf"{_CLAUSE}what (?:{_AUXILIARY}|no|nobody|leads?|lies?|goes|came|comes?|there)\b{_STATEMENT}",
        ),
    ),
    Rule(
        "field-verb",
        "Use the field's verb: delete, discard, expire, repair, rebuild, revert, upgrade, scan",
        wrong="It takes the branch away, lets go of the lease and commits their end.",
        right="It deletes the branch, releases the lease and deletes them in a commit.",
        pattern=any_of(
            rf"\b(?:[Tt]akes?|taken|taking|took) (?:{_FEW})?away\b",
            r"\b(?:[Ll]ets?|letting) go of\b",
            r"\bstaged to go\b",
            r"\b(?:commits?|committed) (?:its|their|the) end\b",
            rf"\b(?:[Pp]uts?|putting) (?:{_FEW})?right\b",
            rf"\b(?:[Mm]akes?|made|making) (?:{_FEW})?(?:again|anew)\b",
            rf"\b(?:[Tt]akes?|taken|taking|took) (?:{_FEW})?back\b",
            r"\b(?:[Tt]hrows?|thrown|throwing|threw) away\b",
            r"\b(?:[Bb]rings?|brought) (?:it |one |them )?up\b(?! to date)",
            r"\b(?:[Ll]ooks?|looked|looking) through\b",
            r"\b(?:[Gg]ives?|gave|given|giving) back\b",
        ),
    ),
    Rule(
        "summary-verb",
        "Begin a summary with Return, Yield, Raise, Write, Delete or another verb of the field, not Say, Tell or Give",
        wrong="Say whether there is a file.",
        right="Return whether a file exists.",
        pattern=any_of(r"^(?:Say|Tell|Give|Hand|Answer|Know|Let|Have|Put right|Take away|Be|Ask|Mind|Leave)\b"),
        kinds=frozenset({"summary"}),
    ),
    Rule(
        "inversion",
        "Order: subject, verb, object",
        wrong="It asks ever more seldom, so that who has waited long is overtaken by all who came just now.",
        right="SQLite's busy handler backs off, so long waiters lose to newcomers.",
        pattern=any_of(
            r"\bever (?:more|less) (?:seldom|often|rarely)\b",
            r", and with (?:it|them|that)\b",
            rf"^(?:Never|Nor|Neither|Only (?:then|there|so|now)|Not only|Nowhere|Hardly|Rarely|Seldom) {_AUXILIARY}\b",
            rf"^(?:\*)?(?:Gone|Lost|Kept|Seen|Read|Written|Found|Noted|Known|Recorded|Counted)(?:\*)? {_BE}\b(?!.*\?)",
            r"^Of an? ",
            rf"^(?:From|In|On|To|Into|By|With|After) (?:it|them|these|those) (?:{_BE}|comes?|goes?|go|leads?)\b",
            r"\bis it that\b",
        ),
    ),
    Rule(
        "length",
        f"One idea a sentence, at most {MAXIMUM_WORDS} words",
        wrong=(
            "A diff, and with it the question what must run, costs what changed and not what there is, since equal "
            "pages have equal digests in whichever pack of whichever commit they lie."
        ),
        right="A diff costs time proportional to the change. So does finding the partitions to run.",
    ),
    Rule(
        "riddle",
        "Name the mechanism: the object, the field, the error, the state",
        wrong="What leads to a pack says that it is there, and whole.",
        right="A referenced pack that is missing raises PackLostError.",
        pattern=any_of(
            r"\b[Ww]hat (?:(?:no|the) )?(?:names?|refs?|branch(?:es)?|leads?|points?) (?:leads?|points?|to)\b",
            r"\b(?:[Ii]t is|[Tt]hey are|[Ii]t was|[Tt]hey were) there\b",
            r"\bis there, and\b",
            r"\b(?:[Nn]obody|[Nn]o one) knows\b|\bknows? nothing of\b",
            r"\btells? of\b",
            r"\bwithout a word\b",
            r"\bcom(?:e|es|ing) out the same\b",
            r"\bstands? for itself\b",
            r"\b(?:holds?|held) (?:[\w'`-]+ ){1,3}up\b",
            r"\bgoes? on\b",
            r"\bwherever (?:it|they) lies?\b",
            r"\bwhole elsewhere\b",
        ),
    ),
    Rule(
        "quantity",
        "Plain quantity and time: 'at most this many', 'permanently', 'already', 'rarely'",
        wrong="It keeps so many, or fewer, for ever; by now there are ten.",
        right="It keeps at most this many permanently; there are already ten.",
        pattern=any_of(
            r"\b[Ff]or ?ever\b",
            r"\b[Bb]y now\b",
            r"\b[Ss]o (?:many|much)\b",
            r"\bfor good\b",
            r"\bby and by\b",
            r"\b[Ss]eldom(?:er|est)?\b",
            r"\banew\b",
            r"\bever (?:more|less|again)\b",
            r"\bonce and for all\b",
            r"\bsome day\b",
            r"\bnowadays\b",
        ),
    ),
    Rule(
        "claim",
        "Claim only what ships; no praise",
        wrong="Whoever misses Pachyderm will find its contract here.",
        right="Pachyderm's versioned repos and lineage, as a library.",
        pattern=any_of(
            r"\b(?:will find|will soon|coming soon)\b",
            r"\bwill (?:support|be able|become|be added|be supported)\b",
            r"\b(?:[Ss]imply|easily|effortless(?:ly)?|seamless(?:ly)?|blazing|lightning|robust|powerful|elegant|modern)\b",
            r"\b(?:best-in-class|state[- ]of[- ]the[- ]art|world-class|just works|[Oo]f course|obviously)\b",
        ),
    ),
)
