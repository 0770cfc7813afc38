"""How likely the ends of given texts are: of each the mean loss of its last tokens, and whether they are what would be
written. It knows no tasks; what texts begin with is computed once where several begin alike.

G beginnings of a pass   R texts of a pass   T tokens   V vocabulary
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nanolit.models.gpt import GPT, IGNORE, nll
from nanolit.models.kv_cache import PAD, SlotCache, SlotRows
from nanolit.models.network import Network

MAX_LOGITS = 2**25  # numbers at once: 128 MiB of them
MAX_PASS, MAX_PASS_CPU = 2**15, 2**11  # tokens of a pass: with more a processor does not get faster
MIN_KEPT = 128  # tokens; a foreign network's cache holds one beginning, which pays for long ones only


@dataclass(frozen=True)
class Judged:
    loss: float  # mean negative log-likelihood of the tokens judged, in nats
    is_greedy: bool  # is each of them the likeliest after those before it?


@dataclass
class Group:
    """Texts that begin alike."""

    before: list[int]  # all that stands before the token after which the first one is judged
    rests: list[list[int]]  # that token, and those that are judged
    places: list[list[int]]  # whose rests these are: equal ones are computed once

    @property
    def n_inputs(self) -> int:
        """The last token of a rest is judged, never read."""
        return max(map(len, self.rests)) - 1


Found = tuple[list[int], Judged]  # the places of a text, and what is said of it


@torch.no_grad()
def judge(
    network: Network,
    texts: Sequence[tuple[np.ndarray, int]],
    batch_size: int,
    on_progress: Callable[[int], None] = lambda n_done: None,
) -> list[Judged]:
    """Each text is ids and the first token to be judged, at least 1. `batch_size`: memory for so many texts of the
    model's full length; of shorter ones more share a pass. What is computed for a text depends on itself alone, so
    their company changes no more than the rounding of a product.
    """
    found: list[Judged | None] = [None] * len(texts)
    n_done = 0
    for places, judged in _judge_groups(network, grouped(texts), batch_size * network.config.block_size):
        for place in places:
            found[place] = judged
        n_done += len(places)
        on_progress(n_done)
    return [judged for judged in found if judged is not None]


def grouped(texts: Sequence[tuple[np.ndarray, int]]) -> list[Group]:
    groups: dict[bytes, Group] = {}
    known: dict[tuple[bytes, bytes], list[int]] = {}
    for place, (ids, start) in enumerate(texts):
        key, rest = ids[: start - 1].tobytes(), ids[start - 1 :]
        if (key, rest.tobytes()) not in known:
            group = groups.setdefault(key, Group(ids[: start - 1].tolist(), [], []))
            group.rests.append(rest.tolist())
            group.places.append([])
            known[key, rest.tobytes()] = group.places[-1]
        known[key, rest.tobytes()].append(place)
    return list(groups.values())


def _judge_groups(network: Network, groups: list[Group], room: int) -> Iterator[Found]:
    if isinstance(network, GPT) and not network.config.smear:  # whose slots can be filled with padding and cut
        yield from _in_slots(network, groups, room)
        return
    yield from _whole(network, [group for group in groups if len(group.before) < MIN_KEPT], room)
    for group in groups:
        if len(group.before) >= MIN_KEPT:
            yield from _after_cache(network, group, room)


# A network of ours: beginnings and rests of many texts in one memory


def _in_slots(model: GPT, groups: list[Group], room: int) -> Iterator[Found]:
    is_cpu = model.token_embedding.weight.device.type == "cpu"
    slots: SlotCache | None = None
    for batch in _passes(groups, model.config.block_size, room, MAX_PASS_CPU if is_cpu else MAX_PASS):
        n_rows, n_columns = _shape(batch, model.config.block_size)
        if slots is None or len(slots.tokens) < n_rows or slots.max_len < n_columns:
            slots = None  # let go before there are others
            slots = model.new_slots(n_rows, n_columns)
        yield from _pass(model, slots, batch)


def _passes(groups: list[Group], block_size: int, room: int, max_pass: int) -> Iterator[list[Group]]:
    """The longest first, each with others of like length."""
    batch: list[Group] = []
    for group in sorted(_divided(groups, room), key=lambda group: -len(group.before)):
        longer = [*batch, group]
        n_rows, n_columns = _shape(longer, block_size)
        n_before, n_rest = len(longer[0].before), max(other.n_inputs for other in longer)
        # A row may not go on beyond its slot, but for PAD columns (SlotRows): not even with what only fills it up.
        fits = n_rest <= PAD or n_before + n_rest <= block_size
        fits = fits and n_rows * n_columns <= room and max(len(longer) * n_before, n_rows * n_rest) <= max_pass
        if batch and not (fits and n_before <= 1.25 * len(group.before) + PAD):
            yield batch
            longer = [group]
        batch = longer
    if batch:
        yield batch


def _divided(groups: list[Group], room: int) -> Iterator[Group]:
    """None with more texts than there is room for."""
    for group in groups:
        n = max(1, room // (len(group.before) + group.n_inputs))
        for i in range(0, len(group.rests), n):
            yield Group(group.before, group.rests[i : i + n], group.places[i : i + n])


def _shape(batch: list[Group], block_size: int) -> tuple[int, int]:
    """Slots, and their columns."""
    longest = max(len(group.before) for group in batch) + max(group.n_inputs for group in batch)
    return sum(len(group.rests) for group in batch), min(longest, block_size)


@torch.inference_mode()  # as in inference/slots.py
def _pass(model: GPT, slots: SlotCache, batch: list[Group]) -> list[Found]:
    for slot in range(len(slots.tokens)):
        slots.cut(slot, 0)
    n_before = max(len(group.before) for group in batch)
    if n_before:
        # Filled up and cut: rows of one length need no mask, and attention is twice as fast without one.
        _feed(model, slots, [group.before + [0] * (n_before - len(group.before)) for group in batch])
        for slot, group in enumerate(batch):
            slots.cut(slot, len(group.before))
    # Of each group the first text goes on where its beginning is, the others in copies of it.
    rows = [(g, 0) for g in range(len(batch))]
    rows += [(g, i) for g, group in enumerate(batch) for i in range(1, len(group.rests))]
    for slot, (g, _) in enumerate(rows[len(batch) :], start=len(batch)):
        slots.copy(g, slot, len(batch[g].before))
    rests = [batch[g].rests[i] for g, i in rows]
    x = _feed(model, slots, [rest[:-1] for rest in rests])  # (R, T, C)
    x = torch.cat([row[: len(rest) - 1] for row, rest in zip(x, rests, strict=True)])  # all that is judged
    n_at_once = max(1, MAX_LOGITS // model.config.padded_vocab)
    logits = (model.logits(piece) for piece in x.split(n_at_once))
    judged = _judged(logits, rests, model.config.vocab_size)
    return [(batch[g].places[i], of_row) for (g, i), of_row in zip(rows, judged, strict=True)]


def _feed(model: GPT, slots: SlotCache, tokens: Sequence[Sequence[int]]) -> Tensor:
    rows = SlotRows(slots, range(len(tokens)), tokens)
    return model.features(rows.ids, cache=rows)  # (R, T, C)


# Any network


def _whole(network: Network, groups: list[Group], room: int) -> Iterator[Found]:
    """Whole texts side by side."""
    texts = [
        (group.before + rest, len(rest), places)
        for group in groups
        for rest, places in zip(group.rests, group.places, strict=True)
    ]
    texts.sort(key=lambda text: -len(text[0]))
    device = next(iter(network.parameters())).device
    while texts:
        longest = len(texts[0][0]) - 1
        n = max(1, min(room // longest, MAX_LOGITS // (longest * network.config.vocab_size)))
        batch, texts = texts[:n], texts[n:]
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        targets = torch.full_like(ids, IGNORE)
        for row, (text, n_rest, _) in enumerate(batch):
            ids[row, : len(text) - 1] = torch.tensor(text[:-1])
            targets[row, len(text) - n_rest : len(text) - 1] = torch.tensor(text[len(text) - n_rest + 1 :])
        losses, hits = network.score(ids.to(device), targets.to(device))  # 2 x (R, T)
        for (text, n_rest, places), of_row, hit in zip(batch, losses.tolist(), hits.tolist(), strict=True):
            at = slice(len(text) - n_rest, len(text) - 1)
            yield places, Judged(math.fsum(of_row[at]) / (n_rest - 1), all(hit[at]))


def _after_cache(network: Network, group: Group, room: int) -> Iterator[Found]:
    """Beginnings one by one: a cache of others cannot be joined to another."""
    device = next(iter(network.parameters())).device
    cache = network.new_cache(1, len(group.before) + group.n_inputs)
    network.forward(torch.tensor([group.before], device=device), cache=cache, last_only=True)
    n_vocab = network.config.vocab_size
    room = min(room // (len(group.before) + group.n_inputs), MAX_LOGITS // (group.n_inputs * n_vocab))
    for i in range(0, len(group.rests), max(1, room)):
        rests = group.rests[i : i + max(1, room)]
        ids = torch.zeros(len(rests), group.n_inputs, dtype=torch.long)
        for row, rest in enumerate(rests):
            ids[row, : len(rest) - 1] = torch.tensor(rest[:-1])
        logits = network.forward(ids.to(device), cache=cache.repeat(len(rests)))  # (R, T, V)
        pieces = (of_row[: len(rest) - 1].float() for of_row, rest in zip(logits, rests, strict=True))
        yield from zip(group.places[i:], _judged(pieces, rests, n_vocab), strict=False)


def _judged(logits: Iterable[Tensor], rests: Sequence[Sequence[int]], n_vocab: int) -> list[Judged]:
    """`logits`: (T, V) in pieces, one for each token of a rest but its first, rest after rest."""
    targets = [token for rest in rests for token in rest[1:]]
    losses: list[float] = []
    hits: list[bool] = []
    for piece in logits:
        wanted = torch.tensor(targets[len(losses) : len(losses) + len(piece)], device=piece.device)
        losses += nll(piece[None], wanted[None])[0].tolist()
        hits += (piece[:, :n_vocab].argmax(dim=-1) == wanted).tolist()
    found, at = [], 0
    for n in (len(rest) - 1 for rest in rests):
        found.append(Judged(math.fsum(losses[at : at + n]) / n, all(hits[at : at + n])))
        at += n
    return found
