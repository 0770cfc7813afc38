"""One of a few letters: one pass over each prompt, and the likeliest of the letters' tokens after it.

B prompts of a pass   V vocabulary
"""

from collections.abc import Callable, Sequence
from itertools import takewhile

import torch

from nanolit.inference.slots import make_slots
from nanolit.models.network import Network

MIN_SHARED = 32  # tokens; a shorter common beginning is sooner computed again than kept


@torch.no_grad()
def letter_logprobs(
    network: Network,
    prompts: Sequence[list[int]],
    letter_ids: Sequence[Sequence[int]],
    batch_size: int,
    on_progress: Callable[[int], None] = lambda n_done: None,
) -> list[list[float]]:
    """Of each letter, among the letters, for each prompt. Prompts of like length share a pass; each sees only itself,
    so their number changes no more than the rounding of a product. What all of them begin with is computed once.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: list[list[float]] = [[] for _ in prompts]
    slots = make_slots(network, min(batch_size, len(prompts)), max(map(len, prompts)))
    common = n_common(prompts) if slots.can_be_cut else 0
    n_kept = common if common >= MIN_SHARED else 0
    if n_kept:
        slots.feed([0], [prompts[0][:n_kept]])
        for slot in range(1, len(slots.tokens)):
            slots.copy(0, slot, n_kept)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        logits = slots.feed(range(len(batch)), [prompts[i][n_kept:] for i in batch])  # (B, V)
        for row, i in enumerate(batch):
            among = logits[row, list(letter_ids[i])].float().log_softmax(dim=-1)
            found[i] = among.tolist()
            slots.cut(row, n_kept)
        on_progress(start + len(batch))
    return found


def n_common(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with, but for the last one of each."""
    first, last = min(prompts), max(prompts)  # whatever two of them share, these two share
    n = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    return min(n, min(map(len, prompts)) - 1)
