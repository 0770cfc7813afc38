"""What the tests of data share."""

from collections.abc import Callable

import numpy as np
import pytest

from nanolit.data.shards import Header, shard_writer


@pytest.fixture(scope="session")
def write_shard() -> Callable[..., Header]:
    """Writes documents (arrays of token ids) into one shard."""

    def write(path, documents, vocab_size, fingerprint) -> Header:
        with shard_writer(path, vocab_size, fingerprint) as writer:
            for ids in documents:
                writer.append(np.asarray(ids))
        return writer.header

    return write
