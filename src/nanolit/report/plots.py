"""Plots as PNG files. What they show is handed over as numbers; matplotlib is imported when one is drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nanolit.runtime.files import atomic_path

COLOURS = ("#1b6ca8", "#b9c4cc", "#7f8c96", "#d9a441", "#5a9367", "#a45c8c")  # the first stands out


def grouped_bars(
    path: Path | str, groups: Sequence[str], series: Mapping[str, Sequence[float]], y_label: str, title: str
) -> None:
    """A bar for each series in each group, with its value on top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no window, and no state that plots share
    from matplotlib.figure import Figure

    width = 0.84 / len(series)
    figure = Figure(figsize=(max(6.4, 0.45 * len(groups) * len(series)), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for i, (name, values) in enumerate(series.items()):
        places = [group + (i - (len(series) - 1) / 2) * width for group in range(len(groups))]
        bars = axes.bar(places, values, 0.94 * width, label=name, color=COLOURS[i % len(COLOURS)])
        axes.bar_label(bars, fmt="%.2f", fontsize=7.5, padding=1.5)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel(y_label)
    axes.set_title(title, loc="left")
    axes.margins(x=0.01, y=0.1)
    axes.grid(axis="y", linewidth=0.5, alpha=0.4)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    figure.legend(loc="outside lower center", ncols=len(series), frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
