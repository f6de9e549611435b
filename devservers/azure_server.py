"""A throw-away Azure blob server on loopback: Azurite, which Node.js runs; it keeps everything in memory."""

import base64
import hashlib
import hmac
import secrets
import shutil
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from devservers.one_process import OneProcessServer

ACCOUNT = "tests"
_INSTALLED = Path(__file__).parents[1] / "build" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
_VERSION = "2021-08-06"


def find_azurite() -> Path | None:
    """Return the program: where ``make azurite`` puts it, or on the path; None when it is not installed."""
    if _INSTALLED.exists():
        return _INSTALLED
    found = shutil.which("azurite-blob")
    return None if found is None else Path(found)


class AzureServer(OneProcessServer):
    """Speaks Azure's blob protocol on 127.0.0.1; when it stops, all its data is gone. The key is made up here.

    Args:
        program: As `find_azurite` returns it.
        logs: The directory for ``azurite.log``; kept.
    """

    def __init__(self, program: Path, logs: Path) -> None:
        super().__init__("azurite", logs)
        self._program = program
        self._key = base64.b64encode(secrets.token_bytes(64)).decode()

    @property
    def url(self) -> str:
        """The endpoint of the account."""
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    @property
    def options(self) -> dict[str, str]:
        """The storage options with which to open a store in a container of this server."""
        return {"endpoint": self.url, "allow_http": "true", "account_name": ACCOUNT, "account_key": self._key}

    def create_container(self) -> str:
        """Make an empty container and return its name."""
        name = f"container-{uuid.uuid4().hex}"
        date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers = {"x-ms-date": date, "x-ms-version": _VERSION}
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{self._signature(name, date)}"
        request = urllib.request.Request(f"{self.url}/{name}?restype=container", method="PUT", headers=headers)
        with urllib.request.urlopen(request, timeout=30):
            return name

    def _signature(self, container: str, date: str) -> str:
        """Sign the request that makes a container.

        Source: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
        """
        named = f"x-ms-date:{date}\nx-ms-version:{_VERSION}"
        text = "\n".join(["PUT", *[""] * 11, named, f"/{ACCOUNT}/{ACCOUNT}/{container}", "restype:container"])
        digest = hmac.new(base64.b64decode(self._key), text.encode(), hashlib.sha256)
        return base64.b64encode(digest.digest()).decode()

    def _command(self) -> Sequence[str]:
        options = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
        return [str(self._program), "--blobHost", "127.0.0.1", "--blobPort", str(self.port), *options]

    def _environment(self) -> Mapping[str, str]:
        return {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{self._key}"}

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}?comp=list", timeout=5):
                return True
        except urllib.error.HTTPError:
            return True  # it wants to know who asks
        except OSError:
            return False
