"""Figures of a split against numpy's percentiles and counting by hand."""

from collections import Counter
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanolit.data import statistics
from nanolit.data.shards import open_shard, shard_writer
from nanolit.data.statistics import CONTEXTS, PERCENTILES, count_ids, distribution, n_supervised


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=200))
def test_percentiles_are_those_of_numpy(lengths):
    found = distribution(np.array(lengths))
    for name, percent in PERCENTILES.items():
        assert found[name] == np.percentile(lengths, percent, method="inverted_cdf")
    assert found["mean"] == pytest.approx(sum(lengths) / len(lengths))
    for size in CONTEXTS:
        assert found["longer_than"][size] == pytest.approx(sum(n > size for n in lengths) / len(lengths))


def test_ids_and_learnt_tokens_are_counted(tmp_path):
    rng = np.random.default_rng(0)
    shards, ids, learnt = [], [], 0
    for number, n in enumerate((37, 1, 64)):
        part, mask = rng.integers(0, 50, n), rng.random(n) < 0.3
        with shard_writer(tmp_path / f"{number}.bin", 60, "00" * 32) as writer:
            writer.append_many(part, np.zeros(1, dtype=np.uint64), mask if number else None)
        shards.append(open_shard(tmp_path / f"{number}.bin"))
        ids += part.tolist()
        learnt += int(mask.sum()) if number else n  # the first one has no mask: all of it is learnt
    assert n_supervised(shards) == learnt
    told = []
    with patch.object(statistics, "PART_TOKENS", 10):
        counts = count_ids(shards, 60, told.append)
    assert dict(Counter(ids)) == {i: n for i, n in enumerate(counts) if n}
    assert len(counts) == 60 and told == sorted(told) and told[-1] == 102
