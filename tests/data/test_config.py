import dataclasses

import pytest

from nanolit.data.config import READ_BY, DataConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "a/b"}, r"data\.name='a/b'"),
        ({"documents": 0}, r"data\.documents=0: must be at least 1"),
        ({"kind": "text", "source": "a", "val_fraction": 0.0}, r"data\.val_fraction=0\.0: must be between 0 and 1"),
        ({"kind": "text"}, r"data\.source: not given"),
        ({"source": "a.txt"}, r"data\.source=a\.txt: data\.kind=village does not read it, only text, conversations"),
        ({"kind": "text", "source": "a.txt", "documents": 9}, r"data\.documents=9: .* only village; leave it out"),
        ({"kind": "tokens", "train": "a", "val": "b", "split_seed": 1}, r"data\.split_seed=1: .* only text, conv"),
        ({"kind": "tokens", "train": "a.bin"}, r"data\.val: not given; say which file"),
        ({"kind": "text", "url": "http://x/{:05d}.parquet"}, r"data\.n_files: not given; data\.url has a number"),
        ({"kind": "text", "source": "a", "max_files": 1}, r"data\.max_files=1: must be at least 2"),
        ({"kind": "text", "source": "a", "separator": ""}, r"data\.separator: got an empty text"),
        (
            {"kind": "text", "dataset": "a/b", "max_files": 9},
            r"data\.max_files=9: is read of a data\.url with a number",
        ),
        ({"kind": "text", "url": ["a", "b"], "sha256": "0"}, r"data\.sha256=0: is read of one file at data\.url only"),
        ({"kind": "text", "url": "a", "revision": "0"}, r"data\.revision=0: is read of a data\.dataset only"),
        ({"kind": "conversations", "source": "a", "text_field": "x"}, r"data\.text_field=x: .* only text"),
        ({"max_tokens": 0}, r"data\.max_tokens=0: must be at least 1"),
        ({"on_the_fly": True, "kind": "grokking"}, r"data\.on_the_fly=True: data\.kind=grokking does not read it"),
        ({"kind": "text", "source": "a.txt", "encoding": "latin-0"}, r"data\.encoding=latin-0: no such encoding"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**settings)


def test_the_table_of_what_each_kind_reads_names_every_field():
    fields = {field.name for field in dataclasses.fields(DataConfig)}
    assert fields - {name for names in READ_BY.values() for name in names} == {
        *("name", "kind", "tokens_per_shard"),
    }
