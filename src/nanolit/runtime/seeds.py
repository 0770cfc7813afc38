"""One seed per purpose, derived by hashing; not a random generator and no global state.

A run has one `seed`. Whatever needs randomness (data order, dropout, a row's sampling) derives its own from it, so that
adding a purpose, a process or a worker never shifts the numbers of another.
"""

import hashlib


def derive(seed: int, *parts: int | str) -> int:
    """A stable 63-bit seed for one purpose, e.g. `derive(seed, "order", epoch)`; the same on every machine."""
    # Type and length of each part are hashed too: ("ab", "c"), ("a", "bc") and (1,), ("1",) are different purposes.
    encoded = "".join(f"{type(part).__name__}{len(str(part))}:{part}" for part in (seed, *parts))
    return int.from_bytes(hashlib.blake2b(encoded.encode(), digest_size=8).digest(), "little") >> 1
