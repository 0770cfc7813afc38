import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanolit.data.order import permute, window_of

SEEDS = st.integers(0, 2**63 - 1)


@given(st.integers(1, 3000), SEEDS)
def test_permute_is_a_bijection(n, seed):
    assert np.array_equal(np.sort(permute(np.arange(n), n, seed)), np.arange(n))


@pytest.mark.parametrize("n", [*range(1, 66), 127, 128, 1021, 1024, 2999])
def test_permute_is_a_bijection_for_small_n_primes_and_powers_of_two(n):
    assert np.array_equal(np.sort(permute(np.arange(n), n, 7)), np.arange(n))


@given(st.integers(1, 2**62), SEEDS, st.data())
def test_any_index_of_any_large_n_stays_inside_and_apart(n, seed, data):
    indices = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20, unique=True))
    images = permute(np.array(indices), n, seed).tolist()
    assert len(set(images)) == len(indices) and all(0 <= image < n for image in images)
    assert [permute(i, n, seed).item() for i in indices] == images


def test_seeds_give_different_orders():
    orders = [tuple(permute(np.arange(50), 50, seed)) for seed in range(100)]
    assert len(set(orders)) == 100


@pytest.mark.parametrize("n", [16, 64, 97])
def test_every_place_is_as_likely_for_every_index(n):
    n_seeds = 4000
    images = np.stack([permute(np.arange(n), n, seed) for seed in range(n_seeds)])  # (seeds, n)
    counts = np.zeros((n, n))
    np.add.at(counts, (np.arange(n), images), 1)
    chi_square = ((counts - n_seeds / n) ** 2 / (n_seeds / n)).sum()
    degrees = (n - 1) ** 2
    assert abs(chi_square - degrees) < 5 * np.sqrt(2 * degrees)


def test_neighbours_do_not_stay_neighbours():
    n = 10_007
    order = permute(np.arange(n), n, 3)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05
    distances = np.abs(np.diff(order))
    assert abs(distances.mean() / (n / 3) - 1) < 0.05  # |x - y| of two uniform numbers is a third of the range
    assert (distances == 1).mean() < 0.002


def test_an_index_outside_is_a_mistake():
    for wrong in (-1, 10):
        with pytest.raises(AssertionError):
            permute(wrong, 10, 0)


@given(st.integers(1, 50), SEEDS, st.integers(0, 200), st.integers(0, 120))
def test_window_of_takes_each_window_once_per_epoch(n, seed, first, count):
    samples = np.arange(first, first + count)
    windows = window_of(samples, n, seed, shuffle=True)
    assert windows.shape == samples.shape
    for epoch in range(first // n, (first + count) // n + 1):
        part = windows[samples // n == epoch]
        assert len(set(part.tolist())) == len(part)
    assert np.array_equal(windows, [window_of(np.array([s]), n, seed, shuffle=True)[0] for s in samples])


def test_each_epoch_and_each_seed_has_its_own_order():
    orders = [tuple(window_of(np.arange(e * 40, (e + 1) * 40), 40, seed, True)) for e in range(5) for seed in range(5)]
    assert len(set(orders)) == 25


def test_without_shuffling_windows_come_in_order():
    assert window_of(np.arange(7), 3, 0, shuffle=False).tolist() == [0, 1, 2, 0, 1, 2, 0]
