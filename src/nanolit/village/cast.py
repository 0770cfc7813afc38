"""Who and what a document is about: every role that a shape may use, as the forms of words that it may ask for.

A document's pattern names the hero and the friend, two children of different households. Their families, houses and
animals follow from the world; the seller, the wares, the day, the place and the other people are drawn per document,
such that nothing is odd: a child does not buy from its own parent, nor on the day on which the shop is closed.

    people    hero, friend, sibling, parent, friend_sibling, friend_parent, seller, elder, third
    animals   pet, friend_pet
    wares     item and other, both sold by the seller; deal: sums with the item
    the rest  place, day, village; pair: hero and friend compared
"""

from nanolit.village import world as w
from nanolit.village.draw import Draw
from nanolit.village.grammar import PRONOUNS, listing, number, pennies, plural, with_article
from nanolit.village.template import Cast, Forms

PAYMENTS = (5, 10, 15, 20)


class Casting:
    """All forms of all entities of a world, made once; `draw` then only picks among them."""

    def __init__(self, world: w.World) -> None:
        self.world = world
        self.names = tuple(world.children)
        self.places = [place_forms(place) for place in w.PLACES]
        self.days = {day: {"": day} for day in w.WEEKDAYS}
        self.people = {name: child_forms(world, child) for name, child in world.children.items()}
        self.people |= {name: grownup_forms(world, grownup) for name, grownup in world.grownups.items()}
        self.pets = {name: pet_forms(child) for name, child in world.children.items()}
        self.goods = {name: good_forms(good) for name, good in world.goods.items()}
        self.deals = {name: deals(good) for name, good in world.goods.items()}
        self._fixed: dict[tuple[str, str], Cast] = {}
        self._open_days = {
            name: [self.days[day] for day in world.open_days(grownup)] for name, grownup in world.grownups.items()
        }
        self._grownups = tuple(world.grownups.values())

    def can_meet(self, hero: str, friend: str) -> bool:
        """Hero and friend are two children who are not brother or sister."""
        return hero != friend and self.world.children[hero].sibling != friend

    def draw(self, hero: str, friend: str, draw: Draw) -> Cast:
        fixed = self._fixed.get((hero, friend))
        if fixed is None:
            fixed = self._fixed[hero, friend] = self._fix(hero, friend)
        cast = dict(fixed)
        kids, people = self.world.children, self.people
        family = (kids[hero].parent, kids[friend].parent)
        seller = elder = third = None
        while seller is None or seller.name in family:
            seller = draw.pick(self._grownups)
        while elder is None or elder == seller.name or elder in family:
            elder = draw.pick(self._grownups).name
        while third is None or kids[third].parent in family:
            third = draw.pick(self.names)
        first = draw.below(3)
        item = seller.goods[first].name
        cast["item"] = self.goods[item]
        cast["other"] = self.goods[seller.goods[(first + 1 + draw.below(2)) % 3].name]
        cast["deal"] = draw.pick(self.deals[item])
        cast["place"] = draw.pick(self.places)
        cast["day"] = draw.pick(self._open_days[seller.name])
        cast["seller"], cast["elder"], cast["third"] = people[seller.name], people[elder], people[third]
        return cast

    def _fix(self, hero: str, friend: str) -> Cast:
        one, two = self.world.children[hero], self.world.children[friend]
        people = self.people
        return {
            "hero": people[hero], "sibling": people[one.sibling], "parent": people[one.parent], "pet": self.pets[hero],
            "friend": people[friend], "friend_sibling": people[two.sibling], "friend_parent": people[two.parent],
            "friend_pet": self.pets[friend], "pair": pair_forms(self.world, one, two), "village": {"": w.VILLAGE},
        }  # fmt: skip


def _day_after(day: str) -> str:
    return w.WEEKDAYS[(w.WEEKDAYS.index(day) + 1) % len(w.WEEKDAYS)]


def place_forms(place: str) -> Forms:
    return {"": f"the {place}", "at": w.PLACES[place], "to": f"to the {place}"}


def _home_forms(world: w.World, house: str) -> dict[str, str]:
    return {
        "home": f"the {house}",
        "at_home": f"{w.HOUSES[house]} the {house}",
        "near": w.PLACES[world.house_near[house]],
    }


def child_forms(world: w.World, child: w.Child) -> Forms:
    girl = child.gender == "she"
    return {
        "": child.name,
        **PRONOUNS[child.gender],
        **_home_forms(world, child.house),
        "kind": "girl" if girl else "boy",
        "sib": "sister" if girl else "brother",
        "heir": "daughter" if girl else "son",
        "age": number(child.age),
        "best": child.best_friend,
        "pet": child.pet.name,
        "pet_kind": child.pet.kind,
        "a_pet": with_article(f"{child.pet.colour} {child.pet.kind}"),
        "food": child.food,
        "hobby": child.hobby,
        "hobbying": w.HOBBIES[child.hobby],
        "fear": child.fear,
        "treasure": child.treasure,
        "a_treasure": with_article(child.treasure),
    }


def grownup_forms(world: w.World, grownup: w.Grownup) -> Forms:
    preposition, shop, _ = w.TRADES[grownup.trade]
    woman = grownup.gender == "she"
    return {
        "": grownup.name,
        **PRONOUNS[grownup.gender],
        **_home_forms(world, grownup.house),
        "full": f"{grownup.name} the {grownup.trade}",
        "mother": "mother" if woman else "father",
        "trade": grownup.trade,
        "a_trade": with_article(grownup.trade),
        "shop": f"the {shop}",
        "at_shop": f"{preposition} the {shop}",
        "closed": grownup.closed_on,
        "reopens": _day_after(grownup.closed_on),
        "wares": listing([plural(good.name) for good in grownup.goods]),
        "prices": listing([f"{with_article(good.name)} costs {pennies(good.price)}" for good in grownup.goods]),
        "children": listing(grownup.children),
    }


def pet_forms(child: w.Child) -> Forms:
    pet = child.pet
    sound, went, food, bed = w.ANIMALS[pet.kind]
    return {
        "": pet.name, **PRONOUNS[pet.gender], "kind": pet.kind, "a": with_article(pet.kind), "colour": pet.colour,
        "owned": f"{child.name}'s {pet.colour} {pet.kind}", "sound": sound, "went": went, "food": food, "bed": bed,
    }  # fmt: skip


def good_forms(good: w.Good) -> Forms:
    return {
        "": good.name, "a": with_article(good.name), "plural": plural(good.name), "price": pennies(good.price),
        "number": number(good.price), "short": pennies(good.price - 1),
    }  # fmt: skip


def deals(good: w.Good) -> list[Forms]:
    """Ways to buy two, three or four with sums up to twenty, and for two children to share the price of one."""
    result: list[Forms] = []
    for count in (2, 3, 4):
        total = count * good.price
        for paid in PAYMENTS:
            for share in range(1, good.price):
                if total < paid <= 20:
                    result.append(
                        {
                            "count": number(count), "total": pennies(total), "paid": pennies(paid),
                            "change": pennies(paid - total), "share": pennies(share),
                            "rest": pennies(good.price - share),
                        }
                    )  # fmt: skip
    return result


def pair_forms(world: w.World, one: w.Child, two: w.Child) -> Forms:
    years = one.age - two.age
    older, younger = (one, two) if years >= 0 else (two, one)
    gap = f"{number(abs(years))} year{'' if abs(years) == 1 else 's'}"
    ages = f"{older.name} is {gap} older than {younger.name}"
    best = ", and ".join(f"the best friend of {child.name} is {child.best_friend}" for child in (one, two))
    return {
        "ages": f"{one.name} and {two.name} are the same age" if years == 0 else ages,
        "best": f"{one.name} and {two.name} are best friends" if one.best_friend == two.name else best,
    }
