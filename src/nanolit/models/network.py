"""What training, evaluation, samples and generation ask of a network: the whole contract, stated here and nowhere else.

`GPT` keeps it, and so do the foreign networks in interop/ (any model of transformers, one on Transformer Engine). It is
no base class: a network is a `torch.nn.Module` with these parts, and nothing outside looks at its layers. How it is
saved is said beside it, when it is made (cli/network.py).

B batch   T tokens   V vocabulary
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from nanolit.models.config import GPTConfig


class Cache(Protocol):
    """What a network remembers of the tokens that it has seen; all rows stand at one position."""

    def repeat(self, n: int) -> Cache:
        """n equal rows from a cache of one row, which stays as it is."""


class Network(Protocol):
    # Itself, or the nearest description of it. Of that one reads block_size (the most tokens of one call), vocab_size,
    # dropout (0: nothing is random), and the rest for estimates of cost only.
    config: GPTConfig
    training: bool

    def forward(
        self,
        ids: Tensor,
        targets: Tensor | None = None,
        cache: Any = None,
        last_only: bool = False,
        documents: Tensor | None = None,
    ) -> Tensor:
        """With targets (B,T): negative log-likelihood of each (B,T) in float32, 0 where the target is -1.

        Without: logits (B,T,V), or (B,1,V) with `last_only`. A cache goes on from the tokens that it has, and takes
        the new ones in. documents (B,T): the number of each token's document; each is computed as if it stood alone,
        and there is no cache. A network that cannot do that refuses (`refuse_documents`); it is never asked unless
        batches say which documents they hold.
        """

    def score(self, ids: Tensor, targets: Tensor, documents: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """For evaluation: negative log-likelihood (B,T), and whether the likeliest token is the target (B,T)."""

    def new_cache(self, batch: int, max_len: int) -> Any:
        """An empty `Cache` for `batch` rows of at most `max_len` tokens, where the weights are."""

    # Of torch.nn.Module. The optimizer's rules find embeddings and head by the names of parameters (optim/build.py).

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Any: ...

    def parameters(self, recurse: bool = True) -> Any: ...

    def train(self, mode: bool = True) -> Any: ...

    def eval(self) -> Any: ...


def documents_of(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What `forward` and `score` are told besides inputs and targets, if the batch says it."""
    return {"documents": batch["documents"]} if "documents" in batch else {}


def refuse_documents(documents: Any) -> None:
    """For networks that see all of a row."""
    if documents is not None:
        raise ValueError(
            "data.loader.mask_documents: got true, but this network cannot keep the documents of a row apart; "
            "give false, or a model that nanolit computes itself"
        )
