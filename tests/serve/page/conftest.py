"""The web page in a real browser: headless Chromium against the real server, whose models speak from a script."""

import math
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nanolit.inference.answer import Full, Piece, TextRequest, TokenInfo
from nanolit.tokenizers.bpe import SPLIT_PATTERN, BPETokenizer
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS

PACE_S = 0.001  # between two words
ALTERNATIVES = [b" lived", b" slept", b" worked", b" sang", b" ran"]  # what every word might have been
LOGPROBS = [math.log(share) for share in (0.95, 0.4, 0.05, 0.7)]  # of the words of an answer, in turn
RANKS = {bytes([byte]): byte for byte in range(256)} | {word: 256 + i for i, word in enumerate(ALTERNATIVES)}
SPECIALS = {name: len(RANKS) + i for i, name in enumerate(CHAT_SPECIALS)}
Answer = list[tuple[str, str]]


class Stats:
    slots, waiting, running, generated_tokens, prompt_tokens, cached_tokens, steps = 1, 0, 0, 0, 0, 0, 0
    requests_finished: dict[str, int] = {}


class Writing:
    """One answer on its way, in a thread of its own."""

    def __init__(self, worker: "ScriptedWorker", request: TextRequest, deliver: Callable[[list[Piece]], None]) -> None:
        self.worker, self.request, self.deliver = worker, request, deliver
        self.is_cancelled, self.n_tokens = threading.Event(), 0
        self.thread = threading.Thread(target=self.write, daemon=True)

    def cancel(self) -> None:
        self.is_cancelled.set()

    def write(self) -> None:
        for kind, text in self.worker.answer_to(self.request):
            if kind in ("error", "length"):
                self.end(kind)
                return
            while kind == "pause" and not self.worker.pauses.acquire(timeout=0.01) and not self.is_cancelled.is_set():
                pass
            for word in re.findall(r"\s*\S+|\s+", text) or [""]:
                if self.is_cancelled.is_set():
                    self.worker.n_cancelled += 1
                    self.end("cancelled")
                    return
                if kind != "pause":
                    self.deliver([Piece(0, kind, word, self.tokens(word) if kind == "text" else ())])
                time.sleep(PACE_S)
        self.end("stop")

    def tokens(self, word: str) -> tuple[TokenInfo, ...]:
        if not word:
            return ()
        said, logprob = word.encode(), LOGPROBS[self.n_tokens % len(LOGPROBS)]
        self.n_tokens += 1
        if self.request.logprobs is None:
            return (TokenInfo(said[0], said),)
        n = self.request.logprobs
        top = tuple((RANKS[other], math.log(0.4 / (i + 1))) for i, other in enumerate(ALTERNATIVES[:n]))
        return (TokenInfo(RANKS.get(said, said[0]), said, logprob, logprob, top),)

    def end(self, finish: Any) -> None:
        self.deliver([Piece(0, "text", "", (), finish, self.n_tokens + 1, 0)])


class ScriptedWorker:
    """Says what stands in `answers` for what was said last, or repeats that. A part of the kind "pause" waits for
    go_on(), "error" breaks down, "length" ends early. An answer may also be asked to be `full_for_s`."""

    name, is_alive = "script", True

    def __init__(self, has_chat: bool, block_size: int) -> None:
        specials = SPECIALS if has_chat else {"<|bos|>": len(RANKS)}
        self.tokenizer, self.block_size = BPETokenizer(RANKS, specials, SPLIT_PATTERN), block_size
        self.answers: dict[str, Answer] = {}
        self.asked: list[TextRequest] = []
        self.full_for_s: int | None = None
        self.pauses, self.n_cancelled = threading.Semaphore(0), 0

    def submit(self, request: TextRequest, deliver: Callable[[list[Piece]], None]) -> Writing:
        if self.full_for_s is not None:
            raise Full(64, self.full_for_s)
        self.asked.append(request)
        writing = Writing(self, request, deliver)
        writing.thread.start()
        return writing

    def stats(self) -> Stats:
        return Stats()

    def go_on(self) -> None:
        self.pauses.release()

    def prompt(self, i: int) -> str:
        return self.tokenizer.decode(self.asked[i].prompt)

    def answer_to(self, request: TextRequest) -> Answer:
        prompt = list(request.prompt)
        if request.chat:
            begin = max(i for i, token in enumerate(prompt) if token == SPECIALS["<|user_start|>"]) + 1
            prompt = prompt[begin : prompt.index(SPECIALS["<|user_end|>"], begin)]
        said = self.tokenizer.decode(prompt).removeprefix("<|bos|>")
        said = next((known for known in self.answers if said == known or said.endswith(f"\n\n{known}")), said)
        return self.answers.get(said, [("text", f"You said: {said}")])

    def wait_for_cancel(self) -> None:
        wait_until(lambda: self.n_cancelled > 0, "the server did not learn that nobody reads on")


def wait_until(is_so: Callable[[], bool], fault: str) -> None:
    until = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < until, fault
        time.sleep(0.02)


class RunningServer:
    """The real one, in a thread, at the same port each time."""

    def __init__(self, workers: dict[str, ScriptedWorker], **settings: Any) -> None:
        self.workers, self._by_name = list(workers.values()), workers
        self._settings, self._port = settings, 0
        self.start()

    @property
    def worker(self) -> ScriptedWorker:
        return self.workers[0]

    def start(self) -> None:
        from nanolit.serve.run import Server, bind, url
        from nanolit.serve.served import Models, Served
        from nanolit.serve.settings import ServerSettings

        settings = ServerSettings(port=self._port, drain_s=0.2, **self._settings)
        listener = bind(settings)
        self._port, self.url = listener.getsockname()[1], url(listener)
        served = [Served(name, [worker]) for name, worker in self._by_name.items()]
        self.server = Server(Models(served), settings, listener)
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.005)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server did not stop"

    def break_connections(self) -> None:
        """As if a cable had been pulled: no last words."""
        for connection in list(self.server.server_state.connections):
            connection.loop.call_soon_threadsafe(connection.transport.abort)


@pytest.fixture
def page_server() -> Iterator[Callable[..., RunningServer]]:
    """Starts servers: names= of models, has_chat=, block_size=, and settings of the server."""
    running: list[RunningServer] = []

    def start(
        names: tuple[str, ...] = ("village",), has_chat: bool = True, block_size: int = 40_000, **settings: Any
    ) -> RunningServer:
        pytest.importorskip("uvicorn", reason="needs the extra: pip install -e '.[serve]'")
        running.append(RunningServer({name: ScriptedWorker(has_chat, block_size) for name in names}, **settings))
        return running[-1]

    yield start
    for server in running:
        server.stop()


class Visit:
    """A page, what it asked for, and what went wrong in it."""

    def __init__(self, context: Any, expect: Any) -> None:
        self.expect, self.faults, self.requests = expect, list[str](), list[str]()
        self.expected = "nothing of the kind"  # faults that hold these words are the test's intention
        self.page = self.watch(context.new_page())

    def watch(self, page: Any) -> Any:
        """Errors in the console of `page` and its requests are noted: another tab's too."""
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.faults.append(f"{error} {error.stack}"))
        page.on("console", lambda line: line.type in ("error", "warning") and self.faults.append(line.text))
        page.on("dialog", lambda dialog: (self.faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))
        return page

    def open(self, server: RunningServer) -> Any:
        self.page.goto(server.url)
        self.expect(self.page.locator(".example").first).to_be_visible()
        self.expect(self.page.locator("#model-name, #model").locator("visible=true")).to_have_count(1)
        return self.page

    def say(self, text: str, until_answered: bool = True) -> None:
        n = self.page.locator(".answer").count()
        self.page.get_by_label("Message", exact=True).fill(text)
        self.page.keyboard.press("Enter")
        if until_answered:
            self.expect(self.page.locator(".answer")).to_have_count(n + 1)
            self.is_idle()

    def is_idle(self) -> None:
        self.expect(self.page.locator("#stop")).to_be_hidden()

    def reload(self) -> None:
        """When what was written before is in the store: a read waits for it."""
        self.kept()
        self.page.reload()

    def users(self) -> list[str]:
        return self.page.locator(".user .said").all_inner_texts()

    def answers(self) -> list[str]:
        return self.page.locator(".answer .parts").all_inner_texts()

    def kept(self) -> list[dict[str, Any]]:
        """The conversations in the browser's store, which are not always those that a page has in memory."""
        read = """() => new Promise((done) => {
            indexedDB.open("nanolit").onsuccess = ({ target: { result } }) => {
                const request = result.transaction("conversations").objectStore("conversations").getAll();
                request.onsuccess = () => done(request.result);
            };
        })"""
        return self.page.evaluate(read)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium: install it or name it in CHROMIUM")
    playwright.expect.set_options(timeout=15_000)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


@pytest.fixture
def expect(browser) -> Any:
    """Playwright's, which waits until it is so."""
    from playwright.sync_api import expect

    return expect


@pytest.fixture
def visit(browser, expect, request) -> Iterator[Visit]:
    """A visit with a store of its own. Errors in the console fail the test (what the content security policy refuses
    is one), and so does a request to elsewhere."""
    options = getattr(request, "param", {})
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "color_scheme": "light", **options})
    visit = Visit(context, expect)
    yield visit
    address = visit.page.url
    context.close()
    assert not [fault for fault in visit.faults if visit.expected not in fault]
    origin = re.match(r"https?://[^/]+/", address)
    assert origin, "the test opened no page"
    assert not [url for url in visit.requests if not url.startswith((origin[0], f"blob:{origin[0]}"))]
