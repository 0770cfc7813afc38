"""From logits to the next token: one small pure function for each wish of `SamplingParams`.

Each row draws from a generator of its own, so what a row says depends on its seed and never on its neighbours.

B rows   V vocabulary   S tokens so far
"""

import secrets
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from nanolit.inference.params import SamplingParams
from nanolit.runtime.seeds import derive


def row_generators(params: SamplingParams, rows: Sequence[int]) -> list[torch.Generator]:
    """One stream of random numbers per row; the i-th row's is the same however many rows there are.

    They live on the CPU, so that a seed means the same on every device.
    """
    seed = secrets.randbits(63) if params.seed is None else params.seed
    return [torch.Generator().manual_seed(derive(seed, "row", row)) for row in rows]


def sample(logits: Tensor, params: SamplingParams, generators: Sequence[torch.Generator]) -> Tensor:
    """One token id (B,) for each row of logits (B,V), from which penalties have been taken already (`penalized`)."""
    if params.temperature == 0:
        return logits.argmax(dim=-1)
    return draw(filtered(logits, params).softmax(dim=-1), generators)


def filtered(logits: Tensor, params: SamplingParams) -> Tensor:
    """Logits of the distribution that is drawn from at a temperature above 0; -inf where nothing is ever drawn."""
    logits = logits.float()
    # Scaled from the top, so that a tiny temperature gives -inf and never NaN.
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / params.temperature
    if params.top_k is not None:
        logits = keep_top_k(logits, params.top_k)
    if params.top_p is not None:
        logits = keep_top_p(logits, params.top_p)
    if params.min_p is not None:
        logits = keep_min_p(logits, params.min_p)
    return logits


def log_probabilities(logits: Tensor, params: SamplingParams) -> Tensor:
    """Of the distribution that `sample` draws from (B,V); at temperature 0 the likeliest token has all of it."""
    if params.temperature > 0:
        return filtered(logits, params).log_softmax(dim=-1)
    likeliest = logits.argmax(dim=-1, keepdim=True)
    return torch.full_like(logits, float("-inf"), dtype=torch.float32).scatter(1, likeliest, 0.0)


# What moves single tokens


def has_penalties(params: SamplingParams) -> bool:
    return params.repetition_penalty != 1 or params.presence_penalty != 0 or params.frequency_penalty != 0


def penalized(
    logits: Tensor,
    params: SamplingParams,
    prompt: Collection[int],
    counts: Mapping[int, int],
    bias: Tensor | None = None,
) -> Tensor:
    """Logits (V,) of one row; `counts`: how often it has written each token; `bias` (V,) is added in the end.

    The repetition penalty looks at the prompt too, as in its paper, the other two do not, as in OpenAI's and vLLM's.
    """
    logits = logits.float()
    if params.repetition_penalty != 1 and (prompt or counts):
        seen = torch.tensor(sorted({*prompt, *counts}), device=logits.device)[None]
        logits = penalize_repetition(logits[None], seen, params.repetition_penalty)[0]
    if counts and (params.presence_penalty or params.frequency_penalty):
        times = torch.tensor(list(counts.values()), device=logits.device)
        written = torch.tensor(list(counts), device=logits.device)
        logits = logits.index_add(0, written, -(params.presence_penalty + params.frequency_penalty * times))
    return logits if bias is None else logits + bias


def bias_vector(bias: Mapping[int, float], logits: Tensor) -> Tensor:
    """As a tensor beside logits (…,V)."""
    vector = torch.zeros(logits.size(-1), device=logits.device)
    vector[list(bias)] = torch.tensor(list(bias.values()), device=logits.device)
    return vector


def penalize_repetition(logits: Tensor, history: Tensor, penalty: float) -> Tensor:
    """Logits of tokens in `history` move away from being chosen: positive ones divided, negative ones multiplied."""
    seen = logits.gather(1, history)  # (B, S)
    return logits.scatter(1, history, torch.where(seen > 0, seen / penalty, seen * penalty))


# Filters


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """All but the k largest of each row become -inf; equals of the k-th stay."""
    kth = logits.topk(min(k, logits.size(-1)), dim=-1).values[:, -1:]  # (B, 1)
    return logits.masked_fill(logits < kth, float("-inf"))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keeps the smallest set of likeliest tokens whose probabilities reach p; always the likeliest."""
    ordered, order = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # what the likelier ones already hold
    dropped = before >= p
    dropped[:, 0] = False  # rounding must not drop everything
    return logits.masked_fill(dropped.scatter(1, order, dropped), float("-inf"))


def keep_min_p(logits: Tensor, min_p: float) -> Tensor:
    """Drops tokens less likely than min_p times the likeliest."""
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(probabilities < min_p * probabilities.amax(dim=-1, keepdim=True), float("-inf"))


def draw(probabilities: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """One index (B,) by each row's probabilities, from one uniform number per row."""
    uniform = torch.cat([torch.rand(1, 1, generator=g, dtype=torch.float64) for g in generators])  # (B, 1)
    device = probabilities.device
    home = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
    cumulative = probabilities.to(home).double().cumsum(dim=-1)
    cumulative = cumulative / cumulative[:, -1:]  # ends at exactly 1, which no uniform number reaches
    return torch.searchsorted(cumulative, uniform.to(home), right=True).squeeze(1).to(device)
