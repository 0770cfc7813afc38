"""Every equation is checked by integer arithmetic that does not invert; splits by counting."""

from itertools import islice, pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.data.sources.puzzles import DIVISIONS, OPERATIONS, Arithmetic, Grokking
from nanolit.tokenizers import words

SPLITS = ("train", "val")
SEEDS = st.integers(0, 2**32)
PRIMES = (3, 5, 7, 11, 23)

# What makes `x operation y = z` true modulo p, without dividing.
HOLDS = {
    "x+y": lambda x, y, z: x + y - z,
    "x-y": lambda x, y, z: x - y - z,
    "x/y": lambda x, y, z: z * y - x,
    "(x//y)if(y%2==1)else(x-y)": lambda x, y, z: z * y - x if y % 2 == 1 else x - y - z,
    "x^2+y^2": lambda x, y, z: x * x + y * y - z,
    "x^2+xy+y^2": lambda x, y, z: x * x + x * y + y * y - z,
    "x^2+xy+y^2+x": lambda x, y, z: x * x + x * y + y * y + x - z,
    "x^3+xy": lambda x, y, z: x * x * x + x * y - z,
    "x^3+xy^2+x": lambda x, y, z: x * x * x + x * y * y + x - z,
}


def equation(example) -> tuple[int, str, int, int]:
    x, operation, y, equals = example.question.split(" ")
    assert equals == "="
    return int(x), operation, int(y), int(example.answer)


def factors(example) -> tuple[str, str]:
    assert example.question.endswith("=") and example.answer.endswith("|")
    x, y = example.question[:-1].split("*")
    return x, y


def test_the_nine_operations_are_those_of_the_oracle_and_of_the_tokenizer():
    assert tuple(OPERATIONS) == tuple(HOLDS) == words.OPERATIONS


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("p", PRIMES)
def test_each_equation_is_true_and_stands_in_one_split(operation, p):
    table = Grokking(operation, p, 0.6, seed=1)
    found = [equation(example) for split in SPLITS for example in table.examples(split)]
    for x, name, y, z in found:
        assert name == operation and 0 <= z < p
        assert HOLDS[operation](x, y, z) % p == 0, f"{x} {operation} {y} is not {z} modulo {p}"
    first_y = 1 if operation in DIVISIONS else 0
    assert sorted((x, y) for x, _, y, _ in found) == sorted(product(range(p), range(first_y, p)))


@pytest.mark.parametrize(("p", "n"), [(97, 4656), (223, 24753)])
def test_half_of_the_equations_are_for_training_as_published(p, n):
    table = Grokking("x/y", p, 0.5)
    assert [table.n_examples(split) for split in SPLITS] == [n, n]
    assert [sum(1 for _ in table.examples(split)) for split in SPLITS] == [n, n]


@given(st.sampled_from(sorted(OPERATIONS)), st.sampled_from(PRIMES), st.floats(0.2, 0.8), SEEDS)
@settings(deadline=None, max_examples=50)
def test_the_split_has_the_share_it_was_asked_for_and_follows_from_the_seed(operation, p, fraction, seed):
    table = Grokking(operation, p, fraction, seed)
    train, val = (list(table.examples(split)) for split in SPLITS)
    assert (len(train), len(val)) == (table.n_examples("train"), table.n_examples("val"))
    assert len(train) == round(fraction * (len(train) + len(val)))
    assert train == list(Grokking(operation, p, fraction, seed).examples("train"))


def test_another_seed_holds_out_other_equations():
    first, second = (set(Grokking("x+y", 23, 0.5, seed).examples("val")) for seed in (0, 1))
    assert 0.3 < len(first & second) / len(first) < 0.7


def test_a_larger_training_split_only_adds():
    small, large = (list(Grokking("x-y", 23, f).examples("train")) for f in (0.3, 0.5))
    assert large[: len(small)] == small


@given(st.sampled_from([Grokking("x-y", 103, 0.5), Arithmetic(2, 3)]), st.sampled_from(SPLITS), st.data())
@settings(deadline=None, max_examples=20)
def test_a_part_is_that_part_of_the_whole(table, split, data):
    start = data.draw(st.integers(0, table.n_examples(split)))
    stop = data.draw(st.integers(start, table.n_examples(split)))
    assert list(table.examples(split, start, stop)) == list(table.examples(split))[start:stop]


def test_the_first_example_of_a_large_table_comes_at_once():
    assert equation(next(Grokking("x^2+y^2", 99_991).examples("val")))


@given(st.integers(1, 3), st.integers(0, 2), st.integers(20, 150), st.floats(0.1, 0.9), SEEDS)
@settings(deadline=None, max_examples=50)
def test_products_are_right_have_n_digits_and_stand_in_one_split(shortest, more, max_samples, val_fraction, seed):
    table = Arithmetic(shortest, shortest + more, max_samples, val_fraction, seed)
    seen = set()
    for split in SPLITS:
        examples = list(table.examples(split))
        assert len(examples) == table.n_examples(split)
        for example in examples:
            x, y = factors(example)
            assert len(x) == len(y) and shortest <= len(x) <= shortest + more
            assert x[0] != "0" and y[0] != "0"
            assert example.answer == f"{int(x) * int(y)}|"
        seen.update(examples)
    assert len(seen) == table.n_examples("train") + table.n_examples("val"), "a pair came twice"
    for n in range(shortest, shortest + more + 1):
        assert sum(len(factors(example)[0]) == n for example in seen) == min(max_samples, (9 * 10 ** (n - 1)) ** 2)


def test_short_numbers_are_all_there_and_each_length_holds_out_its_share():
    table = Arithmetic(1, 3, max_samples=8100, val_fraction=0.1)
    train, val = ([factors(example) for example in table.examples(split)] for split in SPLITS)
    for n, pairs in ((1, 81), (2, 8100), (3, 8100)):
        of_n = [pair for pair in train + val if len(pair[0]) == n]
        assert len(set(of_n)) == len(of_n) == pairs
        assert sum(len(x) == n for x, _ in val) == round(0.1 * pairs)
    assert {pair for pair in train + val if len(pair[0]) == 1} == set(product("123456789", repeat=2))


def test_all_lengths_are_mixed_and_the_order_is_that_of_the_seed():
    table = Arithmetic(2, 3, max_samples=1000)
    lengths = [len(factors(example)[0]) for example in table.examples("train")]
    changes = sum(before != after for before, after in pairwise(lengths))
    assert 0.4 < changes / len(lengths) < 0.6  # of two lengths that are as frequent, half of the neighbours differ
    assert list(table.examples("train")) == list(Arithmetic(2, 3, max_samples=1000).examples("train"))
    assert set(table.examples("train")) != set(Arithmetic(2, 3, max_samples=1000, seed=1).examples("train"))


def test_the_longest_numbers_are_drawn_from_all_of_their_range():
    firsts = [factors(example)[0] for example in islice(Arithmetic(9, 9).examples("train"), 2000)]
    assert len(set(firsts)) == len(firsts)
    assert {x[0] for x in firsts} == set("123456789")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Grokking("x*y"), r"data\.operation: got 'x\*y'; did you mean x"),
        (lambda: Grokking("power"), r"data\.operation: got 'power'; allowed here: .*x\^3\+xy"),
        (lambda: Grokking("x/y", 96), r"data\.modulus: got 96, must be a prime .* the next one is 97"),
        (lambda: Grokking(DIVISIONS[1], 100), r"data\.modulus: got 100, .* the next one is 101"),
        (lambda: Grokking("x+y", 2), r"data\.modulus: got 2, must be from 3"),
        (lambda: Grokking("x+y", 10**9), r"data\.modulus: got 1000000000, must be from 3 to 100000"),
        (lambda: Grokking(train_fraction=1.0), r"data\.train_fraction: got 1\.0, must be between 0 and 1"),
        (lambda: Grokking("x+y", 3, 0.01), r"data\.train_fraction: got 0\.01, .* of 9 equations empty"),
        (lambda: Arithmetic(0, 3), r"data\.min_digits: got 0, must be from 1 to 9"),
        (lambda: Arithmetic(1, 10), r"data\.max_digits: got 10, must be from 1 \(data\.min_digits\) to 9"),
        (lambda: Arithmetic(4, 3), r"data\.max_digits: got 3, must be from 4"),
        (lambda: Arithmetic(max_samples=0), r"data\.max_samples: got 0, must be at least 1"),
        (lambda: Arithmetic(val_fraction=0.0), r"data\.val_fraction: got 0\.0, must be between 0 and 1"),
        (lambda: Arithmetic(1, 1, val_fraction=0.001), r"data\.val_fraction: got 0\.001, .* split without products"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, told):
    with pytest.raises(ValueError, match=told) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_a_table_that_does_not_divide_needs_no_prime():
    assert Grokking("x^2+y^2", 10).n_examples("train") == 50
