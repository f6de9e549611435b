"""Error answers of object servers: the status, the error code, and what to do about them.

No message repeats the rest of an answer, which may hold credentials, signatures or the whole request.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

_STATUS: Final = re.compile(r"status code: (\d{3})\b")
_CODE: Final = re.compile(r"<Code>([A-Za-z][A-Za-z0-9._-]{1,63})</Code>")
_DETAILS: Final = "\n\nDebug source"
_REDIRECTED: Final = "redirect without LOCATION"
_LONGEST: Final = 500

_NEW_CREDENTIALS: Final = "the temporary credentials have expired: get new ones"
_WRONG_KEY: Final = "its server does not know the access key: check access_key_id, the profile or the environment"
_NOT_ALLOWED: Final = (
    "its server refuses the credentials: allow them to list the bucket and to get, put and delete objects"
)
_NO_BUCKET: Final = "there is no bucket of this name: create it, or check the URL"
_TOO_MANY: Final = "too many requests: try again later, with fewer writers at once"
_OTHER_REGION: Final = "the bucket is in another region: pass the storage option region, or endpoint"
_AGAIN: Final = "its server failed: try again"

ADVICE: Final = {
    "ExpiredToken": _NEW_CREDENTIALS,
    "ExpiredTokenException": _NEW_CREDENTIALS,
    "TokenRefreshRequired": _NEW_CREDENTIALS,
    "InvalidToken": "the session token is not valid: get new temporary credentials, or leave session_token out",
    "InvalidAccessKeyId": _WRONG_KEY,
    "InvalidClientTokenId": _WRONG_KEY,
    "SignatureDoesNotMatch": "the secret access key does not fit the access key: check secret_access_key",
    "AuthenticationFailed": "its server refuses the credentials: check the account's key or the signature's expiry",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it",
    "RequestExpired": "the clock of this machine is wrong: set it",
    "AccessDenied": _NOT_ALLOWED,
    "AllAccessDisabled": _NOT_ALLOWED,
    "AccountProblem": _NOT_ALLOWED,
    "AuthorizationFailure": _NOT_ALLOWED,
    "NoSuchBucket": _NO_BUCKET,
    "ContainerNotFound": _NO_BUCKET,
    "SlowDown": _TOO_MANY,
    "SlowDownRead": _TOO_MANY,
    "SlowDownWrite": _TOO_MANY,
    "ServerBusy": _TOO_MANY,
    "TooManyRequests": _TOO_MANY,
    "RequestLimitExceeded": _TOO_MANY,
    "PermanentRedirect": _OTHER_REGION,
    "TemporaryRedirect": _OTHER_REGION,
    "AuthorizationHeaderMalformed": _OTHER_REGION,
    "ServiceUnavailable": _AGAIN,
    "InternalError": _AGAIN,
    "RequestTimeout": "the connection stalled: try again",
    "BadDigest": "the data was changed in transit: try again",
    "ConditionalRequestConflict": "another request for the same key is under way: try again",
    "OperationAborted": "another operation on the bucket is under way: try again",
    "NotImplemented": "its server has no conditional writes (If-None-Match), which a store needs",
    "QuotaExceeded": "the bucket is full: free some space or raise its quota",
    "XMinioStorageFull": "its server is full: free some space",
}
"""The cause and the remedy, by error code of S3, or of Azure where that differs."""

UNDER_WAY: Final = frozenset({"ConditionalRequestConflict", "OperationAborted"})
"""Error codes for another request in progress on the key, so that it is unknown whether the key is taken."""

_PASSING_CODES: Final = UNDER_WAY | {"RequestTimeout", "BadDigest", "SlowDown", "InternalError"}
_PASSING_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's error answer; without a status if the connection failed before an answer."""

    status: int | None
    code: str | None

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed when it is retried."""
        return self.status is None or self.status in _PASSING_STATUSES or self.code in _PASSING_CODES


def parse_answer(error: Exception) -> Answer:
    """Return the server's answer from an error of the client."""
    said = str(error).partition(_DETAILS)[0]
    if _REDIRECTED in said:
        return Answer(HTTPStatus.MOVED_PERMANENTLY, "PermanentRedirect")
    status, code = _STATUS.search(said), _CODE.search(said)
    return Answer(None if status is None else int(status[1]), None if code is None else code[1])


def describe(error: Exception) -> str:
    """Return why a request failed, without anything that may be secret."""
    answer = parse_answer(error)
    if answer.status is None:
        return first_line(error)
    named = f"{answer.status} {answer.code or _phrase(answer.status)}"
    if answer.code in ADVICE:
        return f"{named}: {ADVICE[answer.code]}"
    if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return f"{named}: {_NOT_ALLOWED}"
    return f"{named}: {_TOO_MANY}" if answer.status == HTTPStatus.TOO_MANY_REQUESTS else f"its server answers {named}"


def is_about_credentials(error: Exception) -> bool:
    """Return whether the server refused the credentials, not the request itself."""
    return parse_answer(error).status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


def first_line(error: Exception) -> str:
    """Return the first line of a client's error; the later lines repeat the request, which may hold a signature."""
    return str(error).partition("\n")[0].partition("?")[0][:_LONGEST]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "error"
