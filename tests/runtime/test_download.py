import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from nanolit.runtime.download import fetch

CONTENT = b"to be or not to be\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(HTTPServer):
    """Answers each request by the next behaviour of `script`; the last one stays."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[str] = []
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/input.txt"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        behaviour = self.server.script[min(self.server.requests, len(self.server.script) - 1)]
        self.server.requests += 1
        if behaviour.isdecimal():
            self.send_error(int(behaviour))
            return
        body = {"good": CONTENT, "truncated": CONTENT[:5000], "wrong": b"x" * len(CONTENT)}[behaviour]
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("script", [["good"], ["500", "good"], ["truncated", "truncated", "good"], ["wrong", "good"]])
def test_a_file_arrives_whole_after_failures(server: Server, tmp_path: Path, script: list[str]) -> None:
    server.script = script
    path = fetch(server.url, tmp_path / "new" / "input.txt", SHA256, backoff_s=0)
    assert path.read_bytes() == CONTENT and server.requests == len(script)
    assert [p.name for p in path.parent.iterdir()] == ["input.txt"]
    assert fetch(server.url, path, SHA256) == path and server.requests == len(script)  # what is there is not asked for


@pytest.mark.parametrize(
    ("behaviour", "requests", "said"),
    [
        ("truncated", 3, "5000 of 19000 bytes"),
        ("wrong", 3, "sha256 is"),
        ("503", 3, "HTTP 503"),
        ("404", 1, "HTTP 404"),
    ],
)
def test_a_failure_names_url_file_and_override(
    server: Server, tmp_path: Path, behaviour: str, requests: int, said: str
) -> None:
    server.script = [behaviour]
    with pytest.raises(ValueError) as caught:
        fetch(server.url, tmp_path / "input.txt", SHA256, attempts=3, remedy="data.source=PATH", backoff_s=0)
    assert all(
        part in str(caught.value) for part in (server.url, str(tmp_path / "input.txt"), "data.source=PATH", said)
    )
    assert server.requests == requests and not list(tmp_path.iterdir())


def test_without_network_the_error_is_the_same_kind(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        with pytest.raises(ValueError, match=r"cannot download .*; place the file at .* or give data\.source=PATH"):
            fetch(url, tmp_path / "x", attempts=2, remedy="data.source=PATH", backoff_s=0)


def test_a_file_that_the_user_placed_is_checked_and_kept(server: Server, tmp_path: Path) -> None:
    server.script = ["good"]
    (tmp_path / "input.txt").write_text("something else")
    with pytest.raises(ValueError, match="delete it to download it again"):
        fetch(server.url, tmp_path / "input.txt", SHA256)
    assert (tmp_path / "input.txt").read_text() == "something else" and server.requests == 0
