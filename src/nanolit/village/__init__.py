"""The embedded world: a village, and streams of little texts about it. Pure Python, no downloads, the same everywhere.

`world` holds the facts, `grammar` the agreement, `template` the language of the shapes, `cast` who plays in a document;
`story_shapes_*`, `fact_shapes`, `rhyme_shapes` and `phrases` are the writing itself, `corpus` makes the streams. It
gives text only: turning text into tokens is the work of `data`.
"""

from nanolit.village.corpus import documents, facts, rhymes, stories
from nanolit.village.world import World, default_world

__all__ = ["World", "default_world", "documents", "facts", "rhymes", "stories"]
