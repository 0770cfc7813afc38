"""Bins that hold every number, bars that say how many, and a picture that opens."""

import re
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nanolit.report.histogram import COLUMNS, MOST_BINS, bars, log_edges, save_plot

SIZES = st.lists(st.integers(0, 1 << 22), min_size=1, max_size=50)


@given(SIZES)
def test_every_number_is_in_one_of_few_bins(sizes):
    edges = log_edges(min(sizes), max(sizes))
    assert (np.diff(edges) > 0).all() and 2 <= len(edges) <= MOST_BINS + 2
    assert edges[0] <= min(sizes) < edges[1] and edges[-2] <= max(sizes) < edges[-1]
    assert np.histogram(sizes, edges)[0].sum() == len(sizes)
    positive = edges[edges > 8]  # where whole numbers are near enough to each other
    assert (positive[1:] / positive[:-1] <= 2).all()


@given(SIZES)
def test_bars_fit_the_screen_and_are_as_long_as_there_are_many(sizes):
    edges = log_edges(min(sizes), max(sizes))
    counts = np.histogram(sizes, edges)[0]
    lines = bars(counts, edges).split("\n")
    assert len(lines) == len(counts) and max(map(len, lines)) <= COLUMNS
    read = [re.fullmatch(r" *([\d,]+)(?:-([\d,]+))? ([▏▎▍▌▋▊▉█]*) +([\d,]+) +[\d.]+%", line) for line in lines]
    assert [int(found[4].replace(",", "")) for found in read] == counts.tolist()
    assert [int(found[1].replace(",", "")) for found in read] == edges[:-1].tolist()
    assert [int((found[2] or found[1]).replace(",", "")) for found in read] == (edges[1:] - 1).tolist()
    eighths = [8 * found[3].count("█") + "▏▎▍▌▋▊▉".find(found[3].rstrip("█") or "█") + 1 for found in read]
    assert [n == 0 for n in counts] == [n == 0 for n in eighths]
    for a, long_a in zip(counts, eighths, strict=True):
        for b, long_b in zip(counts, eighths, strict=True):
            assert a < b or long_a >= long_b


def test_the_picture(tmp_path):
    edges = log_edges(0, 3000)
    counts = np.arange(len(edges) - 1)
    save_plot(tmp_path / "new" / "a.png", {"train": counts, "val": counts[::-1]}, edges, "Title", "tokens")
    content = (tmp_path / "new" / "a.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", content[16:24]) == (1200, 675)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
