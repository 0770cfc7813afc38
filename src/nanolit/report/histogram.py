"""How many of something have which size, on a logarithmic scale: as text for a terminal, and as a picture."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from nanolit.runtime.files import atomic_path

COLUMNS = 80
MOST_BINS = 24
BLOCKS = " ▏▎▍▌▋▊▉█"  # in eighths


def log_edges(smallest: int, largest: int) -> np.ndarray:
    """Whole numbers, the last above `largest`: 8, 4, 2 or 1 of them for each doubling, as many as a screen has room
    for. Two neighbours are a bin, the upper one not in it.
    """
    assert 0 <= smallest <= largest
    first, last = np.log2(max(smallest, 1)), np.log2(largest + 1)
    for per_doubling in (8, 4, 2, 1):
        exponents = np.arange(np.floor(first * per_doubling), np.ceil(last * per_doubling) + 1) / per_doubling
        edges = np.unique(np.round(2**exponents).astype(np.int64))
        edges = edges[np.append(edges[1:] > smallest, True) & np.insert(edges[:-1] <= largest, 0, True)]
        if len(edges) - 1 <= MOST_BINS:
            break
    return edges if smallest else np.insert(edges, 0, 0)


def bars(counts: np.ndarray, edges: np.ndarray) -> str:
    """A line for each bin: its numbers, a bar, how many, and their share."""
    names = [f"{low:,}" if high - low == 1 else f"{low:,}-{high - 1:,}" for low, high in pairwise(edges)]
    figures = [f"{count:,} {count / max(counts.sum(), 1):>6.1%}" for count in counts]
    name_width, figure_width = max(map(len, names)), max(map(len, figures))
    eighths = np.round(counts / max(counts.max(), 1) * 8 * (COLUMNS - name_width - figure_width - 2)).astype(int)
    eighths = np.maximum(eighths, counts > 0)  # what is rare is seen too
    drawn = ["█" * (n // 8) + BLOCKS[n % 8].strip() for n in eighths]
    longest = max(map(len, drawn))
    lines = zip(names, drawn, figures, strict=True)
    return "\n".join(f"{name:>{name_width}} {bar:<{longest}} {figure:>{figure_width}}" for name, bar, figure in lines)


def save_plot(path: Path, counts: Mapping[str, np.ndarray], edges: np.ndarray, title: str, size: str) -> None:
    """One outline for each of `counts`, by its name, in per cent, so that they can be compared; a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    borders = np.maximum(edges, 0.5)  # a logarithm has no room for 0
    for number, (name, found) in enumerate(counts.items()):
        shares, colour = 100 * found / max(found.sum(), 1), f"C{number}"
        axes.stairs(shares, borders, fill=True, alpha=0.2, color=colour)
        axes.stairs(shares, borders, label=name, linewidth=1.5, color=colour)
    axes.set_xscale("log", base=2)
    few = borders[-1] < 16 * borders[0]  # doublings: numbers between them are named too
    axes.xaxis.set_major_locator(LogLocator(base=2, subs=(1, 1.25, 1.5, 1.75) if few else (1,), numticks=14))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(
        title=title,
        xlabel=size,
        ylabel="documents in the bin, %",
        xlim=(borders[0] / 1.02, borders[-1] * 1.02),
        ylim=(0, None),
    )
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
