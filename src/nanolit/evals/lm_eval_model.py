"""Our models for EleutherAI's lm-eval: its tasks, its prompts and its scores, computed by our networks and our engine.
Imported only when somebody asks for it: it needs the package (extra `eval`).

B rows   T tokens
"""

import logging
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lm_eval import simple_evaluate
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from nanolit.evals.generative import Question, write_answers
from nanolit.inference.params import SamplingParams
from nanolit.inference.text import before_stop
from nanolit.models.network import Network
from nanolit.runtime.seeds import derive
from nanolit.runtime.suggest import suggest
from nanolit.tokenizers.chat import (
    ASSISTANT_END,
    BOS,
    REMEDY,
    chat_template,
    has_chat_tokens,
    render,
    render_prompt,
    text_said,
)
from nanolit.tokenizers.protocol import Tokenizer

GENERATION = ("until", "do_sample", "temperature", "top_k", "top_p", "max_gen_toks")  # what our engine knows of it
Tell = Callable[[str, int, int], None]  # what is done, how much of it, and of how much


class LanguageModel(TemplateLM):
    """`max_length`, `tok_encode` and the like are lm-eval's names."""

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        batch_size: int = 8,
        seed: int = 1337,
        tell: Tell = lambda what, n_done, n_all: None,
    ) -> None:
        super().__init__()
        self.network, self.ours, self.batch_size, self.seed, self.tell = network, tokenizer, batch_size, seed, tell
        self._device = next(iter(network.parameters())).device
        self.max_length = network.config.block_size
        names = "|".join(re.escape(name) for name in tokenizer.specials)
        self._special = re.compile(f"({names})")

    # Text

    @property
    def eot_token_id(self) -> int:
        token = self.ours.eot_id if self.ours.bos_id is None else self.ours.bos_id
        if token is None:
            raise ValueError("lm_eval: this tokenizer has no token for a text to begin after; take another model")
        return token

    @property
    def tokenizer_name(self) -> str:
        return f"nanolit_{self.ours.fingerprint[:16]}"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **more: Any) -> list[int]:
        if self._is_chat(string):
            specials, parts = self.ours.specials, self._special.split(string)
            return [t for p in parts for t in ([specials[p]] if p in specials else self.ours.encode(p) if p else [])]
        before = [] if self.ours.bos_id is None or add_special_tokens is False else [self.ours.bos_id]
        return before + self.ours.encode(string)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        return _template() if chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        if not has_chat_tokens(self.ours):
            raise ValueError(f"template: got chat, but this tokenizer has no chat tokens; {REMEDY}")
        conversation: Any = chat_history
        if add_generation_prompt:
            return self._spelt(render_prompt(conversation, self.ours))
        return self._spelt(render(conversation, self.ours).ids[:-1].tolist())  # its last message is to go on

    def _spelt(self, ids: Sequence[int]) -> str:
        """As text in which special tokens are names."""
        names, told, text = {token: name for name, token in self.ours.specials.items()}, [], list[int]()
        for token in [*ids, -1]:
            if token in names or token == -1:
                told += [self.ours.decode(text), names.get(token, "")]
                text = []
            else:
                text.append(token)
        return "".join(told)

    # Scores

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **more: Any
    ) -> list[tuple[float, bool]]:
        """Of each continuation, and whether it would be said. A context that is too long loses its beginning."""
        rows = [((context + rest)[-(self.max_length + 1) :], len(rest)) for _, context, rest in requests]
        if too_long := [n for ids, n in rows if n >= len(ids)]:
            raise ValueError(
                f"lm_eval: an answer has {too_long[0]} tokens, and the model reads {self.max_length} with what is "
                "before; leave the task out"
            )
        found: list[tuple[float, bool]] = [(0.0, True)] * len(rows)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            for i, one in zip(batch, self._score([rows[i] for i in batch]), strict=True):
                found[i] = one
            self.tell("likelihoods", start + len(batch), len(rows))
        for (strings, _, _), scored in zip(requests, found, strict=True):
            if strings is not None:
                self.cache_hook.add_partial("loglikelihood", strings, scored)
        return found

    @torch.no_grad()
    def _score(self, rows: Sequence[tuple[list[int], int]]) -> list[tuple[float, bool]]:
        width = max(len(ids) for ids, _ in rows) - 1
        inputs = torch.zeros(len(rows), width, dtype=torch.long)  # (B, T), padded to the right: it is causal
        targets = torch.full((len(rows), width), -1)  # (B, T)
        for row, (tokens, n) in enumerate(rows):
            last = len(tokens) - 1
            inputs[row, :last] = torch.tensor(tokens[:-1])
            targets[row, last - n : last] = torch.tensor(tokens[-n:])
        nll, correct = self.network.score(inputs.to(self._device), targets.to(self._device))  # (B, T)
        nats, n_right = nll.double().sum(dim=1).tolist(), correct.sum(dim=1).tolist()
        if any(math.isnan(value) for value in nats):
            raise ValueError("model: gives an answer no likelihood but NaN; its weights are damaged, get them anew")
        return [(-value, right == n) for value, right, (_, n) in zip(nats, n_right, rows, strict=True)]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """Of whole texts, in windows without overlap, each token seen after as much as fits."""
        windows, owners = [], []
        for owner, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            for pair in get_rolling_token_windows(ids, self.eot_token_id, self.max_length, context_len=1):
                windows.append((None, *make_disjoint_window(pair)))
                owners.append(owner)
        totals = [0.0] * len(requests)
        for owner, (value, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            totals[owner] += value
        return totals

    # Answers

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        questions = [self._question(i, *request.args) for i, request in enumerate(requests)]
        written = write_answers(
            self.network,
            self.ours,
            questions,
            self.batch_size,
            lambda n_done: self.tell("answers", n_done, len(questions)),
        )
        said = [
            self._said(request.args[0], a.ids, q) for request, [a], q in zip(requests, written, questions, strict=True)
        ]
        for request, text in zip(requests, said, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, text)
        return said

    def _question(self, index: int, context: str, wishes: dict[str, Any]) -> Question:
        known = normalize_gen_kwargs(wishes)
        for name, value in known.items():
            if name not in GENERATION:
                raise ValueError(
                    f"lm_eval: a task wants {name}={value}, allowed: {', '.join(GENERATION)}; leave it out"
                )
        n_new, until = known["max_gen_toks"], tuple(text for text in known["until"] if text)
        params = SamplingParams(n_new, known["temperature"], known.get("top_k"), known.get("top_p"), stop=until)
        room = self.max_length - min(n_new, self.max_length // 2)
        ends = [self.ours.eot_id, self.ours.specials.get(ASSISTANT_END) if self._is_chat(context) else None]
        return Question(
            self.tok_encode(context)[-room:] or [self.eot_token_id],
            replace(params, seed=derive(self.seed, "lm_eval", index) % 2**62),
            frozenset(token for token in ends if token is not None),
        )

    def _said(self, context: str, ids: Sequence[int], question: Question) -> str:
        specials = set(self.ours.specials.values())
        plain = self.ours.decode(token for token in ids if token not in specials)
        text = text_said(ids, self.ours) if self._is_chat(context) else plain
        return before_stop(text, question.params.stop)

    def _is_chat(self, context: str) -> bool:
        """What our template has written begins with a special token; elsewhere the names of these are text."""
        return context.startswith(BOS) and has_chat_tokens(self.ours)


_template = chat_template  # a method of the class has its name


def run_tasks(
    model: LanguageModel, names: Sequence[str], path: Path | None, limit: int | None, as_chat: bool, shots: int | None
) -> dict[str, Any]:
    """What lm-eval says of `names`, its own tasks or those of YAML files in `path`. `shots` None: as each task says."""
    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    if path is not None and not path.is_dir():
        raise ValueError(f"lm_eval_path: {path} is no folder; give one with YAML files of tasks")
    tasks = TaskManager(include_path=path, include_defaults=False) if path else None
    if tasks is None or any(name not in tasks.all_tasks for name in names):  # reading all of its own takes a while
        tasks = TaskManager(include_path=path)
    for name in names:
        if name not in tasks.all_tasks:
            raise ValueError(f"lm_eval: got {name}; {suggest(name, tasks.all_tasks, otherwise='see lm-eval ls tasks')}")
    found = simple_evaluate(
        model,
        tasks=list(names),
        task_manager=tasks,
        num_fewshot=shots,
        limit=limit,
        apply_chat_template=as_chat,
        bootstrap_iters=1000,
    )
    assert found is not None, "only further processes are told nothing"
    return found


def scores_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """One for each metric of each task."""
    scores = []
    for task, values in found["results"].items():
        for key, value in values.items():
            metric, comma, filter_name = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            error = values.get(f"{metric}_stderr,{filter_name}")
            scores.append(
                {
                    "task": task,
                    "metric": metric if filter_name == "none" else f"{metric} ({filter_name})",
                    "value": value,
                    "standard_error": error if isinstance(error, float) and not math.isnan(error) else None,
                    "n": found["n-samples"].get(task, {}).get("effective"),
                    "shots": found["n-shot"].get(task),
                    "version": found["versions"].get(task),
                    "prompt_hash": found.get("task_hashes", {}).get(task),
                }
            )
    return scores


def items_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Every item with what was said; `resps` of likelihoods: of every choice, and whether it would be said."""
    kept = ("doc", "target", "arguments", "resps", "filtered_resps")
    return [
        {"task": f"lm_eval/{task}", "index": sample["doc_id"], **{key: sample[key] for key in kept}}
        for task, samples in found["samples"].items()
        for sample in samples
    ]
