"""A throw-away S3 server on loopback, a process of its own: moto's, which keeps everything in memory."""

import secrets
import sys
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path

from devservers.one_process import OneProcessServer


class S3Server(OneProcessServer):
    """Speaks S3 on 127.0.0.1; when it stops, all its data is gone.

    Any credentials are accepted. Create-if-absent is atomic here; ``If-Match`` is not, and nothing may depend on it.

    Args:
        logs: The directory for ``s3.log``; kept.
    """

    def __init__(self, logs: Path) -> None:
        super().__init__("s3", logs)

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> dict[str, str]:
        """The storage options with which to open a store in a bucket of this server."""
        return {
            "endpoint": self.url,
            "allow_http": "true",
            "access_key_id": "test",
            "secret_access_key": secrets.token_urlsafe(16),
            "region": "us-east-1",
        }

    def create_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = f"bucket-{uuid.uuid4().hex}"
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT")
        with urllib.request.urlopen(request, timeout=30):
            return name

    def _command(self) -> Sequence[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5):
                return True
        except OSError:
            return False
