"""An answerer that speaks from a script, for conversations without a model; and the real server over such workers."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from nanolit.inference.answer import Full, Piece, TextRequest, TokenInfo
from nanolit.inference.params import SamplingParams
from nanolit.inference.worker import WorkerStats
from nanolit.serve.dialogue import Dialogue
from nanolit.tokenizers.bpe import SPLIT_PATTERN, BPETokenizer
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS

BYTES = BPETokenizer(
    {bytes([byte]): byte for byte in range(256)}, {name: 256 + i for i, name in enumerate(CHAT_SPECIALS)}, SPLIT_PATTERN
)


def _said(*parts: str, finish: str | None = "stop") -> list[Piece]:
    """Pieces of text, and of python where they begin with !, of its output where with =."""
    kinds = {"!": "python", "=": "python_output"}
    pieces = [Piece(0, kinds.get(part[:1], "text"), part.lstrip("!="), ()) for part in parts]
    return [*pieces, Piece(0, "text", "", (), finish, len(parts) + 1, 7)] if finish else pieces


@dataclass
class Script:
    """Says what stands in `answers`, one after the other; knows what was asked, and what was closed early."""

    answers: list[list[Piece]]
    block_size: int = 1000
    tokenizer: BPETokenizer = BYTES
    asked: list[TextRequest] = field(default_factory=list)
    n_cancelled: int = 0

    def stream(self, request):
        self.asked.append(request)
        is_whole = False
        try:
            yield from self.answers.pop(0)
            is_whole = True
        finally:
            self.n_cancelled += not is_whole


@pytest.fixture(scope="session")
def bytewise() -> BPETokenizer:
    """Every byte is a token; chat tokens after them."""
    return BYTES


@pytest.fixture
def said() -> Callable[..., list[Piece]]:
    return _said


@pytest.fixture
def scripted() -> Callable[..., Dialogue]:
    """A conversation in which the answers are those given, one after the other."""

    def make(*answers: list[Piece], system: str | None = None, block_size: int = 1000, **params) -> Dialogue:
        return Dialogue(Script(list(answers), block_size), SamplingParams(**params), system)

    return make


# The server


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until, f"waited for {what}"
        time.sleep(0.005)


@dataclass
class ScriptedWorker:
    """Says `text` to everybody, a character at a time; `said` instead, if there is something. Before the character at
    which it holds it waits for `go`, or to be cancelled."""

    text: str = "Grüße!"
    said: list[Piece] | None = None
    holds_at: int | None = None
    full_for_s: int | None = None
    finish: str = "stop"
    block_size: int = 1000
    tokenizer: Any = BYTES
    name: str = "script"
    is_alive: bool = True
    asked: list[TextRequest] = field(default_factory=list)
    n_cancelled: int = 0  # answers that had not ended
    n_ended: int = 0
    go: threading.Event = field(default_factory=threading.Event)

    def submit(self, request: TextRequest, deliver: Callable[[list[Piece]], None]) -> "Writing":
        if self.full_for_s is not None:
            raise Full(3, self.full_for_s)
        self.asked.append(request)
        return Writing(self, request, deliver)

    def stats(self) -> WorkerStats:
        n = len(self.asked) - self.n_cancelled - self.n_ended
        return WorkerStats(slots=4, running=n, generated_tokens=5, prompt_tokens=7, requests_finished={"stop": 1})

    def prompt(self, i: int = -1) -> str:
        return self.tokenizer.decode(self.asked[i].prompt)


class Writing:
    """An answer, or n, on the way in a thread of its own."""

    def __init__(self, worker: ScriptedWorker, request: TextRequest, deliver: Callable[[list[Piece]], None]) -> None:
        self.worker, self.request, self.deliver = worker, request, deliver
        self.is_cancelled = threading.Event()
        threading.Thread(target=self.write, daemon=True).start()

    def cancel(self) -> None:
        self.is_cancelled.set()

    def write(self) -> None:
        worker, finish = self.worker, self.worker.finish
        for i, piece in enumerate(
            worker.said or [Piece(0, "text", letter, self.tokens(letter)) for letter in worker.text]
        ):
            if i == worker.holds_at:
                while not worker.go.wait(0.005) and not self.is_cancelled.is_set():
                    pass
            if self.is_cancelled.is_set():
                finish = "cancelled"
                worker.n_cancelled += 1
                break
            self.deliver([piece._replace(index=index) for index in range(self.request.n)])
        worker.n_ended += finish != "cancelled"
        n = len(worker.text.encode()) + 1
        self.deliver([Piece(index, "text", "", (), finish, n, 2) for index in range(self.request.n)])

    def tokens(self, letter: str) -> tuple[TokenInfo, ...]:
        """One for each byte."""
        k = self.request.logprobs
        if k is None:
            return tuple(TokenInfo(byte, bytes([byte])) for byte in letter.encode())
        top = tuple((97 + i, -0.5 - i) for i in range(k))
        return tuple(TokenInfo(byte, bytes([byte]), -0.5, -0.25, top) for byte in letter.encode())


@dataclass
class Told:
    """What a server said."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        assert set(self.json) == {"error"} and set(self.json["error"]) == {"message", "type", "param", "code"}
        return self.json["error"]

    @property
    def events(self) -> list[Any]:
        lines = [line.removeprefix("data: ") for line in self.body.decode().split("\n\n") if line]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


class Running:
    """The real server, in a thread."""

    def __init__(self, served: Sequence[Any], settings: dict[str, Any]) -> None:
        from nanolit.serve.run import Server, bind, url
        from nanolit.serve.served import Models
        from nanolit.serve.settings import ServerSettings

        found = ServerSettings(port=0, **settings)
        listener = bind(found)
        self.url, self.port = url(listener), listener.getsockname()[1]
        self.server = Server(Models(served), found, listener)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        wait_until(lambda: self.server.started, "the server's start")

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive(), "the server did not stop"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def begin(self, path: str, body: Any, **headers: str) -> http.client.HTTPConnection:
        """A request whose answer is not read yet."""
        connection = self.connect()
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, sent, {"Content-Type": "application/json", **headers})
        return connection

    def post(self, path: str, body: Any, **headers: str) -> Told:
        return self._told(self.begin(path, body, **headers))

    def chat(self, *messages: Any, **more: Any) -> Told:
        said = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
        return self.post("/v1/chat/completions", {"messages": said, **more})

    def get(self, path: str, method: str = "GET", **headers: str) -> Told:
        connection = self.connect()
        connection.request(method, path, headers=headers)
        return self._told(connection)

    def _told(self, connection: http.client.HTTPConnection) -> Told:
        response = connection.getresponse()
        told = Told(response.status, response.headers, response.read())
        connection.close()
        return told

    def openai(self, **options: Any) -> Any:
        openai = pytest.importorskip("openai", reason="needs openai: pip install -e '.[dev]'")
        return openai.OpenAI(**{"base_url": f"{self.url}/v1", "api_key": "none", "max_retries": 0, **options})


@pytest.fixture
def worker() -> ScriptedWorker:
    return ScriptedWorker()


@pytest.fixture
def wait() -> Callable[..., None]:
    return wait_until


@pytest.fixture(scope="session")
def served() -> Callable[..., Any]:
    """A model of that name over workers; without any, over one that speaks from a script."""

    def make(name: str, *workers: Any, **script: Any) -> Any:
        pytest.importorskip("uvicorn", reason="needs the extra: pip install -e '.[serve]'")
        from nanolit.serve.served import Served

        return Served(name, list(workers) or [ScriptedWorker(**script)])

    return make


@pytest.fixture(scope="module")
def serving() -> Iterator[Callable[..., Running]]:
    """Starts servers, which end with the module: what they serve, and settings."""
    pytest.importorskip("uvicorn", reason="needs the extra: pip install -e '.[serve]'")
    running: list[Running] = []

    def start(*served: Any, **settings: Any) -> Running:
        running.append(Running(served, settings))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def server(serving, served, worker) -> Running:
    """One model, "village", of one worker."""
    return serving(served("village", worker))
