"""One prompt, some samples, all at once: the engine for a notebook, a script, the samples of a run. Many requests that
come and go are worker.py's.

A text longer than the model sees goes through a window that moves in chunks, because every move makes the cache
worthless.
"""

from collections.abc import Collection, Iterator, Sequence

from nanolit.inference.engine import Engine
from nanolit.inference.params import N_SLOTS, EngineSettings, SamplingParams
from nanolit.inference.request import Request
from nanolit.inference.text import TextStream
from nanolit.models.gpt import GPT
from nanolit.models.network import Network
from nanolit.tokenizers.protocol import Tokenizer


def generate_ids(
    model: Network,
    prompt_ids: Sequence[int],
    params: SamplingParams,
    stop_ids: Collection[int] = (),
    rows: Sequence[int] = (0,),
    n_ids: int | None = None,
    draft: GPT | None = None,
) -> Iterator[list[int | None]]:
    """Yields the next token of every row, step by step; None once a row has ended (its stop id is not shown).

    `rows` are the numbers of the samples: sample i is the same whichever others are drawn with it. Ids from `n_ids` on,
    which a tokenizer smaller than the model cannot write, are never drawn. `params.stop` is left to `generate`.
    """
    if not prompt_ids:
        raise ValueError("prompt: got no tokens; give at least one to begin with")
    if not rows:
        raise ValueError("n_samples: got 0, must be at least 1")
    was_training = model.training
    model.eval()  # no dropout
    try:
        max_len = min(len(prompt_ids) + params.max_new_tokens, model.config.block_size)
        settings = EngineSettings(n_slots=min(len(rows), N_SLOTS), max_len=max_len, reuse_prefixes=False)
        request = Request(prompt_ids, params, rows, frozenset(stop_ids), when_full="slide")
        yield from _columns(Engine(model, settings, n_ids, draft), request)
    finally:
        model.train(was_training)


def _columns(engine: Engine, request: Request) -> Iterator[list[int | None]]:
    rows = engine.submit(request)
    drawn: list[list[int]] = [[] for _ in rows]  # rows may run ahead of each other
    places = {id(row): i for i, row in enumerate(rows)}
    at = 0
    while True:
        while all(len(tokens) > at or row.finish for row, tokens in zip(rows, drawn, strict=True)):
            column = [tokens[at] if len(tokens) > at else None for tokens in drawn]
            if all(token is None for token in column):
                return
            yield [None if token in request.stop_ids else token for token in column]
            at += 1
        for event in engine.step():
            drawn[places[id(event.row)]].append(event.token)


# Text


def generate(
    model: Network, tokenizer: Tokenizer, prompt: str, params: SamplingParams, n_samples: int = 1
) -> list[str]:
    """`n_samples` continuations of `prompt`, without it; they end at the end-of-text token if the tokenizer has one."""
    written = [""] * n_samples
    for i, text in pieces(model, tokenizer, prompt, params, range(n_samples)):
        written[i] += text
    return written


def stream(model: Network, tokenizer: Tokenizer, prompt: str, params: SamplingParams, row: int = 0) -> Iterator[str]:
    """One continuation, piece by piece as it is written; the same as `generate(...)[row]` with the same seed."""
    return (text for _, text in pieces(model, tokenizer, prompt, params, [row]))


def pieces(
    model: Network,
    tokenizer: Tokenizer,
    prompt: str,
    params: SamplingParams,
    rows: Sequence[int],
    draft: GPT | None = None,
) -> Iterator[tuple[int, str]]:
    """Several continuations as they are written: which of `rows`, by its place there, and what it says next."""
    texts = [TextStream(tokenizer, params.stop) for _ in rows]
    stop_ids = () if tokenizer.eot_id is None else (tokenizer.eot_id,)
    ids = text_prompt(tokenizer, prompt)
    for tokens in generate_ids(model, ids, params, stop_ids, rows, tokenizer.vocab_size, draft):
        for i, token in enumerate(tokens):
            if token is not None:
                yield i, texts[i].push(token)
        if all(token is None or text.ended for token, text in zip(tokens, texts, strict=True)):
            break
    for i, text in enumerate(texts):
        yield i, text.close()


def text_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The ids after which `prompt` goes on; an empty one is the beginning of a document."""
    ids = ([] if tokenizer.bos_id is None else [tokenizer.bos_id]) + tokenizer.encode(prompt)
    if not ids and tokenizer.eot_id is None:
        raise ValueError(
            "prompt: got an empty one, and this tokenizer has no end-of-text to begin after; give some text"
        )
    return ids or [tokenizer.eot_id]  # type: ignore[list-item]  # what begins is what follows the end of another
