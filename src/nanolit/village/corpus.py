"""The village as a stream of text: stories, passages of facts and rhymes, endless, the same everywhere for a seed.

Document `i` is a pure function of (seed, split, i), so any slice can be made anywhere, by any number of processes.

A document's **fact pattern** is (shape, hero, friend): which story is told of which two children, in which order; every
document names both. `draw.split_of` gives each pattern to one split, whatever the seed: 2 % are held out. So a fact
("Mira lives in the windmill") is learnt from the training split, but the documents of the other tell it in a
constellation never seen there: a model cannot reach a low validation loss by remembering documents.
"""

from collections.abc import Iterator
from functools import cache
from itertools import count
from typing import Literal

from nanolit.runtime.seeds import derive
from nanolit.village import (
    fact_shapes,
    rhyme_shapes,
    story_shapes_errands,
    story_shapes_home,
    story_shapes_outdoors,
    story_shapes_together,
)
from nanolit.village.cast import Casting
from nanolit.village.draw import Draw, Split, split_of
from nanolit.village.phrases import MACROS
from nanolit.village.template import Template
from nanolit.village.world import SMALL_ANIMALS, World, default_world

Kind = Literal["story", "facts", "rhyme"]
Pattern = tuple[str, str, str]

MIX: tuple[Kind, ...] = ("story",) * 10 + ("facts",) * 3 + ("rhyme",) * 7  # of twenty documents
N_VERSES = 3  # of a rhyme, each of other children
STORY_SHAPES: dict[str, str] = {
    **story_shapes_errands.SHAPES,
    **story_shapes_outdoors.SHAPES,
    **story_shapes_home.SHAPES,
    **story_shapes_together.SHAPES,
}
FACT_SHAPES: dict[str, str] = fact_shapes.SHAPES
RHYME_SHAPES: dict[str, str] = rhyme_shapes.SHAPES


class Writer:
    """Writes the documents of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.casting = Casting(world)
        by_kind: dict[Kind, dict[str, str]] = {"story": STORY_SHAPES, "facts": FACT_SHAPES, "rhyme": RHYME_SHAPES}
        self.shapes = {name: Template(text, MACROS) for shapes in by_kind.values() for name, text in shapes.items()}
        self._names = {kind: tuple(shapes) for kind, shapes in by_kind.items()}

    def fits(self, shape: str, hero: str, friend: str) -> bool:
        """Whether the world lets these two play this story."""
        if shape in story_shapes_home.SMALL_PET and self.world.children[hero].pet.kind not in SMALL_ANIMALS:
            return False
        return self.casting.can_meet(hero, friend)

    def pattern(self, split: Split, kind: Kind, draw: Draw) -> Pattern:
        """Draws until the pattern belongs to the split (fifty times, on average, for a held-out one)."""
        names, children = self._names[kind], self.casting.names
        while True:
            pattern = (draw.pick(names), draw.pick(children), draw.pick(children))
            if split_of(pattern) == split and self.fits(*pattern):
                return pattern

    def document(self, seed: int, split: Split, index: int, kind: Kind | None = None) -> tuple[Pattern, str]:
        """A document and its fact pattern (of a rhyme, that of its first verse); `kind=None` draws the kind."""
        draw = Draw(derive(seed, "village", split, kind or "any", index))
        chosen: Kind = draw.pick(MIX) if kind is None else kind
        pattern, text = self._verse(split, chosen, draw)
        if chosen == "rhyme":
            text = "\n".join([text, *(self._verse(split, chosen, draw)[1] for _ in range(N_VERSES - 1))])
        return pattern, text

    def _verse(self, split: Split, kind: Kind, draw: Draw) -> tuple[Pattern, str]:
        pattern = self.pattern(split, kind, draw)
        shape, hero, friend = pattern
        return pattern, self.shapes[shape].render(self.casting.draw(hero, friend, draw), draw)


@cache
def default_writer() -> Writer:
    """The writer of the one village that all streams tell of; made at the first use."""
    return Writer(default_world())


def documents(seed: int = 0, split: Split = "train", start: int = 0, stop: int | None = None) -> Iterator[str]:
    """Documents `start` to `stop` (endless without) of the stream, of all kinds."""
    return _stream(seed, split, start, stop, None)


def stories(seed: int = 0, split: Split = "train", start: int = 0, stop: int | None = None) -> Iterator[str]:
    """A stream of stories only."""
    return _stream(seed, split, start, stop, "story")


def facts(seed: int = 0, split: Split = "train", start: int = 0, stop: int | None = None) -> Iterator[str]:
    """A stream of passages of facts only."""
    return _stream(seed, split, start, stop, "facts")


def rhymes(seed: int = 0, split: Split = "train", start: int = 0, stop: int | None = None) -> Iterator[str]:
    """A stream of rhymes only."""
    return _stream(seed, split, start, stop, "rhyme")


def _stream(seed: int, split: Split, start: int, stop: int | None, kind: Kind | None) -> Iterator[str]:
    if split not in ("train", "val"):
        raise ValueError(f"the village has no split {split!r}; it has 'train' and 'val'")
    if start < 0:
        raise ValueError(f"the village counts its documents from 0, got start {start}")
    writer = default_writer()
    for index in count(start) if stop is None else range(start, stop):
        yield writer.document(seed, split, index, kind)[1]
