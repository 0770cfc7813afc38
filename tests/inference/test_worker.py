"""The engine behind a thread: what is asked from many threads is answered as if each had asked alone."""

import random
import threading
import time
from collections import Counter

import pytest
import torch

from nanolit.inference.answer import Closed, Full, Piece, TextRequest
from nanolit.inference.generate import generate, text_prompt
from nanolit.inference.params import EngineSettings, SamplingParams
from nanolit.inference.worker import Worker
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.tokenizers.byte import ByteTokenizer

BYTES = ByteTokenizer()


def build() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=BYTES.vocab_size, block_size=128, n_layer=2, n_head=2, n_embd=32)).eval()


@pytest.fixture
def worker():
    worker = Worker(build(), BYTES, settings=EngineSettings(n_slots=4, max_queue=100))
    yield worker
    worker.close(timeout_s=0)
    assert not worker._thread.is_alive()


def request(text: str, n: int = 1, logprobs: int | None = None, client: str = "", **params) -> TextRequest:
    params = {"max_new_tokens": 20, "seed": 3} | params
    return TextRequest(text_prompt(BYTES, text), SamplingParams(**params), n=n, logprobs=logprobs, client=client)


def texts(pieces: list[Piece], n: int = 1) -> list[str]:
    return ["".join(piece.text for piece in pieces if piece.index == i) for i in range(n)]


def wait_until(is_true, timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.002)


class Collector:
    """Takes pieces from the worker's thread."""

    def __init__(self, n: int = 1) -> None:
        self.pieces: list[Piece] = []
        self.n_left, self.done = n, threading.Event()

    def __call__(self, pieces: list[Piece]) -> None:
        self.pieces += pieces
        self.n_left -= sum(piece.finish is not None for piece in pieces)
        if self.n_left <= 0:
            self.done.set()

    def finishes(self) -> list[str]:
        assert self.done.wait(20)
        return [piece.finish for piece in self.pieces if piece.finish]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_is_what_generate_writes(worker, temperature):
    asked = request("Once", n=3, temperature=temperature)
    expected = generate(build(), BYTES, "Once", asked.params, 3)
    pieces = list(worker.stream(asked))
    assert texts(pieces, 3) == expected
    last = [piece for piece in pieces if piece.finish]
    assert sorted(piece.index for piece in last) == [0, 1, 2]
    for piece in last:
        tokens = [token for other in pieces if other.index == piece.index for token in other.tokens]
        assert piece.n_tokens == len(tokens) + (piece.finish == "stop")
        assert b"".join(token.bytes for token in tokens).decode(errors="replace") == expected[piece.index]


def test_log_probabilities_come_with_their_tokens(worker):
    pieces = list(worker.stream(request("Once", logprobs=3, temperature=0.0, max_new_tokens=5)))
    ids = list(text_prompt(BYTES, "Once"))
    for token in (token for piece in pieces for token in piece.tokens):
        by_model = build()(torch.tensor([ids]))[0, -1].log_softmax(-1)
        assert token.logprob == pytest.approx(by_model[token.id].item(), abs=1e-4)
        assert token.sampled_logprob == 0.0, "greedy draws the likeliest for sure"
        assert [top[0] for top in token.top] == by_model.topk(3).indices.tolist()
        ids.append(token.id)
    assert len(ids) == len(text_prompt(BYTES, "Once")) + 5


def test_a_stop_string_ends_the_answer_and_frees_its_slot(worker):
    whole = texts(list(worker.stream(request("Once", temperature=0.0, max_new_tokens=60))))[0]
    stop = whole[7:10]
    pieces = list(worker.stream(request("Once", temperature=0.0, max_new_tokens=60, stop=(stop,))))
    assert texts(pieces) == [whole[: whole.index(stop)]]
    assert pieces[-1].finish == "stop"
    assert b"".join(token.bytes for piece in pieces for token in piece.tokens) == texts(pieces)[0].encode()
    wait_until(lambda: worker.stats().running == 0)


def test_many_threads_each_get_what_they_would_get_alone(worker):
    asked = [
        request(f"{'ab' * (i % 7)}{i}", n=1 + i % 2, temperature=i % 3 / 2, seed=i, client=f"c{i % 5}")
        for i in range(40)
    ]
    alone = [generate(build(), BYTES, f"{'ab' * (i % 7)}{i}", r.params, r.n) for i, r in enumerate(asked)]
    found: dict[int, list[str]] = {}

    def ask(i: int) -> None:
        found[i] = texts(list(worker.stream(asked[i])), asked[i].n)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [found[i] for i in range(len(asked))] == alone
    stats = worker.stats()
    assert sum(stats.requests_finished.values()) == sum(r.n for r in asked)
    assert stats.prompt_tokens == sum(len(r.prompt) for r in asked)
    assert stats.running == stats.waiting == 0 and not worker._readers


def test_cancelled_answers_end_at_once_running_or_waiting(worker):
    collectors = [Collector() for _ in range(12)]
    tickets = [
        worker.submit(request("x", max_new_tokens=120, temperature=1.0, seed=i), c) for i, c in enumerate(collectors)
    ]
    wait_until(lambda: worker.stats().running == 4)
    for ticket in [*tickets, *tickets]:
        ticket.cancel()
    ends = Counter(collector.finishes()[0] for collector in collectors)
    assert ends["cancelled"] >= 8, "those that waited, at least"
    assert all(len(collector.finishes()) == 1 for collector in collectors)
    wait_until(lambda: worker.stats().running == worker.stats().waiting == 0)
    tickets[0].cancel()
    assert texts(list(worker.stream(request("Once")))) == generate(build(), BYTES, "Once", request("").params)


def test_closing_the_stream_cancels(worker):
    pieces = worker.stream(request("x", max_new_tokens=120, temperature=0.0))
    next(pieces)
    pieces.close()
    wait_until(lambda: worker.stats().running == 0)
    assert worker.stats().requests_finished == {"cancelled": 1}


def test_a_full_queue_says_when_to_come_back():
    worker = Worker(build(), BYTES, settings=EngineSettings(n_slots=2, max_queue=3))
    gate = threading.Event()
    collectors = [Collector() for _ in range(5)]
    try:
        first = Collector()
        worker.submit(request("x"), lambda pieces: (gate.wait(20), first(pieces)))
        wait_until(lambda: worker.stats().running == 1)
        for collector in collectors[:4]:  # one slot is free, three may wait
            worker.submit(request("x"), collector)
        with pytest.raises(Full, match="answers are waiting already; ask again in") as caught:
            worker.submit(request("x"), collectors[4])
        assert caught.value.retry_after_s >= 1
        gate.set()
        for collector in [first, *collectors[:4]]:
            collector.finishes()
        worker.submit(request("x"), collectors[4])
        collectors[4].finishes()
    finally:
        gate.set()
        worker.close()


def test_a_broken_step_ends_what_ran_and_nothing_else():
    model = build()
    real, is_broken = model.forward, threading.Event()

    def forward(*args, **kwargs):
        if is_broken.is_set():
            is_broken.clear()
            raise RuntimeError("out of memory")
        return real(*args, **kwargs)

    worker = Worker(model, BYTES, settings=EngineSettings(n_slots=2))
    model.forward = forward
    expected = generate(build(), BYTES, "later", request("").params)
    collectors = [Collector() for _ in range(4)]
    try:
        is_broken.set()
        for collector in collectors:
            worker.submit(request("later", max_new_tokens=20), collector)
        ends = [collector.finishes() for collector in collectors]
        assert ["error"] in ends and all(end in (["error"], ["length"], ["stop"]) for end in ends)
        assert worker.stats().running == 0
        assert texts(list(worker.stream(request("later")))) == expected
    finally:
        worker.close()


def test_an_answer_that_ended_in_a_step_that_broke_is_told_too():
    model = build()
    worker = Worker(model, BYTES, settings=EngineSettings(n_slots=4, n_guesses=0))
    real, collectors = model.forward, [Collector(), Collector()]

    def forward(ids, **kwargs):
        if ids.size(1) == 1 and collectors[0].pieces:
            raise RuntimeError("out of memory")
        return real(ids, **kwargs)

    try:
        started = threading.Event()
        worker.submit(request("x", max_new_tokens=100, temperature=0.0), lambda p: (collectors[0](p), started.wait(20)))
        wait_until(lambda: collectors[0].pieces)
        model.forward = forward
        worker.submit(request("long enough", max_new_tokens=1), collectors[1])  # ends with its prompt, in that step
        started.set()
        assert [collector.finishes() for collector in collectors] == [["error"], ["error"]]
        assert not worker._readers
    finally:
        worker.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_leaves_nobody_waiting():
    worker = Worker(build(), BYTES, settings=EngineSettings(n_slots=1))
    collectors = [Collector(), Collector(), Collector()]

    def die():
        worker.submit(request("later"), collectors[2])  # it has arrived and was not looked at
        raise SystemExit

    worker.submit(request("x", max_new_tokens=100, temperature=0.0), collectors[0])
    worker.submit(request("y"), collectors[1])
    worker._engine.step = die
    assert [collector.finishes() for collector in collectors] == [["error"]] * 3
    wait_until(lambda: not worker.is_alive)
    with pytest.raises(Closed):
        worker.submit(request("x"), Collector())


def test_a_token_is_told_when_all_of_its_text_is_out(worker):
    whole = texts(list(worker.stream(request("Once", temperature=0.0, max_new_tokens=60))))[0]
    stop = whole[7:9] + "\0"  # begins, and does not come
    for piece in worker.stream(request("Once", temperature=0.0, max_new_tokens=60, stop=(stop,))):
        assert piece.text == b"".join(token.bytes for token in piece.tokens).decode(errors="replace")


def test_whoever_does_not_take_an_answer_loses_it_alone(worker):
    def deliver(pieces):
        raise RuntimeError("no")

    worker.submit(request("x", max_new_tokens=100), deliver)
    assert texts(list(worker.stream(request("Once")))) == generate(build(), BYTES, "Once", request("").params)
    wait_until(lambda: worker.stats().requests_finished.get("cancelled") == 1)


def test_closing_lets_answers_end_or_after_a_time_ends_them():
    worker = Worker(build(), BYTES, settings=EngineSettings(n_slots=2))
    collectors = [Collector() for _ in range(5)]
    for collector in collectors:
        worker.submit(request("x"), collector)
    worker.close()
    assert all(collector.done.is_set() and collector.finishes() != ["cancelled"] for collector in collectors)
    with pytest.raises(Closed):
        worker.submit(request("x"), Collector())

    worker = Worker(build(), BYTES, settings=EngineSettings(n_slots=1))
    collectors = [Collector() for _ in range(30)]
    for collector in collectors:
        worker.submit(request("x", max_new_tokens=120, temperature=0.0, stop=("\0\0",)), collector)
    worker.close(timeout_s=0)
    assert all(collector.done.is_set() for collector in collectors)
    assert collectors[-1].finishes() == ["cancelled"]


def test_what_cannot_be_asked_is_refused_at_once(worker):
    collector = Collector()
    with pytest.raises(ValueError, match="prompt: got no tokens"):
        worker.submit(TextRequest([], SamplingParams()), collector)
    with pytest.raises(ValueError, match="prompt: got 128 tokens, and there is room for 128 with the answer"):
        worker.submit(TextRequest([1] * 128, SamplingParams()), collector)
    with pytest.raises(ValueError, match="prompt: got ids from 1 to 999, allowed: 0 to"):
        worker.submit(TextRequest([1, 999], SamplingParams()), collector)
    with pytest.raises(ValueError, match="logit_bias: got ids from -1 to -1"):
        worker.submit(TextRequest([1], SamplingParams(), logit_bias={-1: 1.0}), collector)
    with pytest.raises(ValueError, match="chat: this tokenizer has no chat tokens"):
        worker.submit(TextRequest([1], SamplingParams(), chat=True), collector)
    assert worker.stats().steps == 0


def test_nothing_is_left_of_a_thousand_requests(worker):
    """Random ends: by length, by cancelling early or late, by clients that raise."""
    dice, n_threads = random.Random(0), threading.active_count()

    def refuse(pieces):
        if dice.random() < 0.3:
            raise RuntimeError("gone")

    tickets = []
    for i in range(1000):
        collector = Collector() if i % 3 else refuse
        wait_until(lambda: worker.stats().waiting < 90)
        tickets.append(worker.submit(request("ab" * dice.randrange(1, 20), seed=i, client=str(i % 7)), collector))
        if dice.random() < 0.4:
            dice.choice(tickets[-10:]).cancel()
    wait_until(lambda: worker.stats().running == worker.stats().waiting == 0 and not worker._arrived, 120)
    wait_until(lambda: sum(worker.stats().requests_finished.values()) == 1000)
    assert not worker._readers and not worker._engine.running and not worker._unwanted
    assert all(not ticket.rows for ticket in tickets)
    assert threading.active_count() == n_threads
