"""Documents out of shards equal those that went in, wherever the shards were cut."""

from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.data import documents as module
from nanolit.data.documents import Documents
from nanolit.data.shards import open_shard, shard_writer

FINGERPRINT = "00" * 32


@st.composite
def streams(draw):
    """Documents, some empty, their masks, and where the stream is cut into shards."""
    lengths = draw(st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(sum))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    written = [rng.integers(0, 500, n).astype(np.uint16) for n in lengths]
    masks = [rng.random(n) < 0.5 for n in lengths]
    cuts = sorted(draw(st.sets(st.integers(1, sum(lengths)), max_size=4)))
    return written, masks, cuts


def shards_of(folder, written, masks, cuts, has_mask):
    ids, mask = np.concatenate(written), np.concatenate(masks)
    begins = np.cumsum([0, *map(len, written)])[:-1]
    shards = []
    for number, (low, high) in enumerate(zip([0, *cuts], [*cuts, len(ids) + 1], strict=True)):
        path = folder / f"{number}.bin"
        starts = begins[(begins >= low) & (begins < high)] - low
        with shard_writer(path, 500, FINGERPRINT) as writer:
            writer.append_many(ids[low:high], starts, mask[low:high] if has_mask else None)
        shards.append(open_shard(path))
    return shards


@settings(deadline=None)
@given(streams(), st.booleans(), st.one_of(st.none(), st.integers(1, 40)))
def test_every_document_is_read_whole_across_shards(tmp_path_factory, stream, has_mask, n_tokens):
    written, masks, cuts = stream
    found = Documents(shards_of(tmp_path_factory.mktemp("shards"), written, masks, cuts, has_mask))
    # An empty document at the very end, behind the last shard with tokens, leaves nothing to show.
    n_seen = len(found)
    assert not sum(map(len, written[n_seen:])), "only empty documents may be missing"
    assert found.lengths.tolist() == [len(document) for document in written[:n_seen]]
    with patch.object(module, "PART_TOKENS", 7):
        for number in range(n_seen):
            ids, supervised = found.head(number, n_tokens)
            assert ids.tolist() == written[number][:n_tokens].tolist()
            expected = masks[number] if has_mask else np.ones(len(written[number]), dtype=bool)
            assert supervised.tolist() == expected[:n_tokens].tolist()
            assert sum(len(part) for part, _ in found.parts(number)) == len(written[number])


def test_without_a_table_all_is_one_document(tmp_path):
    with shard_writer(tmp_path / "a.bin", 500, FINGERPRINT) as writer:
        writer.append_many(np.arange(9), np.zeros(0, dtype=np.uint64))
    found = Documents([open_shard(tmp_path / "a.bin")])
    assert not found.are_known and found.lengths.tolist() == [9]
    assert found.head(0, None)[0].tolist() == list(range(9))


def test_what_stands_before_the_first_beginning_is_a_document(tmp_path):
    with shard_writer(tmp_path / "a.bin", 500, FINGERPRINT) as writer:
        writer.append_many(np.arange(9), np.array([4], dtype=np.uint64))
    assert Documents([open_shard(tmp_path / "a.bin")]).lengths.tolist() == [4, 5]


def test_nothing_at_all():
    assert len(Documents([])) == 0
