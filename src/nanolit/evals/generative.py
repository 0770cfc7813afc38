"""Answers to many prompts, written by the engine in this process, as many at once as there are slots. No thread, no
judgement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from nanolit.inference.engine import Engine
from nanolit.inference.params import EngineSettings, SamplingParams
from nanolit.inference.request import Event, Interjection, Request, Row
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
    with_logprobs: bool = False


@dataclass(frozen=True)
class Written:
    ids: list[int] = field(repr=False)  # drawn and forced ones, the one that ended it included
    finish: Literal["stop", "length"]
    is_drawn: list[bool] = field(default_factory=list, repr=False)  # of each id; the others a tool has said
    logprobs: list[float] = field(default_factory=list, repr=False)  # by the model, where wanted; 0 of forced ones
    drawn_logprobs: list[float] = field(default_factory=list, repr=False)  # by what was drawn from: hotter, or cut off


def write_answers(
    network: Network,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    n_slots: int | None,
    on_progress: Callable[[int], None] = lambda n_done: None,
) -> list[list[Written]]:
    """The answers to each question. Nothing is guessed ahead: a score is not to depend on how full the slots are.
    `n_slots`: how many are written at once; None: as many as the engine takes by itself.
    """
    longest = max(len(q.prompt) + q.params.max_new_tokens for q in questions)
    n_rows = sum(q.n_samples for q in questions)
    settings = EngineSettings(
        n_slots=None if n_slots is None else min(n_slots, n_rows),
        max_len=min(longest, network.config.block_size),
        n_guesses=0,
    )
    was_training = network.training
    network.eval()
    try:
        engine = Engine(network, settings, n_ids=tokenizer.vocab_size)
        groups = [engine.submit(_request(question)) for question in questions]
        events = _run(engine, tokenizer, on_progress)
    finally:
        network.train(was_training)
        torch.clear_autocast_cache()  # weights that were cast without gradients must not be taken for training
    return [[_written(row, events[row]) for row in rows] for rows in groups]


def _written(row: Row, events: list[Event]) -> Written:
    logprobs = [event.scores.logprob if event.scores else 0.0 for event in events]
    drawn = [event.scores.sampled_logprob if event.scores else 0.0 for event in events]
    finish: Literal["stop", "length"] = "length" if row.finish == "length" else "stop"
    return Written(row.written, finish, [not event.is_forced for event in events], logprobs, drawn)


def _request(question: Question) -> Request:
    return Request(
        question.prompt,
        question.params,
        range(question.n_samples),
        question.stop_ids,
        logprobs=0 if question.with_logprobs else None,
        interject=question.interject,
    )


def _run(engine: Engine, tokenizer: Tokenizer, on_progress: Callable[[int], None]) -> dict[Row, list[Event]]:
    """Until all is written; what has said a stop text is cancelled."""
    told: dict[Row, list[Event]] = {}
    streams: dict[Row, TextStream] = {}
    n_done = 0
    while not engine.is_idle:
        for event in engine.step():
            row = event.row
            told.setdefault(row, []).append(event)
            if stop := row.request.params.stop:
                stream = streams.setdefault(row, TextStream(tokenizer, stop))
                stream.push(event.token)
                if stream.ended and row.finish is None:
                    engine.cancel(row)
                    n_done += 1
                if stream.ended:
                    row.finish = "stop"  # with its last token perhaps
            n_done += event.finish is not None
        on_progress(n_done)
    return told
