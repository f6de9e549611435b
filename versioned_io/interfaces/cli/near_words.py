"""Words that people try as commands, and the commands that do what they want."""

import difflib
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import typer
from typer.core import TyperGroup

from versioned_io.errors import RefSyntaxError
from versioned_io.interfaces.cli.global_options import behind_the_command, take_output_options
from versioned_io.model.identifiers import is_id
from versioned_io.model.refs import DEFAULT_BRANCH, parse_ref

_PUT: Final = "`versioned put repo@branch FILES` commits files in one step"
_GET: Final = "`versioned checkout repo@ref DIRECTORY` writes the files of a commit to this machine"
_NO_REMOTE: Final = "everybody who opens a store works on the same branches, so there is nothing to"

WORDS: Final[Mapping[str, str]] = {
    "add": _PUT,
    "clone": f"{_GET}; `versioned backup PLACE` copies a whole store",
    "commit": _PUT,
    "create": "`versioned init` makes a store, `versioned repo create NAME` a repo in it",
    "delete": "`versioned rm` deletes files; `versioned branch`, `tag` and `repo` have a delete of their own",
    "download": _GET,
    "fetch": f"{_NO_REMOTE} fetch; {_GET}",
    "list": "`versioned ls repo@ref` lists files, `versioned repo list` the repos",
    "pull": f"{_NO_REMOTE} pull; {_GET}",
    "push": f"{_NO_REMOTE} push; {_PUT}",
    "rebase": "`versioned merge` and `versioned cherry-pick` bring changes from one branch into another",
    "switch": f"no branch is the current one: each command names it, as repo@branch; {_GET}",
    "undo": "`versioned revert` makes a commit that reverts another, `versioned reset` moves a branch back",
    "upload": _PUT,
}
"""The advice for each word, which takes the place of names that are merely spelled alike."""

_MISSPELT: Final = 0.75
"""How much a word is like a command, from 0 to 1, to be taken for that command and not for a ref."""

# Typer has click inside from 0.29 on and beside it before; this is the class of all errors of usage in either.
UsageError: Any = typer.BadParameter.__base__


class Commands(TyperGroup):
    """A group of commands that knows what else people call them, and takes global options before or after them."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 (click's classes, or typer's own)
        """Parse *args*, in which global options may stand before the command."""
        return super().parse_args(ctx, behind_the_command(args))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 (as above)
        """Return the command of this name, which takes the options about output wherever they stand."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and not hasattr(command, "commands"):
            take_output_options(command)
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 (click's classes, or typer's own)
        """Return the command that the first of *args* names; raise a usage error with advice if there is none."""
        try:
            return super().resolve_command(ctx, args)
        except UsageError as error:
            if (advice := self._advice(args[0])) is not None:
                error.message = f"No such command {args[0]!r}: {advice}"
            raise

    def _advice(self, word: str) -> str | None:
        nearest = difflib.get_close_matches(word, [*self.commands, *WORDS], n=1)
        return WORDS.get(nearest[0]) if nearest else None


class CommandsOnRefs(Commands):
    """A group of commands, such as ``lineage``, whose users may leave the command out and write its ref."""

    usual: ClassVar[Mapping[str, str]] = {
        "branch": "list {repo}",
        "lineage": "upstream {ref}",
        "repo": "show {repo}",
        "tag": "list {repo}",
    }
    """The command that is meant by a ref, for each group."""
    named: ClassVar[Mapping[str, str]] = {"branch": "create {ref} --at {repo}@" + DEFAULT_BRANCH}
    """The command that is meant by a ref that has an ``@``."""

    def _advice(self, word: str) -> str | None:
        if difflib.get_close_matches(word, self.commands, cutoff=_MISSPELT):
            return None
        if self.name == "lineage" and is_id(word):
            return f"did you mean `versioned lineage show {word}`?"
        try:
            repo = parse_ref(word).repo
        except RefSyntaxError:
            return None
        name = str(self.name)
        usual = self.named.get(name, self.usual[name]) if "@" in word else self.usual[name]
        return f"did you mean `versioned {name} {usual.format(ref=word, repo=repo)}`?"
