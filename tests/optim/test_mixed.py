import copy
import io
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanolit.optim.mixed import MixedOptimizer


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))


def mixed(model: nn.Sequential) -> MixedOptimizer:
    return MixedOptimizer([
        {"params": [model[0].weight], "kind": "muon", "lr": 0.02, "momentum_warmup_steps": 5, "momentum_start": 0.5},
        {"params": [model[0].bias, *model[2].parameters()], "kind": "adamw", "lr": 0.01, "weight_decay": 0.1},
    ])  # fmt: skip


def loss_at(model: nn.Module, step: int) -> Tensor:
    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(step))
    return F.mse_loss(model(x), x[:, :4].sin())


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        optimizer.zero_grad()
        loss = loss_at(model, step)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_adamw_equals_torch() -> None:
    model, twin = net(), net()
    settings: dict[str, Any] = {"betas": (0.8, 0.97), "eps": 1e-9}

    def groups(model: nn.Sequential) -> list[dict[str, Any]]:
        decayed = {"params": [model[0].weight, model[2].weight], "lr": 0.01, "weight_decay": 0.1}
        return [
            decayed | settings,
            {"params": [model[0].bias, model[2].bias], "lr": 0.03, "weight_decay": 0.0} | settings,
        ]

    ours = MixedOptimizer([{**group, "kind": "adamw"} for group in groups(model)])
    theirs = torch.optim.AdamW(groups(twin))
    train(model, ours, range(50))
    train(twin, theirs, range(50))
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-6)
        assert ours.state[p].keys() == theirs.state[q].keys()


def test_it_learns_and_a_saved_state_goes_on_bit_for_bit() -> None:
    model = net()
    optimizer = mixed(model)
    losses = train(model, optimizer, range(40))
    assert losses[-1] < 0.3 * losses[0]
    model, optimizer = net(), None
    optimizer = mixed(model)
    train(model, optimizer, range(3))  # in the middle of the momentum's warmup
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    saved = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    other = net()
    other.load_state_dict(saved["model"])
    resumed = mixed(other)
    resumed.load_state_dict(saved["optimizer"])
    assert train(other, resumed, range(3, 40)) == losses[3:]


def test_lambda_lr_drives_every_group() -> None:
    optimizer = mixed(net())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.005])


def test_grad_scaler_unscales_clips_and_skips_a_step_with_infinite_gradients() -> None:
    model, plain = net(), net()
    optimizer, reference = mixed(model), mixed(plain)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(6):
        before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
        optimizer.zero_grad()
        scaler.scale(loss_at(model, step)).backward()
        if step == 2:
            model[0].weight.grad[0, 0] = float("inf")
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        scaler.step(optimizer)
        scaler.update()
        if step == 2:
            torch.testing.assert_close(model.state_dict(), before[0], atol=0, rtol=0)
            torch.testing.assert_close(optimizer.state_dict()["state"], before[1]["state"], atol=0, rtol=0)
            assert optimizer.state_dict()["param_groups"] == before[1]["param_groups"]
            assert scaler.get_scale() == 512.0
            continue
        reference.zero_grad()
        loss_at(plain, step).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.05)
        reference.step()
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), atol=1e-6, rtol=1e-5)
    # Otherwise Lightning takes the optimizer for one that unscales by itself, and refuses to clip its gradients.
    assert not getattr(optimizer, "_step_supports_amp_scaling", False)


def test_step_runs_the_closure_with_gradients_and_returns_its_value() -> None:
    model, twin = net(), net()
    optimizer = mixed(model)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_at(model, 0)
        loss.backward()
        return loss

    assert [optimizer.step(closure).item()] == train(twin, mixed(twin), range(1))
    torch.testing.assert_close(model.state_dict(), twin.state_dict(), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"kind": "sgd"}, "kind is 'sgd', must be one of adamw, muon"),
        ({}, "kind is None, must be one of adamw, muon"),
        ({"kind": "adamw", "momentum": 0.9}, "momentum: no such setting of kind adamw"),
        ({"kind": "muon", "split": (3, 4)}, "muon takes matrices"),
    ],
)
def test_a_wrong_group_is_refused(group: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixedOptimizer([{"params": [nn.Parameter(torch.zeros(8, 4))], **group}])
    with pytest.raises(ValueError, match="muon takes matrices"):
        MixedOptimizer([{"params": [nn.Parameter(torch.zeros(8))], "kind": "muon"}])
