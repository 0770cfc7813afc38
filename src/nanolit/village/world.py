"""The village of Thimbleford: who lives where, keeps which animal, is whose sister, sells what at which price.

A `World` is facts only, drawn once from its seed; it knows nothing of sentences. Fourteen households, each with one
grown-up who has a trade, and two children. Whatever writes about the village reads the same object, so that no two
documents contradict each other.
"""

from dataclasses import dataclass
from functools import cache

from nanolit.village.draw import Draw
from nanolit.village.grammar import Gender

VILLAGE = "Thimbleford"
# The smallest seed that puts boathouse, bridge house, windmill and forest lodge where they belong.
DEFAULT_SEED = 2127
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

GIRLS = (
    "Mira", "Tilda", "Ines", "Petra", "Wren", "Hazel", "Juno",
    "Lotte", "Ada", "Nell", "Suki", "Greta", "Olive", "Yara",
)  # fmt: skip
BOYS = (
    "Tomas", "Otto", "Finn", "Jory", "Bram", "Milo", "Hugo",
    "Pip", "Ravi", "Sam", "Leo", "Nils", "Kofi", "Emil",
)  # fmt: skip
WOMEN = ("Agatha", "Brida", "Dorit", "Hanna", "Marta", "Selma", "Ulla")
MEN = ("Albin", "Conrad", "Ivo", "Jonas", "Rufus", "Stefan", "Viktor")

# Outdoor places: name, the phrase for being there.
PLACES = {
    "pond": "by the pond", "river": "by the river", "meadow": "in the meadow", "wood": "in the wood",
    "hill": "on the hill", "village green": "on the village green", "orchard": "in the orchard",
    "stone bridge": "by the stone bridge", "old well": "by the old well", "hollow oak": "by the hollow oak",
    "sand pit": "in the sand pit", "mill stream": "by the mill stream",
}  # fmt: skip
# Houses: name, the preposition that goes with it.
HOUSES = {
    "windmill": "in", "round tower": "in", "boathouse": "in", "hill farm": "at", "bridge house": "in",
    "old station": "at", "ivy cottage": "in", "red barn": "in", "toll house": "in", "forest lodge": "at",
    "brick house": "in", "corner house": "in", "gatehouse": "in", "yellow cottage": "in",
}  # fmt: skip
# Trades: the place of work after its preposition, and three goods with their lowest and highest price in pennies.
TRADES: dict[str, tuple[str, str, dict[str, tuple[int, int]]]] = {
    "baker": ("in", "bakery", {"loaf of bread": (2, 4), "currant bun": (2, 3), "plum tart": (3, 6)}),
    "smith": ("at", "forge", {"iron hook": (2, 4), "copper pan": (6, 9), "horseshoe": (3, 5)}),
    "carpenter": ("in", "workshop", {"wooden spoon": (2, 3), "stool": (6, 9), "picture frame": (4, 6)}),
    "potter": ("in", "pottery", {"clay bowl": (3, 5), "milk jug": (4, 7), "flower pot": (2, 4)}),
    "weaver": ("in", "loom house", {"blanket": (7, 9), "small rug": (5, 8), "willow basket": (3, 6)}),
    "cobbler": ("in", "shoe shop", {"pair of boots": (8, 9), "pair of slippers": (5, 7), "leather belt": (3, 5)}),
    "fisher": ("at", "fish hut", {"smoked eel": (3, 5), "fish cake": (2, 3), "pail of crabs": (4, 7)}),
    "beekeeper": ("in", "honey house", {"jar of honey": (4, 7), "honey biscuit": (2, 3), "wax candle": (2, 5)}),
    "gardener": ("in", "greenhouse", {"cabbage": (2, 4), "bunch of carrots": (2, 3), "pumpkin": (4, 7)}),
    "cheesemaker": ("in", "dairy", {"wheel of cheese": (6, 9), "pot of butter": (3, 5), "jug of cream": (2, 4)}),
    "tailor": ("in", "sewing room", {"woollen cap": (3, 6), "apron": (4, 6), "pair of mittens": (4, 7)}),
    "bookseller": ("in", "bookshop", {"picture book": (5, 8), "map": (3, 5), "pencil": (2, 3)}),
    "toymaker": ("in", "toy shop", {"kite": (4, 7), "wooden horse": (6, 9), "spinning top": (2, 4)}),
    "fruit seller": ("at", "fruit stall", {"basket of plums": (3, 5), "melon": (4, 6), "bag of nuts": (2, 4)}),
}

# Animals: what each says, how it goes, what it eats, where it sleeps.
ANIMALS = {
    "dog": ("barked", "ran", "a bone", "by the stove"),
    "cat": ("meowed", "crept", "a bit of fish", "on the window sill"),
    "hen": ("clucked", "strutted", "a handful of corn", "in a box of straw"),
    "duck": ("quacked", "waddled", "a crust of bread", "in an old wash tub"),
    "goat": ("bleated", "skipped", "a heap of hay", "in the shed"),
    "pony": ("neighed", "trotted", "an apple", "in the stable"),
    "rabbit": ("squeaked", "hopped", "a lettuce leaf", "in a wooden hutch"),
    "donkey": ("brayed", "plodded", "a carrot", "under the porch"),
    "goose": ("honked", "marched", "a bowl of oats", "behind the woodpile"),
    "lamb": ("baaed", "bounced", "a bottle of milk", "on a sack of wool"),
    "pig": ("grunted", "rolled", "a pail of peelings", "in the mud"),
    "mouse": ("peeped", "scurried", "a crumb of cheese", "in a matchbox"),
    "owl": ("hooted", "flapped", "a bit of meat", "on top of the cupboard"),
    "tortoise": ("sneezed", "crawled", "a dandelion", "in a pile of leaves"),
}
SMALL_ANIMALS = frozenset({"cat", "hen", "duck", "rabbit", "mouse", "tortoise", "owl", "lamb"})
ANIMAL_NAMES = (
    "Biscuit", "Pepper", "Button", "Clover", "Mop", "Pudding", "Acorn", "Thistle", "Bramble", "Crumb",
    "Dumpling", "Fidget", "Gravel", "Hiccup", "Jam", "Kettle", "Lentil", "Muffin", "Noodle", "Onion", "Pickle",
    "Quill", "Radish", "Soot", "Toffee", "Turnip", "Velvet", "Whisker",
)  # fmt: skip
COLOURS = (
    "brown", "white", "black", "grey", "spotted", "ginger", "speckled",
)  # fmt: skip

FOODS = (
    "plum cake", "onion soup", "cherry pie", "pea soup", "honey toast", "pancakes", "mushroom stew", "gingerbread",
    "buttered corn", "rice pudding", "cheese dumplings", "baked potatoes", "raspberry jam", "noodle soup",
)  # fmt: skip
# Hobbies: the verb, the verb in -ing.
HOBBIES = {
    "paint": "painting", "whistle": "whistling", "climb trees": "climbing trees", "count stars": "counting stars",
    "tell jokes": "telling jokes", "dance": "dancing", "sing": "singing", "draw maps": "drawing maps",
    "build dams": "building dams", "knit": "knitting", "juggle": "juggling", "draw birds": "drawing birds",
    "skip stones": "skipping stones", "collect leaves": "collecting leaves",
}  # fmt: skip
FEARS = ("thunder", "the dark", "deep water", "loud bells", "spiders", "high ladders", "moths")
TREASURES = (
    "tin whistle", "glass marble", "brass compass", "wooden boat", "red scarf", "silver button",
    "striped feather", "painted shell", "music box", "old coin", "bone flute", "green stone",
    "paper crown", "little drum", "rag doll", "copper bell", "fishing rod", "straw hat",
    "yellow ribbon", "ink pen", "toy soldier", "magic lantern", "blue kerchief", "amber bead",
    "iron key", "pocket mirror", "sea horn", "wooden sword",
)  # fmt: skip


@dataclass(frozen=True)
class Pet:
    name: str
    kind: str
    colour: str
    gender: Gender


@dataclass(frozen=True)
class Good:
    name: str
    price: int  # pennies
    seller: str


@dataclass(frozen=True)
class Child:
    name: str
    gender: Gender
    age: int
    house: str
    parent: str
    sibling: str
    best_friend: str
    pet: Pet
    food: str
    hobby: str
    fear: str
    treasure: str


@dataclass(frozen=True)
class Grownup:
    name: str
    gender: Gender
    house: str
    trade: str
    closed_on: str
    goods: tuple[Good, ...]
    children: tuple[str, str]


class World:
    """Every fact of one village, by name: `children`, `grownups`, `goods`, and where each house stands."""

    def __init__(self, seed: int = DEFAULT_SEED) -> None:
        self.seed = seed
        draw = Draw(seed)
        near = draw.shuffled(list(PLACES))
        self.house_near = {house: near[i % len(near)] for i, house in enumerate(HOUSES)}
        self.grownups: dict[str, Grownup] = {}
        self.children: dict[str, Child] = {}
        self.goods: dict[str, Good] = {}
        kids = draw.shuffled(GIRLS + BOYS)
        adults = zip(draw.shuffled(WOMEN + MEN), draw.shuffled(list(HOUSES)), draw.shuffled(list(TRADES)), strict=True)
        for i, (adult, house, trade) in enumerate(adults):
            pair = (kids[2 * i], kids[2 * i + 1])
            goods = tuple(
                Good(name, low + draw.below(high - low + 1), adult) for name, (low, high) in TRADES[trade][2].items()
            )
            self.goods |= {good.name: good for good in goods}
            gender: Gender = "she" if adult in WOMEN else "he"
            self.grownups[adult] = Grownup(adult, gender, house, trade, draw.pick(WEEKDAYS), goods, pair)
        self._settle_children(draw, kids)

    def _settle_children(self, draw: Draw, kids: list[str]) -> None:
        """Each child's own facts. Best friends are mutual: i and i + 14, who are never siblings."""
        n = len(kids)
        pets = zip(draw.shuffled(ANIMAL_NAMES), draw.shuffled(list(ANIMALS) * 2), strict=True)
        own = zip(
            [
                Pet(name, kind, draw.pick(COLOURS), draw.pick(("she", "he") if kind != "hen" else ("she",)))
                for name, kind in pets
            ],
            draw.shuffled(FOODS * 2),
            draw.shuffled(list(HOBBIES) * 2),
            draw.shuffled(FEARS * 4),
            draw.shuffled(TREASURES),
            strict=True,
        )
        adults = list(self.grownups.values())
        ages = [pair_age for _ in adults for pair_age in self._two_ages(draw)]
        for i, (name, facts) in enumerate(zip(kids, own, strict=True)):
            parent, friend = adults[i // 2], kids[(i + n // 2) % n]
            gender: Gender = "she" if name in GIRLS else "he"
            self.children[name] = Child(name, gender, ages[i], parent.house, parent.name, kids[i ^ 1], friend, *facts)

    @staticmethod
    def _two_ages(draw: Draw) -> tuple[int, int]:
        """Two different ages: a household has an older and a younger child."""
        first = 6 + draw.below(6)
        second = 6 + draw.below(5)
        return first, second + (second >= first)

    def open_days(self, grownup: Grownup) -> tuple[str, ...]:
        return tuple(day for day in WEEKDAYS if day != grownup.closed_on)


@cache
def default_world() -> World:
    """The one village that every stream of documents tells of."""
    return World()
