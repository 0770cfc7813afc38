"""From a prompt to more tokens. `prefill` and `decode` are one call of the model each; the cache is theirs to fill.

The model sees at most `block_size` tokens, a longer text through a window that moves in chunks, because every move
makes the cache worthless. With or without a cache the model sees the same tokens, so both give the same text.

B rows (samples of one prompt)   S tokens so far   V vocabulary
"""

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from nanolit.inference.params import SamplingParams
from nanolit.inference.sample import row_generators, sample
from nanolit.inference.text import TextStream
from nanolit.models.network import Cache, Network
from nanolit.tokenizers.protocol import Tokenizer


def context_start(n_tokens: int, block_size: int) -> int:
    """Index of the first of `n_tokens` that the model still sees; the window moves by a quarter of its length."""
    chunk = max(1, block_size // 4)
    return -(-max(0, n_tokens - block_size) // chunk) * chunk


def prefill(model: Network, ids: Tensor, cache: Cache | None = None) -> Tensor:
    """Logits (B,V) of the token that follows `ids` (B,S); the cache, if given, takes the ids in."""
    # Not model(...): a compiled model would be compiled anew for each length of text.
    return model.forward(ids, cache=cache, last_only=True)[:, -1]


def decode(model: Network, ids: Tensor, cache: Cache) -> Tensor:
    """Logits (B,V) of the token after `ids` (B,), the one new token of each row."""
    return prefill(model, ids[:, None], cache)


@torch.no_grad()
def generate_ids(
    model: Network,
    prompt_ids: Sequence[int],
    params: SamplingParams,
    stop_ids: Collection[int] = (),
    rows: Sequence[int] = (0,),
    n_ids: int | None = None,
    use_cache: bool = True,
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
        yield from _steps(model, prompt_ids, params, stop_ids, rows, n_ids, use_cache)
    finally:
        model.train(was_training)


def _steps(
    model: Network,
    prompt_ids: Sequence[int],
    params: SamplingParams,
    stop_ids: Collection[int],
    rows: Sequence[int],
    n_ids: int | None,
    use_cache: bool,
) -> Iterator[list[int | None]]:
    generators = row_generators(params, rows)
    window = _Window(model, prompt_ids, len(rows), params.max_new_tokens, use_cache)
    ended = [False] * len(rows)
    logits = window.logits()  # (B, V)
    for step in range(params.max_new_tokens):
        new = sample(logits[:, :n_ids], params, generators, window.ids)  # (B,)
        chosen = new.tolist()
        ended = [done or token in stop_ids for done, token in zip(ended, chosen, strict=True)]
        yield [None if done else token for done, token in zip(ended, chosen, strict=True)]
        if all(ended) or step == params.max_new_tokens - 1:
            return
        logits = window.append(new)


class _Window:
    """The tokens so far and the part of them that the model sees, cached or not."""

    def __init__(self, model: Network, prompt_ids: Sequence[int], n_rows: int, n_new: int, use_cache: bool) -> None:
        self.model, self.n_rows = model, n_rows
        device = next(model.parameters()).device
        self.ids = torch.tensor([list(prompt_ids)], device=device).repeat(n_rows, 1)  # (B, S)
        self.capacity = min(len(prompt_ids) + n_new, model.config.block_size)
        self.cache: Cache | None = None
        self.start, self.use_cache = 0, use_cache

    def logits(self) -> Tensor:
        """Of the token after the prompt, which is computed once for all rows."""
        return self._refill(self.ids[:1])

    def append(self, new: Tensor) -> Tensor:
        """Takes one more token (B,) of each row in; logits (B,V) of what follows."""
        self.ids = torch.cat((self.ids, new[:, None]), dim=1)
        n_tokens = self.ids.size(1)
        if self.cache is not None and context_start(n_tokens, self.model.config.block_size) == self.start:
            return decode(self.model, new, self.cache)
        return self._refill(self.ids)

    def _refill(self, ids: Tensor) -> Tensor:
        """Looks at the window anew, with one row for all or a row for each."""
        self.start = context_start(ids.size(1), self.model.config.block_size)
        cache: Cache | None = self.model.new_cache(len(ids), self.capacity) if self.use_cache else None
        logits = prefill(self.model, ids[:, self.start :], cache)
        if len(ids) == 1 and self.n_rows > 1:
            cache = None if cache is None else cache.repeat(self.n_rows)
            logits = logits.repeat(self.n_rows, 1)
        self.cache = cache
        return logits


# Text


def generate(
    model: Network,
    tokenizer: Tokenizer,
    prompt: str,
    params: SamplingParams,
    n_samples: int = 1,
    use_cache: bool = True,
) -> list[str]:
    """`n_samples` continuations of `prompt`, without it; they end at the end-of-text token if the tokenizer has one."""
    texts = [TextStream(tokenizer, params.stop) for _ in range(n_samples)]
    written = [""] * n_samples
    for tokens in _generate_text_ids(model, tokenizer, prompt, params, range(n_samples), use_cache):
        for row, token in enumerate(tokens):
            if token is not None:
                written[row] += texts[row].push(token)
        if all(token is None or text.ended for token, text in zip(tokens, texts, strict=True)):
            break
    return [text + stream.close() for text, stream in zip(written, texts, strict=True)]


def stream(
    model: Network, tokenizer: Tokenizer, prompt: str, params: SamplingParams, row: int = 0, use_cache: bool = True
) -> Iterator[str]:
    """One continuation, piece by piece as it is written; the same as `generate(...)[row]` with the same seed."""
    text = TextStream(tokenizer, params.stop)
    for (token,) in _generate_text_ids(model, tokenizer, prompt, params, [row], use_cache):
        if token is not None:
            yield text.push(token)
        if text.ended:
            return
    yield text.close()


def _generate_text_ids(
    model: Network, tokenizer: Tokenizer, prompt: str, params: SamplingParams, rows: Sequence[int], use_cache: bool
) -> Iterator[list[int | None]]:
    end = tokenizer.eot_id
    prompt_ids = ([] if tokenizer.bos_id is None else [tokenizer.bos_id]) + tokenizer.encode(prompt)
    if not prompt_ids:
        if end is None:
            raise ValueError(
                "prompt: got an empty one, and this tokenizer has no end-of-text to begin after; give some text"
            )
        prompt_ids = [end]  # the beginning of a document is what follows the end of another
    stop_ids = () if end is None else (end,)
    return generate_ids(model, prompt_ids, params, stop_ids, rows, tokenizer.vocab_size, use_cache)
