"""MixedOptimizer: one torch optimizer whose groups are tagged by kind, `muon` or `adamw`.

One object, because Lightning's automatic optimization drives one, so that precision, clipping, accumulation and
strategies stay the Trainer's. It does not unscale gradients itself (`_step_supports_amp_scaling` stays unset): a fused
torch.optim.AdamW does, and Lightning therefore refuses to clip its gradients in mixed precision. A step waits for no
device.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from nanolit.optim import muon

ADAMW_DEFAULTS: dict[str, Any] = {
    "lr": 1e-3,
    "weight_decay": 0.0,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "fused": True,  # torch reads it when loading a state: fused steps are counted on the parameter's device
}
DEFAULTS = {"adamw": ADAMW_DEFAULTS, "muon": muon.DEFAULTS}


def adamw_step(group: Mapping[str, Any], state: Mapping[Tensor, dict[str, Any]]) -> None:
    """One step of torch's fused AdamW kernel over the whole group."""
    params = [p for p in group["params"] if p.grad is not None]
    for p in params:
        if not state[p]:
            state[p]["step"] = torch.zeros((), device=p.device)
            state[p]["exp_avg"] = torch.zeros_like(p)
            state[p]["exp_avg_sq"] = torch.zeros_like(p)
    adamw(
        params,
        [p.grad for p in params],
        [state[p]["exp_avg"] for p in params],
        [state[p]["exp_avg_sq"] for p in params],
        [],
        [state[p]["step"] for p in params],
        fused=True,
        amsgrad=False,
        maximize=False,
        lr=group["lr"],
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
    )


STEPS: dict[str, Callable[..., None]] = {"adamw": adamw_step, "muon": muon.muon_step}


class MixedOptimizer(torch.optim.Optimizer):
    """Takes parameter groups as torch.optim does; each says its `kind` and the settings that differ from DEFAULTS."""

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(groups, {})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Checks a group, completes it by the defaults of its kind, and adds it."""
        kind, name = param_group.get("kind"), param_group.get("name", len(self.param_groups))
        if kind not in DEFAULTS:
            raise ValueError(f"optimizer group {name}: kind is {kind!r}, must be one of {', '.join(DEFAULTS)}")
        if unknown := param_group.keys() - DEFAULTS[kind].keys() - {"params", "kind", "name"}:
            raise ValueError(
                f"optimizer group {name}: {', '.join(sorted(unknown))}: no such setting of kind {kind}; "
                f"allowed: {', '.join(DEFAULTS[kind])}"
            )
        super().add_param_group({**DEFAULTS[kind], **param_group})
        if kind == "muon":
            for p in self.param_groups[-1]["params"]:
                if p.dim() != 2 or p.size(0) != sum(self.param_groups[-1]["split"] or (p.size(0),)):
                    raise ValueError(
                        f"optimizer group {name}: muon takes matrices whose rows are the sum of `split`; got shape "
                        f"{tuple(p.shape)}, split {self.param_groups[-1]['split']}; move it to an adamw group"
                    )

    def take_state(self, other: Mapping[str, Any]) -> None:
        """Moments and counts of steps of another optimizer of the same parameters; the settings stay this one's."""
        own = self.state_dict()["param_groups"]
        groups = [(group["kind"], group["params"]) for group in own]
        if groups != [(group.get("kind"), group["params"]) for group in other["param_groups"]]:
            raise ValueError(
                "optimizer_state=kept: the parent's optimizer has other groups of parameters; give its optimizer= and "
                "model, or optimizer_state=fresh"
            )
        for group, theirs in zip(own, other["param_groups"], strict=True):
            if "step" in group:  # muon counts in the group: with it the momentum's warmup is over, as in the parent
                group["step"] = theirs["step"]
        self.load_state_dict({"state": other["state"], "param_groups": own})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every group; returns what `closure` (run first, with gradients) returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            STEPS[group["kind"]](group, self.state)
        return loss
