"""pass@k: the chance that at least one of k answers is right, estimated without bias from n >= k answers (Chen et al.
2021, arXiv 2107.03374). Taking the first k of them instead, as nanochat does, has the same mean and a larger spread.
"""

from math import comb


def pass_at_k(n_answers: int, n_right: int, k: int) -> float:
    if not 1 <= k <= n_answers:
        raise ValueError(f"k: got {k}, allowed: 1 to the {n_answers} answers to each question; draw more answers")
    return 1.0 - comb(n_answers - n_right, k) / comb(n_answers, k)
