"""How the tensors of another layout correspond to ours: exact both ways, one link at a time.

A link says which of our tensors is which of theirs and how the numbers are rearranged, never changed. What the layouts
are called and where they lie is said by those who make links (families.py, interop/).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nanolit.models.tensor_files import Spec, Tensors

Rearrange = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Link:
    ours: str | None  # None: we have no such tensor, theirs is zero (a bias that the model does without)
    theirs: tuple[str, ...]
    out: Callable[[Tensor], Sequence[Tensor]]  # ours -> theirs
    back: Callable[..., Tensor]  # theirs -> ours
    shape: tuple[int, ...] = ()  # of theirs, where ours is None


def same(ours: str, theirs: str) -> Link:
    return Link(ours, (theirs,), lambda t: (t,), lambda t: t)


def transposed(ours: str, theirs: str) -> Link:
    return Link(ours, (theirs,), lambda t: (t.t(),), lambda t: t.t())


def zeros(theirs: str, *shape: int) -> Link:
    return Link(None, (theirs,), lambda t: (t,), lambda t: t, shape)


def split_rows(
    ours: str,
    theirs: Sequence[str],
    rows: Sequence[int],
    out: Sequence[Rearrange] = (),
    back: Sequence[Rearrange] = (),
) -> Link:
    """Our tensor is theirs, one below the other; each may have its rows in another order."""
    out, back = out or [_as_it_is] * len(rows), back or [_as_it_is] * len(rows)
    return Link(
        ours,
        tuple(theirs),
        lambda t: [order(part) for order, part in zip(out, t.split(tuple(rows)), strict=True)],
        lambda *parts: torch.cat([order(part) for order, part in zip(back, parts, strict=True)]),
    )


def _as_it_is(t: Tensor) -> Tensor:
    return t


def swap_halves(head_dim: int) -> Rearrange:
    """Swaps the halves of each head's rows, which turns rotary positions the other way round; its own inverse."""
    return lambda t: t.unflatten(0, (-1, 2, head_dim // 2)).flip(1).flatten(0, 2)


def interleave(head_dim: int) -> Rearrange:
    """From rotary pairs (d, d + D/2), ours, to neighbours (2d, 2d + 1), Meta's and GGUF's."""
    return lambda t: t.unflatten(0, (-1, 2, head_dim // 2)).transpose(1, 2).flatten(0, 2)


def deinterleave(head_dim: int) -> Rearrange:
    return lambda t: t.unflatten(0, (-1, head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)


# Whole models


def outward(ours: Tensors, links: Sequence[Link]) -> Tensors:
    """Our tensors in their layout."""
    dtype = next(iter(ours.specs.values())).dtype
    specs: dict[str, Spec] = {}
    origin: dict[str, tuple[Link, int]] = {}
    for link in links:
        spec = Spec(link.shape, dtype) if link.ours is None else ours.specs[link.ours]
        parts = link.out(torch.empty(spec.shape, device="meta"))
        for i, (name, part) in enumerate(zip(link.theirs, parts, strict=True)):
            specs[name], origin[name] = Spec(tuple(part.shape), spec.dtype), (link, i)

    def get(name: str) -> Tensor:
        link, i = origin[name]
        if link.ours is None:
            return torch.zeros(link.shape, dtype=dtype)
        return link.out(ours.get(link.ours))[i]

    return Tensors(specs, get)


def inward(theirs: Tensors, links: Sequence[Link]) -> Tensors:
    """Their tensors in our layout; names and shapes have been checked."""
    by_name = {link.ours: link for link in links if link.ours is not None}
    specs = {}
    for ours, link in by_name.items():
        parts = [theirs.specs[name] for name in link.theirs]
        shape = link.back(*[torch.empty(part.shape, device="meta") for part in parts]).shape
        specs[ours] = Spec(tuple(shape), parts[0].dtype)
    return Tensors(specs, lambda ours: by_name[ours].back(*map(theirs.get, by_name[ours].theirs)))


def check(where: str, found: Mapping[str, Spec], expected: Mapping[str, Spec], may_have: Collection[str] = ()) -> None:
    """Every tensor that is expected, in its shape and of floating numbers, and no other; `where` begins the error."""
    problems = [f"{name} is missing, {list(s.shape)} expected" for name, s in expected.items() if name not in found]
    problems += [
        f"{name} is {list(found[name].shape)}, {list(s.shape)} expected"
        for name, s in expected.items()
        if name in found and found[name].shape != s.shape
    ]
    problems += [
        f"{name} is {str(found[name].dtype).removeprefix('torch.')}, a floating type expected"
        for name in expected
        if name in found and not found[name].dtype.is_floating_point
    ]
    unknown = [name for name in found if name not in expected and name not in may_have]
    problems += [f"{name} {list(found[name].shape)} is unknown" for name in unknown]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ValueError(f"{where}: {'; '.join(problems[:3])}{more}")


def check_zeros(where: str, theirs: Tensors, links: Sequence[Link]) -> None:
    """What we have no tensor for must be zero, or the model would not be the same."""
    for link in links:
        if link.ours is None and torch.count_nonzero(theirs.get(link.theirs[0])):
            raise ValueError(f"{where}: {link.theirs[0]} is not zero, although the configuration says model.bias=false")
