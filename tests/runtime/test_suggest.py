import pytest

from nanolit.runtime.suggest import suggest


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("n_embed", {}, "did you mean n_embd?"),
        ("n_embed", {"prefix": "model."}, "did you mean model.n_embd?"),
        ("model.zzz", {"prefix": "model."}, "allowed here: n_embd, n_layer"),
        ("zzz", {"otherwise": "see the manual"}, "see the manual"),
    ],
)
def test_the_nearest_name_or_all_of_them(name, options, told):
    assert suggest(name, ["n_layer", "n_embd"], **options) == told


def test_where_nothing_is_allowed():
    assert suggest("a", []) == "allowed here: nothing"
