"""The engine: requests in ids come, rows of them share the passes of the model, ids go. One step at a time.

In a step, waiting rows take free slots; rows with more than one token to take in (prompts, what a tool said) are fed in
chunks; all others take their last token in together; every row whose text is complete draws its next token. What a row
draws depends on its prompt, its parameters and its seed; neighbours change no more than the rounding of a matrix
product. It knows no text, no tokenizer and no threads (worker.py).

B rows of a pass   T tokens   V vocabulary
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nanolit.inference.choose import choose
from nanolit.inference.fair_queue import FairQueue
from nanolit.inference.params import N_SLOTS, EngineSettings
from nanolit.inference.request import NO_SLOT, Event, Finish, Group, Request, Row, Scores
from nanolit.inference.sample import has_penalties, row_generators
from nanolit.inference.slots import make_slots, slot_bytes
from nanolit.inference.speculate import Drafter, ModelDrafter, NGramDrafter
from nanolit.models.gpt import GPT
from nanolit.models.kv_cache import PAD
from nanolit.models.network import Network

MIN_SHARED = 32  # tokens; a shorter common beginning is sooner computed than looked for


class Engine:
    """`n_ids`: ids from there on, which a tokenizer smaller than the model cannot write, are never drawn."""

    def __init__(
        self,
        model: Network,
        settings: EngineSettings | None = None,
        n_ids: int | None = None,
        draft: GPT | None = None,
    ) -> None:
        settings = settings or EngineSettings()
        self.model, self.settings, self.n_ids = model, settings, n_ids
        self.max_len = min(settings.max_len or model.config.block_size, model.config.block_size)
        self.n_slots = _n_slots([model] if draft is None else [model, draft], self.max_len, settings)
        self.slots = make_slots(model, self.n_slots, self.max_len, settings.decoding, settings.n_guesses)
        self.running: list[Row] = []  # row i is in slot i
        self.waiting: FairQueue[Row] = FairQueue()
        self.is_reusing = settings.reuse_prefixes and self.slots.can_be_cut
        self.drafter: Drafter | None = None
        if settings.n_guesses and self.slots.can_be_cut:
            self.drafter = NGramDrafter() if draft is None else ModelDrafter(draft, self.n_slots, self.max_len)
        is_cpu = next(iter(model.parameters())).device.type == "cpu"
        self.chunk = 512 if is_cpu else 4096  # tokens of prompts in a step: others wait no longer than that takes
        # Tokens of a guessed pass: with more the processor is busy, and guesses that fail are no longer free.
        self.max_guessed_width = 16 if is_cpu else 64
        self._clock, self._used = 0, [0] * self.n_slots  # when each slot was let go
        self._n_admitted = 0
        self._slid: list[Row] = []  # whose window has moved in this pass

    # Coming and going

    def submit(self, request: Request) -> list[Row]:
        """One row for each sample; they wait for slots."""
        self.check(request)
        group = Group()
        generators = row_generators(request.params, request.rows)
        rows = [Row(request, number, g, group) for number, g in zip(request.rows, generators, strict=True)]
        for row in rows:
            self.waiting.push(request.client, row)
        return rows

    def check(self, request: Request) -> None:
        """Refuses what no step could carry out; from any thread."""
        prompt, n_ids = request.prompt, self.n_ids or self.model.config.vocab_size
        if not prompt:
            raise ValueError("prompt: got no tokens; give at least one to begin with")
        if not request.rows:
            raise ValueError("n_samples: got 0, must be at least 1")
        if request.when_full == "stop" and len(prompt) >= self.max_len:
            told = f"prompt: got {len(prompt)} tokens, and there is room for {self.max_len} with the answer; shorten it"
            raise ValueError(told)
        for name, ids, n in (
            ("prompt", prompt, self.model.config.vocab_size),
            ("logit_bias", request.logit_bias, n_ids),
        ):
            if ids and (min(ids) < 0 or max(ids) >= n):
                raise ValueError(f"{name}: got ids from {min(ids)} to {max(ids)}, allowed: 0 to {n - 1}")

    def cancel(self, row: Row) -> None:
        if row.finish is None:
            if not row.has_slot:
                self.waiting.remove(row.request.client, row)
            self._leave(row, "cancelled")

    def reset(self) -> list[Row]:
        """After a step that broke off: running rows, which are returned, end, and nothing in the slots is believed."""
        broken = list(self.running)
        for row in broken:
            row.finish, row.slot, row.group.leader = "error", NO_SLOT, None
        self.running.clear()
        self._slid.clear()
        for slot in range(self.n_slots):
            self.slots.cut(slot, 0)
        return broken

    @property
    def is_idle(self) -> bool:
        return not self.running and not self.waiting

    def _admit(self) -> None:
        while self.waiting and len(self.running) < self.n_slots:
            row = self.waiting.pop()
            row.slot, row.turn = len(self.running), self._n_admitted
            self._n_admitted += 1
            if row.request.when_full == "slide":
                row.start = context_start(len(row.ids), self.max_len)
            self._take_slot(row, row.ids[row.start :])
            self.running.append(row)

    def _take_slot(self, row: Row, prompt: list[int]) -> None:
        """The first free slot, with as much of the prompt as any slot has. What others left there is kept elsewhere as
        long as there is room."""
        donor, n = self._longest_beginning(prompt) if self.is_reusing else (None, 0)
        if donor is not None and donor >= row.slot:  # nobody's any more
            self._swap(donor, row.slot)
        elif self.is_reusing:
            self._swap(row.slot, min(range(row.slot, self.n_slots), key=lambda slot: self._used[slot]))
        if donor is not None and donor < row.slot:
            self.slots.copy(donor, row.slot, n)
        else:
            self.slots.cut(row.slot, n)
        row.n_cached = n

    def _longest_beginning(self, prompt: list[int]) -> tuple[int | None, int]:
        """The slot that has the longest beginning of the prompt, all but its last token at most, and its length."""
        best, longest = None, 0
        for slot, tokens in enumerate(self.slots.tokens):
            if len(tokens) >= MIN_SHARED and tokens[:MIN_SHARED] == prompt[:MIN_SHARED]:
                n = _n_equal(tokens, prompt[:-1])
                if n > longest and n >= MIN_SHARED:
                    best, longest = slot, n
        return best, longest

    def _leave(self, row: Row, finish: Finish) -> None:
        """The last running row takes its slot, so that running rows are always the first ones."""
        row.finish = finish
        if not row.has_slot:
            return
        slot, last = row.slot, len(self.running) - 1
        if row.group.leader is row:
            row.group.leader = None  # if the prompt is not computed yet, another one does it
        self._swap(slot, last)
        self.running[slot] = self.running[last]
        self.running[slot].slot = slot
        self.running.pop()
        row.slot = NO_SLOT
        self._clock += 1
        self._used[last] = self._clock
        if not self.is_reusing:
            self.slots.cut(last, 0)

    def _swap(self, a: int, b: int) -> None:
        if a != b:
            self.slots.swap(a, b)
            self._used[a], self._used[b] = self._used[b], self._used[a]
            if self.drafter is not None:
                self.drafter.swap(a, b)

    # A step

    @torch.no_grad()
    def step(self) -> list[Event]:
        """What was drawn, in order; nothing if there is nothing to do."""
        self._admit()
        fresh = [row for row in self.running if self._n_to_feed(row) == 1]
        events = self._feed_prompts([row for row in self.running if self._n_to_feed(row) > 1])
        still = [row for row in fresh if row.finish is None]
        return events + (self._feed_last_tokens(still) if still else [])

    def _n_to_feed(self, row: Row) -> int:
        return len(row.ids) - row.start - len(self.slots.tokens[row.slot])

    def _feed_prompts(self, rows: list[Row]) -> list[Event]:
        budget, ready, found = self.chunk, list[Row](), list[Tensor]()
        batches = self._batches([row for row in rows if self._computes(row)])
        for batch in sorted(batches, key=lambda batch: min(row.turn for row in batch)):
            tokens = [row.ids[row.start + len(self._known(row)) :][: self.chunk] for row in batch]
            logits = self.slots.feed([row.slot for row in batch], tokens)
            for i, row in enumerate(batch):
                if self._n_to_feed(row) == 0:
                    complete = [row, *self._followers(row)]
                    ready += complete
                    found += [logits[i]] * len(complete)
            budget -= sum(map(len, tokens))
            if budget <= 0:
                break
        return self._draw(ready, torch.stack(found)) if ready else []

    def _batches(self, rows: list[Row]) -> Iterable[list[Row]]:
        """Rows whose tokens go through the model together: of like length, and few enough for a chunk."""
        batch: list[Row] = []
        for row in sorted(rows, key=self._n_to_feed):
            n = min(self._n_to_feed(row), self.chunk)
            widest = max(len(self._known(other)) + n for other in [*batch, row])
            fits = n * (len(batch) + 1) <= self.chunk and (n <= PAD or widest <= self.max_len)
            if batch and not (fits and n <= 1.25 * self._n_to_feed(batch[0]) + PAD):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _known(self, row: Row) -> list[int]:
        return self.slots.tokens[row.slot]

    def _computes(self, row: Row) -> bool:
        """Is it for this row to compute what it has not fed? Of the prompt of several rows only one does."""
        group = row.group
        if not group.is_computed and group.leader is None:
            group.leader = row
        return group.is_computed or group.leader is row

    def _followers(self, leader: Row) -> list[Row]:
        """The rows of the same request that have waited for its prompt, now where it is."""
        if leader.group.is_computed:
            return []
        leader.group.is_computed = True
        followers = [row for row in self.running if row.group is leader.group and row is not leader]
        for row in followers:
            self.slots.copy(leader.slot, row.slot, len(self._known(leader)))
            row.n_cached = len(self._known(leader))
        return followers

    def _feed_last_tokens(self, rows: list[Row]) -> list[Event]:
        rows = sorted(rows, key=lambda row: row.slot)
        guesses = self._guesses(rows)
        tokens = {row.slot: [row.ids[-1], *guess] for row, guess in zip(rows, guesses, strict=True)}
        slots = [row.slot for row in rows]
        if 2 * len(rows) >= len(self.running):  # a block of slots is a view of the cache, others would be copied
            slots = list(range(max(slots) + 1))
        every = any(guesses)
        logits = self.slots.feed(slots, [tokens.get(slot, []) for slot in slots], every)
        places = {slot: i for i, slot in enumerate(slots)}
        if not every:
            taken = logits if len(rows) == len(slots) else logits[[places[row.slot] for row in rows]]
            return self._draw(rows, taken)
        return self._check(rows, guesses, [places[row.slot] for row in rows], len(slots), logits)

    def _guesses(self, rows: list[Row]) -> list[list[int]]:
        n = min(self.settings.n_guesses, self.max_guessed_width // len(self.running) - 1)
        if self.drafter is None or n < 1:
            return [[] for _ in rows]
        asked = [row for row in rows if row.n_passes_off == 0 and self._is_worth_guessing(row)]
        found = self.drafter.propose([row.slot for row in asked], [row.ids[row.start :] for row in asked], n)
        guesses = {row.slot: guess for row, guess in zip(asked, found, strict=True)}
        for row in rows:
            row.n_passes_off = max(0, row.n_passes_off - 1)
        rooms = [max(0, self.max_len - (len(row.ids) - row.start)) for row in rows]
        return [guesses.get(row.slot, [])[:room] for row, room in zip(rows, rooms, strict=True)]

    def _is_worth_guessing(self, row: Row) -> bool:
        """Sampled text seldom repeats itself: n-grams are right too rarely there to pay (docs/benchmarks.md)."""
        return row.request.params.temperature == 0 or isinstance(self.drafter, ModelDrafter)

    def _check(
        self, rows: list[Row], guesses: list[list[int]], places: list[int], n_fed: int, logits: Tensor
    ) -> list[Event]:
        """Draws place by place from logits (B,T,V) for as long as what is drawn is what was guessed."""
        events: list[Event] = []
        kept, going = [0] * n_fed, list(range(len(rows)))
        for t in range(logits.size(1)):
            drawn = choose([rows[i] for i in going], logits[[places[i] for i in going], t, : self.n_ids])
            on = []
            for i, (token, scores) in zip(going, drawn, strict=True):
                kept[places[i]] = t + 1
                told = self._take(rows[i], token, scores)
                events += told
                has_right_guess = t < len(guesses[i]) and guesses[i][t] == token
                if has_right_guess and told[-1].finish is None and len(told) == 1:
                    on.append(i)
            going = on
            if not going:
                break
        for row, guess, place in zip(rows, guesses, places, strict=True):
            if guess:
                # Each that fails in a row doubles the time until the next: text may not repeat itself.
                row.n_wrong = 0 if kept[place] > 1 else min(row.n_wrong + 1, 6)
                row.n_passes_off = 2**row.n_wrong - 1
        self.slots.keep(kept)
        self._let_go(events)
        return events

    # Drawing

    def _draw(self, rows: list[Row], logits: Tensor) -> list[Event]:
        events: list[Event] = []
        for row, (token, scores) in zip(rows, choose(rows, logits[:, : self.n_ids]), strict=True):
            events += self._take(row, token, scores)
        self._let_go(events)
        return events

    def _take(self, row: Row, token: int, scores: Scores | None) -> list[Event]:
        """The row says `token`; if a tool answers, what it says follows at once."""
        request = row.request
        row.group.is_computed = True
        row.ids.append(token)
        row.n_drawn += 1
        if has_penalties(request.params):
            row.counts[token] = row.counts.get(token, 0) + 1
        finish: Finish | None = None
        forced: Sequence[int] = ()
        if token in request.stop_ids:
            finish = "stop"
        elif row.n_drawn >= request.params.max_new_tokens:
            finish = "length"
        elif request.interject is not None:
            forced = request.interject(row.written)
            row.ids += forced
        if finish is None and self._is_full(row):
            finish = "length"
        events = [Event(row, token, False, scores), *(Event(row, extra, is_forced=True) for extra in forced)]
        events[-1] = events[-1]._replace(finish=finish)
        return events

    def _is_full(self, row: Row) -> bool:
        """Has its text no room left? One that may slide forgets its oldest tokens instead."""
        n_seen = len(row.ids) - row.start
        if row.request.when_full == "stop":
            return n_seen >= self.max_len
        if n_seen > self.max_len:
            row.start = context_start(len(row.ids), self.max_len)
            self._slid.append(row)
        return False

    def _let_go(self, events: list[Event]) -> None:
        for event in events:
            row = event.row
            if event.finish is not None:
                self._leave(row, event.finish)
        for row in self._slid:
            if row.has_slot:
                self.slots.cut(row.slot, 0)  # every position is another one now, so all is computed anew
        self._slid.clear()


def context_start(n_tokens: int, block_size: int) -> int:
    """Index of the first of `n_tokens` that the model still sees; the window moves by a quarter of its length, because
    every move makes the cache worthless."""
    chunk = max(1, block_size // 4)
    return -(-max(0, n_tokens - block_size) // chunk) * chunk


def _n_equal(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning."""
    for n, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return n
    return min(len(a), len(b))


def _n_slots(models: Sequence[Network], max_len: int, settings: EngineSettings) -> int:
    each = sum(slot_bytes(model, min(max_len, model.config.block_size)) for model in models)
    free = _free_bytes(next(iter(models[0].parameters())).device) // 2
    allowed = free if settings.memory_gib is None else int(settings.memory_gib * 2**30)
    n = settings.n_slots or min(N_SLOTS, max(1, allowed // each))
    if n * each > 2 * free:
        raise ValueError(
            f"n_slots: got {n}, which take {n * each / 2**30:.3g} GiB with {max_len} tokens each; "
            f"allowed: {2 * free // each}, for which there is memory"
        )
    if n * each > allowed and settings.memory_gib is not None:
        raise ValueError(
            f"memory_gib: got {settings.memory_gib}, and {n} slots of {max_len} tokens take {n * each / 2**30:.3g}; "
            f"allowed: {allowed // each} slots"
        )
    return n


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():  # what is only a cache of files counts as free there
        return int(meminfo.read_text().partition("MemAvailable:")[2].split()[0]) * 1024
    return 8 * 2**30
