from itertools import product

import pytest

from nanolit.village import corpus
from nanolit.village import world as w
from nanolit.village.cast import Casting, deals
from nanolit.village.draw import Draw
from nanolit.village.grammar import NUMBERS

VALUE = {f"{word} penn{'y' if n == 1 else 'ies'}": n for n, word in enumerate(NUMBERS)}


@pytest.fixture(scope="module")
def casting() -> Casting:
    return Casting(w.World(5))


def pairs(casting: Casting) -> list[tuple[str, str]]:
    return [pair for pair in product(casting.names, repeat=2) if casting.can_meet(*pair)]


def test_hero_and_friend_are_of_different_households(casting):
    assert len(pairs(casting)) == 28 * 26
    assert all(casting.world.children[a].parent != casting.world.children[b].parent for a, b in pairs(casting))


def test_nobody_plays_two_parts(casting):
    for seed, (hero, friend) in enumerate(pairs(casting)):
        cast = casting.draw(hero, friend, Draw(seed))
        people = [forms[""] for role, forms in cast.items() if "mother" in forms or "sib" in forms]
        assert len(people) == 9
        assert len(set(people)) == 9


def test_shops_are_open_on_the_day_and_sell_what_is_asked_for(casting):
    for seed in range(500):
        cast = casting.draw("Mira", casting.world.children["Mira"].best_friend, Draw(seed))
        seller = casting.world.grownups[cast["seller"][""]]
        assert cast["day"][""] != seller.closed_on
        assert cast["item"] is not cast["other"]
        assert {cast["item"][""], cast["other"][""]} <= {good.name for good in seller.goods}


def test_every_sum_is_right(casting):
    for good in casting.world.goods.values():
        found = deals(good)
        assert found, good
        for deal in found:
            total = NUMBERS.index(deal["count"]) * good.price
            assert VALUE[deal["total"]] == total
            assert VALUE[deal["paid"]] - VALUE[deal["change"]] == total
            assert VALUE[deal["share"]] + VALUE[deal["rest"]] == good.price


def test_every_shape_is_castable_and_every_role_is_known(casting):
    hero, friend = pairs(casting)[0]
    cast = casting.draw(hero, friend, Draw(0))
    for name, template in corpus.default_writer().shapes.items():
        assert template.roles <= set(cast), name
        assert {"hero", "friend"} <= template.roles, f"{name} must name hero and friend: they are its fact pattern"
