"""One number for several tasks: the mean of their centred scores. ChatCORE is nanochat's, of its six tasks and nothing
else; the village's mean is of another kind, and has another name.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from nanolit.evals.score import Score

CHAT_CORE = ("arc_easy", "arc_challenge", "mmlu", "gsm8k", "humaneval", "spelling_bee")
VILLAGE = ("village_quiz", "village_math", "spelling", "village_chat", "village_code")


@dataclass(frozen=True)
class Mean:
    name: str
    value: float | None  # None: it has not all that it needs
    told: str  # of which tasks, or what is missing


def means(scores: Mapping[str, Score], sliced: Collection[str] = ()) -> list[Mean]:
    """`scores`: of each task its first; `sliced`: tasks of which only a part was asked."""
    found = [_chat_core(scores, sliced)] if any(name in scores for name in CHAT_CORE) else []
    village = [name for name in VILLAGE if name in scores]
    if len(village) > 1:
        found.append(Mean("village mean", _mean([scores[name] for name in village]), f"of {', '.join(village)}"))
    return found


def _chat_core(scores: Mapping[str, Score], sliced: Collection[str]) -> Mean:
    missing = [name for name in CHAT_CORE if name not in scores]
    other = [name for name in CHAT_CORE if name not in missing and _is_other(scores[name])]
    if missing or other:
        told = ([f"also {', '.join(missing)}"] if missing else []) + (
            [f"chats without shots at one answer: not so {', '.join(other)}"] if other else []
        )
        return Mean("ChatCORE", None, f"needs {' and '.join(told)}")
    parts = [name for name in CHAT_CORE if name in sliced]
    note = f"of slices of {', '.join(parts)}" if parts else "of its six tasks, whole"
    return Mean("ChatCORE", _mean([scores[name] for name in CHAT_CORE]), note)


def _is_other(score: Score) -> bool:
    return score.shots > 0 or not score.template.startswith("chat")


def _mean(scores: Sequence[Score]) -> float:
    return sum(score.centred for score in scores) / len(scores)
