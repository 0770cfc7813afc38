from collections import Counter

from nanolit.village.draw import Draw, is_held_out, split_of, task_split


def test_draws_are_in_range_and_roughly_even():
    draw = Draw(1)
    counts = Counter(draw.below(6) for _ in range(6000))
    assert set(counts) == set(range(6))
    assert all(850 < count < 1150 for count in counts.values())


def test_a_shuffle_is_a_permutation_and_depends_on_the_seed():
    items = list(range(30))
    assert sorted(Draw(1).shuffled(items)) == items
    assert Draw(1).shuffled(items) == Draw(1).shuffled(items) != Draw(2).shuffled(items)
    assert items == list(range(30))


def test_two_percent_of_patterns_are_held_out():
    splits = Counter(split_of(("shape", str(a), str(b))) for a in range(150) for b in range(150))
    assert 0.015 < splits["val"] / splits.total() < 0.025


def test_what_is_held_out_is_halved():
    patterns = [("relation", str(a), str(b)) for a in range(150) for b in range(150)]
    splits = Counter(task_split(pattern, 125) for pattern in patterns)
    assert all(0.055 < splits[split] / splits.total() < 0.07 for split in ("val", "test"))
    assert all((task_split(pattern, 125) == "train") != is_held_out(pattern, 125) for pattern in patterns)


def test_the_parts_of_a_pattern_are_kept_apart():
    pairs = [((f"a{i}", "b"), ("a", f"{i}b")) for i in range(2000)]
    assert any(split_of(one) != split_of(two) for one, two in pairs)
