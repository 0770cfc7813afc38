"""The oracle of generation: everything computed anew for each token, one row after the other, without the engine."""

import pytest
import torch

from nanolit.inference.engine import context_start
from nanolit.inference.sample import row_generators, sample


@pytest.fixture(scope="session")
def written_anew():
    @torch.no_grad()
    def write(network, prompt: list[int], params, rows=(0,)) -> list[list[int]]:
        texts = []
        for generator in row_generators(params, rows):
            ids = list(prompt)
            for _ in range(params.max_new_tokens):
                window = torch.tensor([ids[context_start(len(ids), network.config.block_size) :]])
                ids.append(sample(network(window)[:, -1], params, [generator]).item())
            texts.append(ids[len(prompt) :])
        return texts

    return write
