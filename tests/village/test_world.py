import pytest

from nanolit.village import world as w
from nanolit.village.world import World, default_world


@pytest.fixture(params=[w.DEFAULT_SEED, 0, 1, 99], ids=lambda seed: f"seed{seed}")
def world(request) -> World:
    return World(request.param)


def test_the_same_seed_gives_the_same_world():
    assert World(3).children == World(3).children
    assert World(3).grownups == World(3).grownups
    assert World(3).children != World(4).children


def test_families_agree(world):
    for child in world.children.values():
        sibling, parent = world.children[child.sibling], world.grownups[child.parent]
        assert sibling.sibling == child.name != sibling.name
        assert child.house == sibling.house == parent.house
        assert set(parent.children) == {child.name, sibling.name}
        assert child.age != sibling.age
        assert 6 <= child.age <= 11


def test_best_friends_are_mutual_and_of_another_household(world):
    for child in world.children.values():
        assert world.children[child.best_friend].best_friend == child.name
        assert child.best_friend not in (child.name, child.sibling)


def test_nobody_shares_a_house_a_trade_a_treasure_or_the_name_of_an_animal(world):
    grownups, children = world.grownups.values(), world.children.values()
    assert len(children) == 28
    for values in (
        [grownup.house for grownup in grownups],
        [grownup.trade for grownup in grownups],
        [child.treasure for child in children],
        [child.pet.name for child in children],
        [*world.grownups, *world.children, *(child.pet.name for child in children), w.VILLAGE],
    ):
        assert len(set(values)) == len(values)


def test_every_ware_has_one_seller_and_a_price_within_its_range(world):
    for grownup in world.grownups.values():
        for good in grownup.goods:
            low, high = w.TRADES[grownup.trade][2][good.name]
            assert low <= good.price <= high
            assert world.goods[good.name] is good
            assert good.seller == grownup.name
    assert len(world.goods) == 3 * len(w.TRADES)


def test_every_price_can_be_short_by_a_penny_and_be_shared_by_two():
    assert all(low >= 2 for _, _, goods in w.TRADES.values() for low, _ in goods.values())


def test_a_shop_is_closed_on_one_day(world):
    for grownup in world.grownups.values():
        assert set(w.WEEKDAYS) - set(world.open_days(grownup)) == {grownup.closed_on}


def test_the_default_world_puts_houses_where_their_names_say():
    near = default_world().house_near
    assert near["windmill"] == "hill"
    assert near["bridge house"] == "stone bridge"
    assert near["forest lodge"] == "wood"
    assert near["boathouse"] in ("pond", "river", "mill stream")
