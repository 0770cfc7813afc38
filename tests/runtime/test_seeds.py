import hashlib

from hypothesis import given
from hypothesis import strategies as st

from nanolit.runtime.seeds import derive

parts = st.lists(st.one_of(st.integers(-100, 100), st.text(max_size=4)), max_size=4)


@given(st.integers(0, 5), parts, st.integers(0, 5), parts)
def test_purposes_get_the_same_seed_only_if_they_are_the_same(a: int, x: list, b: int, y: list) -> None:
    assert 0 <= derive(a, *x) < 2**63
    assert (derive(a, *x) == derive(b, *y)) == ((a, x) == (b, y))


def test_the_value_is_stable_across_machines_and_versions() -> None:
    digest = hashlib.blake2b(b"int2:42str5:orderint1:3", digest_size=8).digest()
    assert derive(42, "order", 3) == int.from_bytes(digest, "little") >> 1
