import dataclasses
import functools
import http.server
import json
import threading

import pytest

from nanolit.data.sources import READ_BY, DataConfig, open_source
from nanolit.runtime.files import sha256_file
from nanolit.village import documents as village_documents


def split_texts(source):
    joined = {"train": [], "val": []}
    begins = True
    for piece in source.pieces():
        if begins or not joined[piece.split]:
            joined[piece.split].append("")
        joined[piece.split][-1] += piece.text
        begins = piece.ends
    return joined


def text_source(tmp_path, **settings):
    return open_source(DataConfig(name="mine", kind="text", **settings), tmp_path)


def test_the_village_is_its_stream(tmp_path):
    source = open_source(DataConfig(documents=5, val_documents=2, seed=3), tmp_path)
    assert split_texts(source) == {
        "train": list(village_documents(3, "train", 0, 5)),
        "val": list(village_documents(3, "val", 0, 2)),
    }
    assert source.n_documents == 7


def test_a_file_is_split_by_position(tmp_path):
    text = "".join(f"Line {i} of the text.\n" for i in range(500))
    (tmp_path / "a.txt").write_text(text)
    source = text_source(tmp_path, source=str(tmp_path / "a.txt"))
    n = int(len(text) * 0.9)
    assert split_texts(source) == {"train": [text[:n]], "val": [text[n:]]}
    assert source.identity["split"] == "contiguous" and source.n_bytes == len(text)


def test_a_split_by_position_may_cut_a_document(tmp_path):
    for name, text in (("a", "aaaa"), ("b", "bbbb"), ("c", "cc")):
        (tmp_path / f"{name}.txt").write_text(text)
    source = text_source(tmp_path, source=str(tmp_path), val_fraction=0.4)
    assert [tuple(piece) for piece in source.pieces()] == [
        ("train", "aaaa", True),
        ("train", "bb", False),
        ("val", "bb", True),
        ("val", "cc", True),
    ]


def test_a_split_by_hash_moves_no_document_when_the_corpus_grows(tmp_path):
    def write(n):
        (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": f"document {i}"}) + "\n" for i in range(n)))
        return split_texts(text_source(tmp_path, source=str(tmp_path / "a.jsonl"), val_fraction=0.2))

    small, large = write(300), write(600)
    for split in ("train", "val"):
        assert large[split][: len(small[split])] == small[split]
    assert 90 < len(large["val"]) < 150 and len(large["train"]) + len(large["val"]) == 600


def test_many_files_are_split_by_hash(tmp_path):
    for i in range(120):
        (tmp_path / f"{i}.txt").write_text(f"document {i}")
    source = text_source(tmp_path, source=str(tmp_path))
    texts = split_texts(source)
    assert source.identity["split"] == "document"
    assert len(texts["train"]) + len(texts["val"]) == 120 and 3 < len(texts["val"]) < 30


def test_identity_follows_the_content_and_not_the_place(tmp_path):
    identities = []
    for folder, text in (("one", "same"), ("two", "same"), ("three", "other")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(text)
        identities.append(text_source(tmp_path, source=str(tmp_path / folder)).identity)
    assert identities[0] == identities[1] != identities[2]
    json.dumps(identities)


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "input.txt").write_text("To be, or not to be\n" * 20)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/input.txt", sha256_file(folder / "input.txt")
        server.shutdown()


def test_a_url_is_downloaded_once_and_checked(server, tmp_path):
    url, sha256 = server
    root = tmp_path / "root"
    for _ in range(2):
        assert text_source(root, url=url, sha256=sha256).n_bytes == 400
    assert (root / "downloads" / "input.txt").is_file()


def test_without_network_the_error_names_url_place_and_override(tmp_path, monkeypatch):
    monkeypatch.setattr("nanolit.runtime.download.time.sleep", lambda seconds: None)  # between attempts
    with pytest.raises(ValueError) as error:
        text_source(tmp_path, url="http://127.0.0.1:1/input.txt", sha256="0" * 64)
    for part in ("http://127.0.0.1:1/input.txt", str(tmp_path / "downloads" / "input.txt"), "data.source=PATH"):
        assert part in str(error.value)


def test_a_source_goes_before_the_url(tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    assert text_source(tmp_path, source=str(tmp_path / "a.txt"), url="http://127.0.0.1:1/x").n_bytes == 4


@pytest.fixture
def rows(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return datasets.Dataset.from_dict({"text": [f"document {i}" for i in range(400)]})


@pytest.mark.parametrize("layout", ["saved", "saved with splits", "parquet"])
def test_openwebtext_is_split_as_nanogpt_does(rows, layout, tmp_path):
    folder = tmp_path / "owt"
    if layout == "saved":
        rows.save_to_disk(str(folder))
    elif layout == "parquet":
        rows.to_parquet(str(folder / "train-00000.parquet"))
    else:
        import datasets

        datasets.DatasetDict({"train": rows}).save_to_disk(str(folder))
    config = DataConfig(name="owt", kind="openwebtext", source=str(folder), val_fraction=0.0125)
    parts = rows.train_test_split(test_size=0.0125, seed=2357, shuffle=True)
    assert split_texts(open_source(config, tmp_path)) == {
        "train": list(parts["train"]["text"]),
        "val": list(parts["test"]["text"]),
    }


def test_openwebtext_without_network_says_how_to_bring_it(tmp_path):
    source = open_source(DataConfig(name="owt", kind="openwebtext"), tmp_path)
    with pytest.raises(ValueError, match=r"save it with datasets\.load_dataset\('Skylion007/openwebtext'\)") as error:
        next(source.pieces())
    assert "data.source=PATH" in str(error.value) and "\n" not in str(error.value)


def test_openwebtext_with_another_column(rows, tmp_path):
    rows.save_to_disk(str(tmp_path / "owt"))
    config = DataConfig(name="owt", kind="openwebtext", source=str(tmp_path / "owt"), text_field="body")
    with pytest.raises(ValueError, match=r"data\.text_field=body: the rows of .* have \['text'\]"):
        next(open_source(config, tmp_path).pieces())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "a/b"}, r"data\.name='a/b'"),
        ({"documents": 0}, r"data\.documents=0: must be at least 1"),
        ({"kind": "openwebtext", "val_fraction": 0.0}, r"data\.val_fraction=0\.0: must be between 0 and 1"),
        ({"kind": "text"}, r"data\.source: not given"),
        ({"source": "a.txt"}, r"data\.source=a\.txt: data\.kind=village does not read it, only text, openwebtext"),
        ({"kind": "text", "source": "a.txt", "documents": 9}, r"data\.documents=9: .* only village; leave it out"),
        ({"kind": "text", "source": "a.txt", "split_seed": 1}, r"data\.split_seed=1: .* only openwebtext"),
        ({"kind": "openwebtext", "sha256": "00"}, r"data\.sha256=00: .* only text"),
        ({"kind": "text", "source": "a.txt", "encoding": "latin-0"}, r"data\.encoding=latin-0: no such encoding"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**settings)


def test_the_table_of_what_each_kind_reads_names_every_field():
    fields = {field.name for field in dataclasses.fields(DataConfig)}
    assert fields - {name for names in READ_BY.values() for name in names} == {
        *("name", "kind", "append_eot", "tokens_per_shard"),
    }
