import pytest
from torch import nn

from nanolit.optim.groups import Rule, group_parameters


def model() -> nn.Module:
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3))


def test_each_parameter_is_in_the_group_of_the_first_rule_that_matches() -> None:
    net = model()
    rules = [
        Rule("embedding", {"lr": 1.0}, r"^0\."),
        Rule("matrices", {"lr": 2.0}, matrix=True),
        Rule("nothing", {"lr": 3.0}, "absent", optional=True),
        Rule("rest", {"lr": 4.0}),
    ]
    groups = group_parameters(net.named_parameters(), rules)
    assert [(group["name"], group["lr"]) for group in groups] == [("embedding", 1.0), ("matrices", 2.0), ("rest", 4.0)]
    ids = [[id(p) for p in group["params"]] for group in groups]
    assert ids == [[id(net[0].weight)], [id(net[1].weight)], [id(net[1].bias), id(net[2].weight), id(net[2].bias)]]


def test_frozen_parameters_are_in_no_group() -> None:
    net = model()
    net[0].weight.requires_grad_(False)
    groups = group_parameters(net.named_parameters(), [Rule("all")])
    assert all(p is not net[0].weight for p in groups[0]["params"]) and len(groups[0]["params"]) == 4


def test_a_parameter_without_a_rule_is_named() -> None:
    with pytest.raises(ValueError, match=r"no rule matches parameter 1\.bias \(3,\)"):
        group_parameters(model().named_parameters(), [Rule("matrices", matrix=True)])


@pytest.mark.parametrize(
    "rules", [[Rule("mine", {}, "blocks"), Rule("rest")], [Rule("rest"), Rule("mine", {}, "bias")]]
)
def test_a_rule_that_matches_nothing_is_named(rules: list[Rule]) -> None:
    with pytest.raises(ValueError, match="rule 'mine'"):
        group_parameters(model().named_parameters(), rules)
