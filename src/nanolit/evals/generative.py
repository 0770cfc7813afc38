"""Answers to many prompts, written by the engine in this process, as many at once as there are slots. No thread, no
judgement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nanolit.inference.engine import Engine
from nanolit.inference.params import EngineSettings, SamplingParams
from nanolit.inference.request import Interjection, Request, Row
from nanolit.inference.text import TextStream
from nanolit.models.network import Network
from nanolit.tokenizers.protocol import Tokenizer


@dataclass(frozen=True)
class Question:
    prompt: list[int]
    params: SamplingParams  # with a seed of its own: what is drawn does not depend on who is asked beside it
    stop_ids: frozenset[int]
    interject: Interjection | None = None
    n_samples: int = 1


@dataclass(frozen=True)
class Written:
    ids: list[int] = field(repr=False)  # drawn and forced ones, the one that ended it included
    finish: Literal["stop", "length"]


def write_answers(
    network: Network,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    n_slots: int,
    on_progress: Callable[[int], None] = lambda n_done: None,
) -> list[list[Written]]:
    """The answers to each question. Nothing is guessed ahead: a score is not to depend on how full the slots are."""
    longest = max(len(q.prompt) + q.params.max_new_tokens for q in questions)
    n_rows = sum(q.n_samples for q in questions)
    settings = EngineSettings(
        n_slots=min(n_slots, n_rows), max_len=min(longest, network.config.block_size), n_guesses=0
    )
    was_training = network.training
    network.eval()
    try:
        engine = Engine(network, settings, n_ids=tokenizer.vocab_size)
        groups = [engine.submit(_request(question)) for question in questions]
        _run(engine, tokenizer, on_progress)
    finally:
        network.train(was_training)
    return [[Written(row.written, "length" if row.finish == "length" else "stop") for row in rows] for rows in groups]


def _request(question: Question) -> Request:
    return Request(
        question.prompt,
        question.params,
        range(question.n_samples),
        question.stop_ids,
        interject=question.interject,
    )


def _run(engine: Engine, tokenizer: Tokenizer, on_progress: Callable[[int], None]) -> None:
    """Until all is written; what has said a stop text is cancelled."""
    streams: dict[Row, TextStream] = {}
    n_done = 0
    while not engine.is_idle:
        for event in engine.step():
            row = event.row
            if stop := row.request.params.stop:
                stream = streams.setdefault(row, TextStream(tokenizer, stop))
                stream.push(event.token)
                if stream.ended and row.finish is None:
                    engine.cancel(row)
                    n_done += 1
            n_done += event.finish is not None
        on_progress(n_done)
