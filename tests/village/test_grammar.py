import pytest

from nanolit.village.grammar import capital, listing, pennies, plural, with_article


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("kite", "kites"),
        ("loaf of bread", "loaves of bread"),
        ("pair of boots", "pairs of boots"),
        ("cherry", "cherries"),
        ("toy", "toys"),
        ("music box", "music boxes"),
        ("goose", "geese"),
    ],
)
def test_plural(one, many):
    assert plural(one) == many


def test_articles_and_money():
    assert [with_article(noun) for noun in ("old coin", "kite", "apron")] == ["an old coin", "a kite", "an apron"]
    assert [pennies(n) for n in (1, 2, 20)] == ["one penny", "two pennies", "twenty pennies"]


def test_listing_and_capital():
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert capital("the bakery of Brida") == "The bakery of Brida"
