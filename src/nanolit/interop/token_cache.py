"""A cache for networks that bring none of their own: it keeps the tokens, and everything is computed anew each time."""

import torch
from torch import Tensor


class TokenCache:
    def __init__(self, ids: Tensor | None = None) -> None:
        self.ids = ids  # (B, S)

    def append(self, ids: Tensor) -> Tensor:
        """All tokens so far, (B,S), with the new ones `ids` (B,T)."""
        self.ids = ids if self.ids is None else torch.cat((self.ids, ids), dim=1)
        return self.ids

    def repeat(self, n: int) -> "TokenCache":
        return TokenCache(None if self.ids is None else self.ids.repeat(n, 1))
