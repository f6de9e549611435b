"""Withholding of values that look like secrets from permanent records.

A commit record can't be changed, and every reader of the store can read it. A value is withheld because of its name, at
any depth, or because it looks like a password in a text. No list of names is complete; `versioned redact` rewrites the
secrets that it missed.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar, cast

WITHHELD: Final = "(withheld)"
"""The text in place of a secret."""

_T = TypeVar("_T")
_STEMS: Final = (
    *("password", "passwd", "passphrase", "passcode", "secret", "credential", "connectionstring", "connstr"),
    *("passwort", "kennwort", "motdepasse", "contrasena"),
    *("apikey", "accesskey", "privatekey", "sharedkey", "accountkey", "encryptionkey", "signingkey", "masterkey"),
    *("sshkey", "deploykey", "hostkey", "licensekey"),
    *(
        "authtoken",
        "accesstoken",
        "refreshtoken",
        "sessiontoken",
        "bearertoken",
        "idtoken",
        "sastoken",
        "authorization",
    ),
)
"""Parts of names, without separators between words, that only names of secrets have."""

_WORDS: Final = frozenset(
    {
        *("pwd", "pw", "pass", "psk", "token", "tokens", "auth", "creds", "dsn", "sas", "sig", "signature", "jwt"),
        *("bearer", "cookie", "otp"),
    }
)
"""Words in names of secrets, if the value is a text: ``max_tokens=4096`` is not a secret."""

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# A database's URL may have an unescaped slash in its password. A port and a path are not a password.
_USERINFO: Final = re.compile(
    r"(?<![a-zA-Z0-9+.-])([a-zA-Z][a-zA-Z0-9+.-]*+://)"
    r"([^\s/?#]{0,2000}|(?<!http://)(?<!https://)[^\s/?#:@]{0,500}:(?![0-9]*/)[^\s@]{0,500})@"
)
_NAME: Final = re.compile(r"""(?<![\w.-])([\w.-]++)\\*["']?\s*[=:]>?\s*(?!//)""")
_FLAG: Final = re.compile(r"(?<![\w-])--?([a-zA-Z][\w.-]*)\s+(?!-)")
# A quoted value, also with escaped quotes; or a value in brackets; or a word.
_VALUE: Final = re.compile(
    r"""(?P<quote>\\+["']).*?(?:(?P=quote)|\Z)"""
    r"""|"(?:\\.|[^"\\])*(?:"|\Z)|'(?:\\.|[^'\\])*(?:'|\Z)"""
    r"""|[\[{(][^\]})]*[\]})]?|[^\s&;,"']+""",
    re.DOTALL,
)
_USER: Final = re.compile(r"((?<![\w-])(?:-u|--user)[\s=]+[^\s:]+:)(?!//)\S+")
# Some services begin their tokens with a prefix of their own, so that leaked ones are found.
_TOKEN: Final = re.compile(
    r"\b(?:gh[opsu]_|github_pat_|glpat-|xox[abeoprs]-|sk-|hf_|npm_|pypi-|AIza|dapi)[\w-]{20,}"
    r"|\beyJ[\w-]{10,400}\.eyJ[\w-]{10,2000}\.[\w-]+|(?<=hooks\.slack\.com/services/)[\w/]+"
)
_SCHEME: Final = re.compile(r"\b(bearer|basic)(\s+)[\w+/.~=-]{8,}", re.IGNORECASE)
_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def is_secret_name(name: str, *, of_text: bool = True) -> bool:
    """Return whether *name* looks like the name of a secret, however its words are joined.

    Args:
        of_text: Whether the value is a text, or several values, and not a single number.
    """
    joined = re.sub(r"[^a-z0-9]", "", name.lower())
    if any(stem in joined for stem in _STEMS):
        return True
    return of_text and not _WORDS.isdisjoint(word.lower() for word in _WORD.findall(name))


def withhold(value: _T) -> _T:
    """Return a JSON value without the parts that look like secrets; the rest is unchanged.

    Values with secret names are withheld (`is_secret_name`), also in ``{"name": …, "value": …}`` and for flags in lists
    of arguments. So are passwords in texts (`withhold_in_text`). The source of a value, such as ``{"env": "NAME"}`` in
    the config of Dagster, is not a secret.
    """
    if isinstance(value, str):
        return cast("_T", withhold_in_text(value))
    if isinstance(value, Mapping):
        return cast("_T", _withhold_in_mapping(value))
    if _is_pairs(value):
        return cast(
            "_T", [[name, _withheld_if_secret(name, one)] for name, one in cast("Sequence[Sequence[str]]", value)]
        )
    if isinstance(value, Sequence):
        return cast("_T", [_withhold_named(before, one) for before, one in zip([None, *value], value, strict=False)])
    return value


def withhold_in_text(text: str) -> str:
    """Return *text* without passwords in URLs, values of secret names, keys and tokens."""
    if text.lstrip()[:1] in {"{", "["}:
        # In JSON a name and its value may be far from one another.
        with suppress(ValueError, RecursionError):
            found = json.loads(text)
            told = withhold(found)
            return text if told == found else json.dumps(told, ensure_ascii=False)
    text = _USERINFO.sub(_without_password, text)
    text = _KEY.sub(WITHHELD, _SCHEME.sub(rf"\1\2{WITHHELD}", text))
    text = _TOKEN.sub(WITHHELD, _USER.sub(rf"\1{WITHHELD}", text))
    return _without_assigned(_without_assigned(text, _NAME), _FLAG)


def _is_pairs(value: object) -> bool:
    """Return whether *value* is a list of names with values, such as headers: ``[["Authorization", "x"]]``."""
    return (
        isinstance(value, Sequence)
        and bool(value)
        and all(isinstance(one, Sequence) and not isinstance(one, str) for one in value)
        and all(len(one) == 2 and isinstance(one[0], str) for one in value)
    )


def _withhold_in_mapping(value: Mapping[str, object]) -> dict[str, object]:
    named = value.get("name", value.get("key"))
    is_named = isinstance(named, str) and "value" in value and is_secret_name(named)
    return {
        name: WITHHELD if is_named and name == "value" else _withheld_if_secret(name, one)
        for name, one in value.items()
    }


def _withhold_named(before: object, value: object) -> object:
    """Return an item of a list, which may be the value of a flag before it: ``["--password", "x"]``."""
    is_flag = isinstance(before, str) and before.startswith("-") and "=" not in before
    is_value = isinstance(value, str) and not value.startswith("-")
    return _withheld_if_secret(str(before), value) if is_flag and is_value else withhold(value)


def _withheld_if_secret(name: str, value: object) -> object:
    if value is None or isinstance(value, bool) or value in ("", [], {}):
        return value
    if isinstance(value, Mapping) and set(value) == {"env"} and isinstance(value["env"], str):
        return dict(value)
    of_text = not isinstance(value, int | float)
    return WITHHELD if is_secret_name(name, of_text=of_text) else withhold(value)


def _without_password(found: re.Match[str]) -> str:
    scheme, userinfo = found[1], found[2]
    user, colon, _ = userinfo.partition(":")
    if colon:
        return f"{scheme}{user}:{WITHHELD}@"
    # In the URL of a web page, the user part is often a token.
    return f"{scheme}{WITHHELD}@" if scheme.lower().startswith("http") and userinfo else found[0]


def _without_assigned(text: str, names: re.Pattern[str]) -> str:
    """Return *text* without values behind names of secrets: ``password=x``, ``"token": "x"``, ``--password x``."""
    parts: list[str] = []
    at = 0
    for name in names.finditer(text):
        may_be = name.start() >= at and is_secret_name(name[1])  # otherwise every value would be read to its end
        value = _VALUE.match(text, name.end()) if may_be else None
        if value is None or value[0].strip("\\\"'").startswith(WITHHELD):
            continue
        if is_secret_name(name[1], of_text=not value[0].strip("\\\"'").isdigit()):
            quote = value["quote"] or (value[0][0] if value[0][0] in "\"'" else "")
            parts += (text[at : name.end()], quote, WITHHELD, quote)
            at = value.end()
    return "".join(parts) + text[at:]
