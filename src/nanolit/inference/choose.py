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
    chosen: list[tuple[int, Scores | None]] = [(0, None)] * len(rows)
    for members in alike.values():
        of_them = [rows[i] for i in members]
        given, part = (g if len(members) == len(rows) else g[members] for g in (logits, moved))
        drawn = sample(part, of_them[0].request.params, [row.generator for row in of_them])
        scores = _scores(of_them, drawn, given, part)
        for place, (i, token) in enumerate(zip(members, drawn.tolist(), strict=True)):
            chosen[i] = token, scores.get(place)
    return chosen


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


def _scores(rows: Sequence[Row], drawn: Tensor, given: Tensor, moved: Tensor) -> dict[int, Scores]:
    """Of those rows that want them, all of like parameters; from logits (B,V) as the model gave them and as penalties
    left them.
    """
    places = [place for place, row in enumerate(rows) if row.request.logprobs is not None]
    if not places:
        return {}
    if len(places) < len(rows):
        drawn, given, moved = drawn[places], given[places], moved[places]
    by_model = given.float().log_softmax(dim=-1)
    drawn_from = log_probabilities(moved, rows[0].request.params)
    token = drawn[:, None]
    pairs = zip(by_model.gather(1, token)[:, 0].tolist(), drawn_from.gather(1, token)[:, 0].tolist(), strict=True)
    n_best = [min(rows[place].request.logprobs or 0, by_model.size(-1)) for place in places]
    best = by_model.topk(max(n_best), dim=-1)
    tops = zip(best.indices.tolist(), best.values.tolist(), n_best, strict=True)
    return {
        place: Scores(by_model_, drawn_from_, tuple(zip(ids[:n], values[:n], strict=True)))
        for place, (by_model_, drawn_from_), (ids, values, n) in zip(places, pairs, tops, strict=True)
    }
