"""A real S3 server in a process of its own (nanio): it verifies signatures and the expiry of links, and keeps files."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import urllib3

from controller.settings import Settings
from tests.rig import free_port, is_listening, wait_for

BUCKET = "shoal-blobs"
ACCESS_KEY = "shoal-test"
SECRET_KEY = "a-secret-that-no-log-may-show"


@dataclass(frozen=True)
class ObjectStore:
    """A running store with one bucket.

    Attributes:
        folder: Of its objects.
    """

    endpoint: str
    folder: Path

    def settings(self, state: Path, *, prefix: str = "", **others: Any) -> Settings:
        """Give the settings of a controller that keeps its blobs here."""
        return Settings(
            state=state,
            blobs_url=f"s3://{BUCKET}/{prefix}",
            blobs_access_key_id=ACCESS_KEY,
            blobs_secret_access_key=SECRET_KEY,
            **{"blobs_endpoint": self.endpoint, **others},
        )

    def environment(self, prefix: str) -> dict[str, str]:
        """Give what a controller process is told to keep its blobs here."""
        return {
            "SHOAL_BLOBS_URL": f"s3://{BUCKET}/{prefix}",
            "SHOAL_BLOBS_ENDPOINT": self.endpoint,
            "SHOAL_BLOBS_ACCESS_KEY_ID": ACCESS_KEY,
            "SHOAL_BLOBS_SECRET_ACCESS_KEY": SECRET_KEY,
        }

    def unfinished(self) -> Path:
        """Give where it keeps the parts of uploads that are neither complete nor aborted."""
        return self.folder / ".nanio/multipart"


@contextmanager
def serve(folder: Path) -> Iterator[ObjectStore]:
    """Run one on a free port."""
    port = free_port()
    (folder / BUCKET).mkdir(parents=True)
    command = [sys.executable, "-m", "nanio", "serve", "--data-dir", str(folder), "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--no-access-log"],
        env={**os.environ, "NANIO_ACCESS_KEY": ACCESS_KEY, "NANIO_SECRET_KEY": SECRET_KEY},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: process.poll() is not None or is_listening(port))
        assert process.poll() is None, "the object store did not start"
        yield ObjectStore(f"http://127.0.0.1:{port}", folder)
    finally:
        process.terminate()
        process.wait()


class Between:
    """A relay before a store. It notes what it is shown by those who follow links, and can spoil what they get.

    Attributes:
        followed: The headers of each request of a link.
        status: What a link is answered, unless 0.
        most: After how many bytes the answer to a link breaks off.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.followed: list[dict[str, str]] = []
        self.status = 0
        self.most = sys.maxsize
        between = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_link = "X-Amz-Signature=" in self.path
                headers = dict(self.headers.items())  # the host among them: it is part of what is signed
                if is_link:
                    between.followed.append(headers)
                if is_link and between.status:
                    self.send_error(between.status)
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = urllib3.request(
                    self.command, store.endpoint + self.path, headers=headers, body=body, retries=False
                )
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(answer.data[: between.most if is_link else None])

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 (as the server calls them)

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Between":
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()
