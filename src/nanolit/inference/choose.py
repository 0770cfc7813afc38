"""The next token of each row, and how likely it was. Rows of like wishes are drawn together; each has its own dice.

B rows   V vocabulary
"""

from collections.abc import Sequence

from torch import Tensor

from nanolit.inference.request import Row, Scores
from nanolit.inference.sample import bias_vector, has_penalties, log_probabilities, penalized, sample


def choose(rows: Sequence[Row], logits: Tensor) -> list[tuple[int, Scores | None]]:
    """From logits (B,V) as the model gives them."""
    moved = _moved(rows, logits)
    alike: dict[tuple, list[int]] = {}
    for i, row in enumerate(rows):
        wish = row.request.params
        alike.setdefault((wish.temperature, wish.top_k, wish.top_p, wish.min_p), []).append(i)
    tokens = [0] * len(rows)
    for members in alike.values():
        part = moved if len(members) == len(rows) else moved[members]
        drawn = sample(part, rows[members[0]].request.params, [rows[i].generator for i in members]).tolist()
        for i, token in zip(members, drawn, strict=True):
            tokens[i] = token
    return [
        (token, _scores(row, token, logits[i], moved[i]))
        for i, (row, token) in enumerate(zip(rows, tokens, strict=True))
    ]


def _moved(rows: Sequence[Row], logits: Tensor) -> Tensor:
    """By penalties and bias, where a row has any."""
    wanted = [i for i, row in enumerate(rows) if has_penalties(row.request.params) or row.request.logit_bias]
    if wanted:
        logits = logits.float().clone()
    for i in wanted:
        request, group = rows[i].request, rows[i].group
        if request.logit_bias and group.bias is None:
            group.bias = bias_vector(request.logit_bias, logits)
        logits[i] = penalized(logits[i], request.params, request.prompt, rows[i].counts, group.bias)
    return logits


def _scores(row: Row, token: int, given: Tensor, moved: Tensor) -> Scores | None:
    """From logits (V,) as the model gave them and as penalties left them."""
    k = row.request.logprobs
    if k is None:
        return None
    by_model = given.float().log_softmax(dim=-1)
    drawn_from = log_probabilities(moved[None], row.request.params)[0]
    best = by_model.topk(min(k, len(by_model)))
    top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return Scores(by_model[token].item(), drawn_from[token].item(), top)
