"""Push: a store that was given Airflow's address posts the events of its commits itself, right after each commit.

The run of a consumer then begins within a second. The relay announces events that were not posted in time. This module
imports no Airflow, so that a process without it can push, too.
"""

import http.client
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, quote, urlsplit

from airflow_versioned.uris import DEFAULT_CONNECTION, AssetAddress

if TYPE_CHECKING:
    from versioned_io import Announcement, Commit, Relay, Store, Subscription

MAX_PUSHED_KEYS: Final = 100
"""More would not be posted in time. The relay announces the rest."""
PUSH_TIMEOUT_S: Final = 2.0
_LEASE_S: Final = 10.0
_REDELIVER_AFTER_S: Final = 300.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PushEndpoint:
    """The address of Airflow's API server, and the token that posts to it carry; the token is never shown.

    Attributes:
        url: Such as ``https://airflow.example.org``; a path before ``/api/v2`` is kept.
        token: As Airflow's ``POST /auth/token`` returns it; its user may create asset events.
    """

    url: str
    token: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _is_endpoint(self.url):
            msg = (
                "the URL of a push is http:// or https:// with a host, in ASCII characters, and without a user or a "
                "password"
            )
            raise ValueError(msg)
        if not self.token or not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            msg = "the token of a push must be printable ASCII characters without spaces"
            raise ValueError(msg)  # without the token

    @property
    def parts(self) -> SplitResult:
        """The URL, split."""
        return urlsplit(self.url.rstrip("/"))


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0  # reading a malformed port raises
    except ValueError:
        return False
    is_text = url.isascii() and url.isprintable() and " " not in url
    return (
        has_port and is_text and parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
    )


class PushError(Exception):
    """Airflow did not take an event; the text has no secret."""


class AirflowClient:
    """Posts asset events to Airflow's API by one connection, without following redirects, until a deadline."""

    def __init__(self, endpoint: PushEndpoint, deadline: float) -> None:
        self._endpoint = endpoint
        self._deadline = deadline
        self._connection: http.client.HTTPConnection | None = None

    @property
    def left_s(self) -> float:
        """The seconds until the deadline; 0 after it."""
        return max(0.0, self._deadline - time.monotonic())

    def find_asset(self, uris: Sequence[str]) -> int | None:
        """Return the ID of the asset that has one of *uris*; None if Airflow knows none.

        Raises:
            PushError: Airflow does not answer, or refuses.
        """
        pattern = quote(uris[0].partition("?")[0], safe="")
        found = self._request("GET", f"/api/v2/assets?limit=100&only_active=true&uri_pattern={pattern}")
        try:
            ids = {str(asset["uri"]): int(asset["id"]) for asset in found["assets"]}
        except (KeyError, TypeError, ValueError):
            msg = "the answer is not a list of assets"
            raise PushError(msg) from None
        return next((ids[uri] for uri in uris if uri in ids), None)

    def post_event(self, asset_id: int, key: str, extra: dict[str, Any]) -> None:
        """Post one event with a partition key.

        Raises:
            PushError: Airflow does not answer, or refuses.
        """
        body = {"asset_id": asset_id, "partition_key": key, "extra": extra}
        self._request("POST", "/api/v2/assets/events", body)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        left = self.left_s
        if not left:
            msg = f"{PUSH_TIMEOUT_S:.0f} s are over"
            raise PushError(msg)
        parts = self._endpoint.parts
        if self._connection is None:
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            self._connection = kind(parts.hostname or "", parts.port, timeout=left)
        headers = {"Authorization": f"Bearer {self._endpoint.token}", "Accept": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            self._connection.request(method, parts.path + path, content, headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a host that is not a name
            self.close()
            msg = f"{type(error).__name__}: {getattr(error, 'strerror', None) or 'no answer'}"
            raise PushError(msg) from None
        if not 200 <= answer.status < 300:
            msg = f"status {answer.status}"
            raise PushError(msg)
        try:
            found = json.loads(text)
        except ValueError:
            msg = "the answer is not JSON"
            raise PushError(msg) from None
        return found if isinstance(found, dict) else {}


class Push:
    """The hook that posts events after each transaction of a store; `push_events` registers it.

    Args:
        is_announced: Returns whether the branch of a commit is announced in another way, such as by the outlets of the
            running task.
    """

    def __init__(
        self,
        store: "Store",
        endpoint: PushEndpoint,
        deployment: str,
        is_announced: "Callable[[Commit, str | None], bool]",
    ) -> None:
        self._store = store
        self._endpoint = endpoint
        self._deployment = deployment
        self._is_announced = is_announced
        self._assets: dict[str, int] = {}

    def __call__(self, commits: "Iterable[Commit]") -> None:
        """Post the events of *commits*, within 2 s; what fails is one warning, and left to the relay."""
        deadline = time.monotonic() + PUSH_TIMEOUT_S
        problems: list[str] = []
        for commit in commits:
            for subscription in self._relays_of(commit):
                try:
                    self._push(commit, subscription, deadline)
                except PushError as error:
                    problems.append(f"{commit.repo}@{commit.branch} ({error})")
        if problems:
            host = self._endpoint.parts.netloc
            _log.warning("not every event was pushed to %s: %s; the relay announces it", host, ", ".join(problems))

    def _relays_of(self, commit: "Commit") -> "list[Subscription]":
        """Return the relays of this deployment on the branch of *commit*, as their own subscriptions."""
        prefix = f"{self._deployment}/"
        return [
            one
            for one in self._store.subscriptions(f"{commit.repo}@{commit.branch}")
            if one.relay is not None and (one.relay == self._deployment or one.relay.startswith(prefix))
            if one.consumer is None and one.partitions is not None
            if not self._is_announced(commit, one.partitions)
        ]

    def _push(self, commit: "Commit", own: "Subscription", deadline: float) -> None:
        store, branch = self._store, f"{commit.repo}@{commit.branch}"
        before = None if commit.parent is None else f"{commit.repo}@{commit.parent}"
        touched = store.affected(before, f"{commit.repo}@{commit.id}", own.partitions or "", key=own.key)
        keys = touched[:MAX_PUSHED_KEYS]
        if not keys:
            return
        relay = store.relay(own.relay or "", branch, partitions=own.partitions, key=own.key)
        owner = f"push {uuid.uuid4().hex}"
        announcement = relay.announce(commit, keys, owner=owner, lease_s=_LEASE_S)
        if announcement is None:
            return
        # Keys whose last file was deleted are not due, and others may be in the hands of the relay.
        due = {one.key for one in own.unannounced(redeliver_after_s=None, but=owner)}
        keys = [key for key in keys if key in due]
        if not keys:
            relay.withdraw(announcement)
            return
        client = AirflowClient(self._endpoint, deadline)
        posting = _Posting(client, self._uris(commit, own), commit, keys, self._assets)
        sent = posting.run()
        self._settle(relay, announcement, sent)
        if posting.problem is not None and len(sent) < len(keys):
            raise PushError(posting.problem)

    def _settle(self, relay: "Relay", announcement: "Announcement", sent: Sequence[str]) -> None:
        """Note what was sent, and return the rest to the relay."""
        if sent:
            done = tuple(replace(one, keys=tuple(sent)) for one in announcement.commits)
            relay.confirm(replace(announcement, commits=done), redeliver_after_s=_REDELIVER_AFTER_S)
        relay.withdraw(announcement)

    def _uris(self, commit: "Commit", own: "Subscription") -> list[str]:
        """Return the URIs that the branch's asset may have: of a connection, or of the store's own URL."""
        _, _, named = (own.relay or "").partition("/")
        address = AssetAddress(
            commit.repo, commit.branch, named or DEFAULT_CONNECTION, own.partitions, own.key, store=None
        )
        path = self._store.url.removeprefix("file://")
        return [address.uri, *(replace(address, store=url).uri for url in dict.fromkeys([path, self._store.url]))]


class _Posting:
    """The posts of one commit's events, in a thread of their own, so that a slow server can't hold the commit."""

    def __init__(
        self,
        client: AirflowClient,
        uris: Sequence[str],
        commit: "Commit",
        keys: Sequence[str],
        assets: dict[str, int],
    ) -> None:
        self._client = client
        self._uris = uris
        self._keys = keys
        self._assets = assets
        self._sent: list[str] = []
        self._is_over = threading.Event()
        self._extra = {
            "repo": commit.repo,
            "branch": commit.branch,
            "commit": commit.id,
            "lineage_id": commit.lineage_id,
            "number": commit.number,
        }
        self.problem: str | None = None

    def run(self) -> list[str]:
        """Return the keys whose events Airflow has; *problem* says why others are missing, if there is a reason."""
        thread = threading.Thread(target=self._post, name="versioned-push", daemon=True)
        thread.start()
        thread.join(self._client.left_s)
        self._is_over.set()
        if thread.is_alive():
            self.problem = f"no answer within {PUSH_TIMEOUT_S:.0f} s"
        return [*self._sent]

    def _post(self) -> None:
        try:
            asset_id = self._assets.get(self._uris[0]) or self._client.find_asset(self._uris)
            if asset_id is None:
                return  # no DAG of this Airflow declares it
            self._assets[self._uris[0]] = asset_id
            for key in self._keys:
                if self._is_over.is_set():
                    return
                self._client.post_event(asset_id, key, self._extra)
                self._sent.append(key)
        except PushError as error:
            self._assets.pop(self._uris[0], None)
            self.problem = str(error)
        finally:
            self._client.close()


def push_events(store: "Store", endpoint: str, *, token: str, deployment: str = "airflow") -> None:
    """Post the events of every commit that *store* makes from now on to an Airflow, right after the commit.

    The runs of consumers begin about a second later. A post takes at most 2 s of the commit's time. If it fails, that
    is one warning: the commit stands, and the relay announces it. Only branches with a relay are pushed.

    >>> from airflow_versioned import push_events
    >>> push_events(store, "https://airflow.example.org", token="a-token")

    Args:
        endpoint: The URL of Airflow's API server.
        token: A token of Airflow's API, for a user who may create asset events. It is never logged.
        deployment: The deployment that the connection of that Airflow names.

    Raises:
        ValueError: *endpoint* is not an HTTP URL, or *token* has other characters than a token has.

    Cost: none; then for each commit to a branch with a relay, one diff, and as `Relay.announce` and `Relay.confirm`.
        Also 1 request to Airflow for each touched key, at most 100.
    """
    store.after_commit(Push(store, PushEndpoint(endpoint, token), deployment, lambda commit, template: False))  # noqa: ARG005
