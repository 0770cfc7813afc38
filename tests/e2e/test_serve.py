"""`nanolit serve` as its user has it: a real process with a real model, stopped by signals. What it answers is
tests/serve/test_openai.py's.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("uvicorn", reason="needs the extra: pip install -e '.[serve]'")
STORY = {"messages": [{"role": "user", "content": "Tell me a story"}], "temperature": 0}


class Process:
    """`nanolit serve` at a port of its own."""

    def __init__(self, *arguments: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
        environment.pop("NANOLIT_API_KEY", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nanolit", "serve", "port=0", "device=cpu", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+);", self.line)
        assert found, f"it did not start: {self.line} {self.process.communicate()[1]}"
        self.port = int(found[1])

    def ask(self, path: str, body: object = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = None if body is None else json.dumps(body)
        connection.request("GET" if sent is None else "POST", path, sent, {"Content-Type": "application/json"})
        return connection.getresponse()

    def worker(self) -> dict:
        return json.load(self.ask("/stats"))["models"][0]["workers"][0]

    def is_open(self) -> bool:
        try:
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=60).connect()
        except OSError:
            return False
        return True

    def end(self, *, signals: int = 1) -> tuple[int, str]:
        """Exit code and what was said on standard error."""
        for i in range(signals):
            self.process.send_signal(signal.SIGTERM)
            until = time.monotonic() + 60
            while i + 1 < signals and self.is_open():  # two at once may be one
                assert time.monotonic() < until
        _, told = self.process.communicate(timeout=60)
        return self.process.returncode, told


@pytest.fixture
def start(chat_model):
    begun: list[Process] = []

    def start(*arguments: str) -> Process:
        begun.append(Process(f"model={chat_model}", *arguments))
        return begun[-1]

    yield start
    for one in begun:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


@pytest.fixture
def endless(chat_model) -> dict:
    """A text that takes a while: many answers, none of which ends."""
    from nanolit.tokenizers.directory import load_tokenizer

    specials = load_tokenizer(chat_model).specials.values()
    bias = {str(token): -100 for token in specials}
    return {"prompt": "The", "n": 100, "max_tokens": 250, "temperature": 1, "logit_bias": bias, "stream": True}


def test_a_server_from_start_to_end(start, chats):
    server = start()
    assert server.line.startswith("chat_model at http://127.0.0.1:")
    assert json.load(server.ask("/health"))["models"] == ["chat_model"]
    told = json.load(server.ask("/v1/chat/completions", STORY))
    assert told["choices"][0]["message"]["content"] == dict(chats)["Tell me a story"]
    assert server.worker()["requests_finished"] == {"stop": 1}
    assert server.end() == (0, "")


def test_sigterm_lets_answers_end(start, endless):
    server = start()
    response = server.ask("/v1/completions", {**endless, "n": 20})
    assert response.readline().startswith(b"data: {")
    server.process.send_signal(signal.SIGTERM)
    events = [line[6:] for line in response.read().split(b"\n\n") if line.startswith(b"data: ")]
    assert events.pop() == b"[DONE]"
    ends = [choice["finish_reason"] for event in events for choice in json.loads(event)["choices"]]
    assert ends.count("length") == 20
    assert server.end(signals=0) == (0, "")


def test_the_second_signal_does_not(start, endless):
    server = start("drain_s=600")
    response = server.ask("/v1/completions", endless)
    assert response.readline().startswith(b"data: {")
    assert server.end(signals=2) == (0, "")
    with contextlib.suppress(http.client.IncompleteRead, ConnectionError):  # broken off where it was
        assert not response.read().endswith(b"[DONE]\n\n")


def test_a_client_that_goes_away_frees_its_place(start, endless):
    server = start("n_slots=4")
    response = server.ask("/v1/completions", endless)
    assert response.readline().startswith(b"data: {")
    assert server.worker()["running"] == 4 and server.worker()["waiting"] == 96
    response.close()
    until = time.monotonic() + 60
    while (worker := server.worker())["running"] or worker["waiting"]:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert worker["requests_finished"] == {"cancelled": 100}


def test_others_are_answered_while_it_computes(start, endless):
    """A long prompt is cut into tokens and a hundred answers are written: the event loop has no part in it."""
    server = start("max_body_bytes=10000000")
    responses = [server.ask("/v1/completions", endless)]
    assert responses[0].readline().startswith(b"data: {")
    long = {"prompt": "no such word " * 500_000, "truncate": "left", "max_tokens": 1}
    thread = threading.Thread(target=lambda: responses.append(server.ask("/v1/completions", long)))
    thread.start()
    waits = []
    while len(waits) < 20 or (thread.is_alive() and len(waits) < 200):
        begin = time.perf_counter()
        assert json.load(server.ask("/health"))["status"] == "ok"
        waits.append(time.perf_counter() - begin)
    assert statistics.median(waits) < 0.2, "an event loop that blocks"
    thread.join(60)
    assert [response.status for response in responses] == [200, 200]
