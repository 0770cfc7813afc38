"""The engine's household: turns, slots, memory, prefixes, what is forced in, what is told of each token."""

import gc

import pytest
import torch

from nanolit.inference.engine import Engine, context_start
from nanolit.inference.params import EngineSettings, SamplingParams
from nanolit.inference.request import Request
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT

TEXT = [(7 * i * i + i) % 50 for i in range(120)]


def build(**fields) -> GPT:
    torch.manual_seed(0)
    shape = {"vocab_size": 50, "block_size": 128, "n_layer": 2, "n_head": 2, "n_embd": 32}
    return GPT(GPTConfig(**shape | fields)).eval()


class Counting(Engine):
    """Knows how many tokens the model was fed."""

    def __init__(self, model: GPT, **settings) -> None:
        super().__init__(model, EngineSettings(**{"n_slots": 4, "n_guesses": 0} | settings))
        self.n_fed, self.n_passes, feed = 0, 0, self.slots.feed

        def counted(rows, tokens, every=False):
            self.n_fed += sum(map(len, tokens))
            self.n_passes += 1
            return feed(rows, tokens, every)

        self.slots.feed = counted


def request(prompt=(1, 2, 3), n: int = 1, client: str = "", **params) -> Request:
    params = {"max_new_tokens": 4, "temperature": 0.0} | params
    return Request(list(prompt), SamplingParams(**params), rows=range(n), client=client)


def run(engine: Engine) -> None:
    while not engine.is_idle:
        engine.step()


def test_clients_take_turns_and_each_keeps_its_order():
    engine = Counting(build(), n_slots=1)
    many = [engine.submit(request(client="a"))[0] for _ in range(5)]
    (one,) = engine.submit(request(client="b"))
    run(engine)
    order = sorted([*many, one], key=lambda row: row.turn)
    assert order == [many[0], one, *many[1:]]


def test_a_cancelled_row_gives_its_slot_to_the_next_one_in_the_same_step():
    engine = Counting(build(), n_slots=1)
    (first,) = engine.submit(request(max_new_tokens=100))
    (second,) = engine.submit(request())
    (third,) = engine.submit(request())
    engine.step()
    assert engine.running == [first]
    for row in (first, first, third):
        engine.cancel(row)
    assert (first.finish, third.finish, engine.running) == ("cancelled", "cancelled", [])
    engine.step()
    assert engine.running == [second]
    run(engine)
    assert second.finish == "length"


def test_samples_of_one_request_share_its_prompt():
    engine = Counting(build())
    rows = engine.submit(request(TEXT[:60], n=4, temperature=1.0, seed=1, max_new_tokens=2))
    run(engine)
    assert engine.n_fed == 60 + 4, "the prompt once, and the first token of each"
    assert [row.n_cached for row in rows] == [0, 60, 60, 60]
    assert len({row.ids[60] for row in rows}) > 1, "each draws its first token with a dice of its own"


def test_when_the_first_sample_leaves_before_the_prompt_is_done_another_computes_it():
    engine = Counting(build())
    engine.chunk = 20
    rows = engine.submit(request(TEXT[:60], n=3))
    engine.step()
    engine.cancel(rows[0])
    run(engine)
    other = Counting(build())
    (alone,) = other.submit(request(TEXT[:60]))
    run(other)
    assert rows[1].written == rows[2].written == alone.written


@pytest.mark.parametrize("is_running", [True, False])
def test_a_prompt_that_begins_like_another_is_computed_from_there(is_running):
    engine = Counting(build())
    engine.submit(request(TEXT[:80], max_new_tokens=30))
    engine.step()
    if not is_running:
        run(engine)
    before = engine.n_fed
    (row,) = engine.submit(request([*TEXT[:64], 9, 9], max_new_tokens=1))
    engine.step()
    assert row.n_cached == 64
    assert engine.n_fed - before <= 2 + is_running


def test_the_slot_that_was_left_first_is_taken_first():
    engine = Counting(build(), n_slots=2)
    for prompt in (TEXT[:40], TEXT[40:80], TEXT[:40]):  # the first is used again
        engine.submit(request(prompt, max_new_tokens=1))
        run(engine)
    engine.submit(request(TEXT[80:], max_new_tokens=1))  # in place of the second
    run(engine)
    found = []
    for prompt in (TEXT[:40], TEXT[40:80]):
        (row,) = engine.submit(request(prompt, max_new_tokens=1))
        run(engine)
        found.append(row.n_cached)
    assert found == [39, 0]


def test_prompts_do_not_hold_up_who_is_writing():
    engine = Counting(build())
    engine.chunk = 16
    (writing,) = engine.submit(request(max_new_tokens=50))
    engine.step()
    engine.submit(request(TEXT[:100]))
    for n in range(2, 6):
        engine.step()
        assert writing.n_drawn == n


def test_right_guesses_save_passes_and_never_pass_the_end():
    loop = [1, 2, 3, 4] * 12
    counts = []
    for n_guesses in (0, 7):
        engine = Counting(build(), n_guesses=n_guesses)
        (row,) = engine.submit(Request(loop, SamplingParams(max_new_tokens=21, temperature=0.0), stop_ids=frozenset()))
        run(engine)
        counts.append((engine.n_passes, row.written))
    assert counts[0][1] == counts[1][1] and len(counts[1][1]) == 21
    stop = counts[0][1][10]
    engine = Counting(build(), n_guesses=7)
    params = SamplingParams(max_new_tokens=21, temperature=0.0)
    (row,) = engine.submit(Request(loop, params, stop_ids=frozenset({stop})))
    run(engine)
    assert row.written == counts[0][1][: counts[0][1].index(stop) + 1]
    assert row.finish == "stop"


@pytest.mark.parametrize("n_guesses", [0, 7])
def test_what_is_forced_in_is_read_and_not_counted(n_guesses):
    def interject(written):
        return [5, 6, 7] if len(written) == 2 else []

    model = build()
    engine = Engine(model, EngineSettings(n_slots=2, n_guesses=n_guesses))
    params = SamplingParams(max_new_tokens=6, temperature=0.0)
    (row,) = engine.submit(Request([1, 2, 1, 2, 1, 2], params, interject=interject))
    events = []
    while not engine.is_idle:
        events += engine.step()
    assert [event.token for event in events] == row.written
    assert [i for i, event in enumerate(events) if event.is_forced] == [2, 3, 4]
    assert (row.n_drawn, len(row.written)) == (6, 9)
    for i in (5, 6, 7, 8):
        ids = torch.tensor([row.ids[: 6 + i]])
        assert row.written[i] == model(ids)[0, -1].argmax().item(), "the model has read what was forced"


def test_scores_are_those_of_torch():
    model = build()
    params = SamplingParams(max_new_tokens=8, temperature=0.7, top_k=5, seed=1, presence_penalty=0.5, min_p=0.1)
    engine = Engine(model, EngineSettings(n_slots=1))
    (row,) = engine.submit(Request([3, 4], params, logprobs=4, logit_bias={7: 1.5}))
    events = []
    while not engine.is_idle:
        events += engine.step()
    assert len(events) == 8
    for i, event in enumerate(events):
        logits = model(torch.tensor([row.ids[: 2 + i]]))[0, -1].double()
        by_model = logits.log_softmax(-1)
        moved = logits.clone()
        moved[7] += 1.5
        moved[list(set(row.written[:i]))] -= 0.5
        moved = moved / 0.7
        moved[moved < moved.topk(5).values[-1]] = float("-inf")
        likely = moved.softmax(-1)
        moved[likely < 0.1 * likely.max()] = float("-inf")
        assert event.scores.logprob == pytest.approx(by_model[event.token].item(), abs=1e-4)
        assert event.scores.sampled_logprob == pytest.approx(moved.log_softmax(-1)[event.token].item(), abs=1e-4)
        assert [token for token, _ in event.scores.top] == by_model.topk(4).indices.tolist()


def test_bias_forces_and_forbids():
    engine = Engine(build(), EngineSettings(n_slots=2))
    params = SamplingParams(max_new_tokens=10, seed=0)
    forced, forbidden = (
        engine.submit(Request([1], params, logit_bias=bias))[0]
        for bias in ({9: 100.0}, dict.fromkeys(range(48), -100.0))
    )
    run(engine)
    assert set(forced.written) == {9}
    assert set(forbidden.written) <= {48, 49}


def test_memory_is_bounded_and_what_does_not_fit_is_told():
    slot_gib = 2 * 2 * 2 * (128 + 16) * 16 * 4 / 2**30
    assert Engine(build(), EngineSettings(memory_gib=3.5 * slot_gib)).n_slots == 3
    assert Engine(build(), EngineSettings(max_len=64)).max_len == 64
    with pytest.raises(ValueError, match=r"memory_gib: got .*, and 9 slots of 128 tokens take .*; allowed: 3 slots"):
        Engine(build(), EngineSettings(n_slots=9, memory_gib=3.5 * slot_gib))
    with pytest.raises(ValueError, match="n_guesses: got 16, must be from 0"):
        EngineSettings(n_guesses=16)
    with pytest.raises(ValueError, match="n_slots: got 0, must be positive"):
        EngineSettings(n_slots=0)


def test_a_text_ends_where_the_model_sees_no_further_or_slides():
    model = build(block_size=32)
    engine = Engine(model, EngineSettings(n_slots=2))
    (stopped,) = engine.submit(Request([1, 2, 3], SamplingParams(max_new_tokens=99, temperature=0.0)))
    params = SamplingParams(max_new_tokens=60, temperature=0.0)
    (slid,) = engine.submit(Request(TEXT[:40], params, when_full="slide"))
    run(engine)
    assert (stopped.finish, len(stopped.ids)) == ("length", 32)
    assert (slid.finish, slid.n_drawn) == ("length", 60)
    for i in range(60):
        window = slid.ids[context_start(40 + i, 32) : 40 + i]
        assert slid.ids[40 + i] == model(torch.tensor([window]))[0, -1].argmax().item()


def test_after_a_broken_step_the_engine_is_as_new():
    engine = Counting(build())
    rows = engine.submit(request(TEXT[:60], n=3, max_new_tokens=20))
    (waiting,) = engine.submit(request(TEXT[:50]))
    engine.step()
    feed = engine.slots.feed
    engine.slots.feed = lambda *a, **k: 1 / 0
    with pytest.raises(ZeroDivisionError):
        engine.step()
    engine.slots.feed = feed
    assert set(engine.reset()) == {*rows, waiting}
    assert all(row.finish == "error" for row in rows) and engine.is_idle
    (row,) = engine.submit(request(TEXT[:60]))
    other = Counting(build())
    (alone,) = other.submit(request(TEXT[:60]))
    run(engine)
    run(other)
    assert (row.written, row.n_cached) == (alone.written, 0)


def test_after_a_broken_step_siblings_that_waited_go_on():
    engine = Counting(build(), n_slots=2)
    rows = engine.submit(request(TEXT[:60], n=4))
    feed = engine.slots.feed
    engine.slots.feed = lambda *a, **k: 1 / 0
    with pytest.raises(ZeroDivisionError):
        engine.step()
    engine.slots.feed = feed
    engine.reset()
    run(engine)
    assert [row.finish for row in rows] == ["error", "error", "length", "length"]


def test_a_row_whose_guesses_fail_is_guessed_for_less_and_less():
    """Text that seems to repeat itself and does not: the model says something else each time."""
    engine = Counting(build(), n_slots=1, n_guesses=7)
    engine.submit(request([1, 2, 3, 4] * 20, max_new_tokens=30))
    wrong = [[49] * 7]
    asked = []
    engine.drafter.propose = lambda slots, texts, n: asked.append(len(slots)) or wrong[: len(slots)]
    run(engine)
    assert sum(asked) <= 5, "after the passes 1, 2, 4, 8 and 16"


def test_nothing_is_kept_of_thousands_of_rows():
    engine = Engine(build(n_layer=1), EngineSettings(n_slots=8))
    for i in range(1500):
        rows = engine.submit(request(TEXT[i % 50 : i % 50 + 5], n=1 + i % 3, max_new_tokens=1 + i % 4, client=str(i)))
        if i % 5 == 0:
            engine.cancel(rows[0])
        while len(engine.waiting) > 4:
            engine.step()
    run(engine)
    del rows
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing).__name__ == "Row"]
    assert not engine.running and not engine.waiting._waiting


def test_more_slots_than_there_is_memory_for_are_refused():
    with pytest.raises(ValueError, match=r"n_slots: got 100000000, which take .* GiB with 128 tokens each; allowed: "):
        Engine(build(), EngineSettings(n_slots=100_000_000))


def test_under_autocast_rows_of_unequal_length_share_the_memory():
    """What a pass computes is then of another type than the weights."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=50, block_size=32, n_layer=2, n_head=2, n_embd=32)).eval()
    params = SamplingParams(max_new_tokens=6, temperature=0.0)
    with torch.autocast("cpu", torch.bfloat16):
        engine = Engine(model, EngineSettings(n_guesses=0))
        rows = [engine.submit(Request(prompt, params))[0] for prompt in ([1, 2, 3], [4, 5, 6, 7, 8, 9, 10], [11])]
        while not engine.is_idle:
            engine.step()
    assert all(len(row.written) == 6 for row in rows)
