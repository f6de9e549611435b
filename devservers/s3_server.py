"""A throw-away S3 server on loopback, a process of its own: moto's, which keeps everything in memory."""

import secrets
import sys
import urllib.request
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from devservers.process import ServerProcess, find_free_port, inherited_environment, wait_until

START_TIMEOUT_S = 60.0


class S3Server:
    """Speaks S3 on 127.0.0.1; gone, with all that it held, when stopped.

    Any credentials are accepted. Create-if-absent is atomic here; ``If-Match`` is not, and nothing may depend on it.

    Args:
        logs: The directory for ``s3.log``; kept.
    """

    def __init__(self, logs: Path) -> None:
        self.port = find_free_port()
        self._log = logs / "s3.log"
        self._process: ServerProcess | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> dict[str, str]:
        """The storage options that a store in a bucket of this server is opened with."""
        return {
            "endpoint": self.url,
            "allow_http": "true",
            "access_key_id": "test",
            "secret_access_key": secrets.token_urlsafe(16),
            "region": "us-east-1",
        }

    def start(self) -> Self:
        """Start the server; return when it answers (about 2 s)."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = ServerProcess("s3", command, env=inherited_environment(), log=self._log).start()
        wait_until(self._answers, what="the S3 server to answer", timeout_s=START_TIMEOUT_S, processes=[self._process])
        return self

    def stop(self) -> None:
        """End the server."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def create_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = f"bucket-{uuid.uuid4().hex}"
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT")
        with urllib.request.urlopen(request, timeout=30):
            return name

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5):
                return True
        except OSError:
            return False
