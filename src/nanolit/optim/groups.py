"""Parameter groups by rule over named parameters, in the format of torch.optim; it does not know what the model is."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Rule:
    """Which parameters form a group, and how that group is trained."""

    name: str  # names the group in errors and logs
    settings: dict[str, Any] = field(default_factory=dict)  # kind, lr, ... as MixedOptimizer takes them
    pattern: str = ""  # searched in the parameter's name
    matrix: bool | None = None  # only two-dimensional and larger parameters, or only smaller ones
    optional: bool = False  # matching nothing is no mistake

    def matches(self, name: str, parameter: Tensor) -> bool:
        return self.matrix in (None, parameter.dim() >= 2) and re.search(self.pattern, name) is not None


def group_parameters(named_parameters: Iterable[tuple[str, Tensor]], rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Puts each trainable parameter into the group of the first rule that matches it; nothing may be left over."""
    rules = list(rules)
    members: dict[str, list[Tensor]] = {rule.name: [] for rule in rules}
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        rule = next((rule for rule in rules if rule.matches(name, parameter)), None)
        if rule is None:
            raise ValueError(f"optimizer: no rule matches parameter {name} {tuple(parameter.shape)}; add one that does")
        members[rule.name].append(parameter)
    for rule in rules:
        if not members[rule.name] and not rule.optional:
            raise ValueError(
                f"optimizer: rule {rule.name!r} (pattern {rule.pattern!r}) matches no parameter that an earlier rule "
                "left over; correct the pattern or drop the rule"
            )
    return [{"params": members[rule.name], "name": rule.name, **rule.settings} for rule in rules if members[rule.name]]
