import functools
import gzip
import http.server
import json
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanolit.data.config import DataConfig
from nanolit.data.preparation.prepare import prepare
from nanolit.data.prepared import Prepared
from nanolit.data.sources import hub
from nanolit.data.sources.hub import HubDataset, HubFile
from nanolit.data.sources.open import open_source
from nanolit.data.sources.remote import fetched, remote_files
from nanolit.runtime.files import sha256_file
from nanolit.tokenizers.directory import TokenizerConfig

BYTE = TokenizerConfig("byte")
SHARDS = {f"data/shard_{i:05d}.parquet": [f"row {i} {j}" for j in range(5)] for i in range(6)}


class Server:
    """Files under an address of this machine, and what was asked for."""

    def __init__(self, folder):
        self.folder, self.asked = folder, []
        folder.mkdir()

    def __enter__(self):
        asked = self.asked

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                asked.append(self.path.partition("?")[0].lstrip("/"))
                super().do_GET()

        self.http = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(self.folder))
        )
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def put(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            pq.write_table(pa.table({"text": content}), path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return sha256_file(path)


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path / "served") as found:
        yield found


@pytest.fixture
def numbered(server):
    for name, rows in SHARDS.items():
        server.put(name, rows)
    return {"url": f"{server.url}/data/shard_{{:05d}}.parquet", "n_files": 6, "split": "last_file"}


def config(**settings):
    return DataConfig(**{"name": "remote", "kind": "text"} | settings)


def texts_by_split(plan):
    found = {}
    for job in plan.jobs:
        for item in plan.items(job):
            found.setdefault(item.split, []).append(item.content)
    return found


# Numbered urls


@pytest.mark.parametrize(("max_files", "numbers"), [(None, range(6)), (6, range(6)), (9, range(6)), (3, [0, 1, 5])])
def test_numbered_urls_are_the_first_and_the_last(max_files, numbers, numbered, server, tmp_path):
    source = open_source(config(**numbered, max_files=max_files), tmp_path)
    plan = source.plan()
    assert json.loads(json.dumps(source.identity)) == source.identity
    assert source.identity["files"] == list(numbers) and server.asked == []
    names = [f"data/shard_{i:05d}.parquet" for i in numbers]
    assert texts_by_split(plan) == {
        "train": [row for name in names[:-1] for row in SHARDS[name]],
        "val": SHARDS[names[-1]],
    }
    assert server.asked == names


def test_each_job_fetches_its_own_file_once(numbered, server, tmp_path):
    plan = open_source(config(**numbered), tmp_path).plan()
    assert [len(job.parts) for job in plan.jobs] == [1] * 6 and not (tmp_path / "downloads").exists()
    for _ in range(2):
        assert [item.content for item in plan.items(plan.jobs[3])] == SHARDS["data/shard_00003.parquet"]
    assert server.asked == ["data/shard_00003.parquet"]
    path = server.folder / "data/shard_00003.parquet"
    (told,) = plan.facts(plan.jobs[3])["files"]
    assert told[1] == sha256_file(path) and told[0].endswith("/data/shard_00003.parquet")


def test_prepared_with_a_cap_it_fetches_what_it_needs(numbered, server, tmp_path):
    prepared = Prepared.open(prepare(config(**numbered, max_tokens=30), BYTE, tmp_path, n_workers=1))
    assert prepared.manifest["splits"]["train"]["tokens"] == 30
    assert sorted(server.asked) == ["data/shard_00000.parquet", "data/shard_00005.parquet"]
    assert len(prepared.manifest["files"]) == 2


def test_a_number_among_other_braces():
    _, files = remote_files(config(url="http://host/{a}/x{:03d}.jsonl", n_files=2), None)
    assert [file.url for file in files] == ["http://host/{a}/x000.jsonl", "http://host/{a}/x001.jsonl"]


# Lists of urls, single urls


def test_a_list_is_split_by_its_names(server, tmp_path):
    for split, text in (("train", "one<|e|>two<|e|>three"), ("valid", "four\n<|e|>\nfive")):
        server.put(f"main/Tiny-V2-{split}.txt", text)
    urls = [f"{server.url}/main/Tiny-V2-{split}.txt?download=true" for split in ("train", "valid")]
    source = open_source(config(url=urls, separator="<|e|>"), tmp_path)
    assert source.identity["split"] == "named" and server.asked == []
    assert texts_by_split(source.plan()) == {"train": ["one", "two", "three"], "val": ["four", "five"]}
    assert source.identity == open_source(config(url=urls, separator="<|e|>"), tmp_path / "other").identity


def test_files_of_one_name_are_kept_apart(server, tmp_path):
    names = ("a/data.jsonl", "b/data.jsonl", "a--b/data.jsonl", "b/data.jsonl?part=2")
    rows = {name: json.dumps({"text": name}) for name in names[:3]}
    for name, row in rows.items():
        server.put(name, row)
    urls = [f"{server.url}/{name}" for name in names]
    plan = open_source(config(url=urls, split="last_file"), tmp_path).plan()
    assert texts_by_split(plan) == {"train": list(names[:3]), "val": ["b/data.jsonl"]}
    for name in names[:2]:  # other recipes with the same root
        (job,) = open_source(config(url=f"{server.url}/{name}"), tmp_path).plan().jobs
        plan = open_source(config(url=f"{server.url}/{name}"), tmp_path).plan()
        assert [item.content for item in plan.items(job)] == [name]
    downloads = tmp_path / "downloads"
    assert all(downloads in path.resolve().parents for path in downloads.rglob("*"))


def test_no_url_leads_out_of_the_folder(tmp_path):
    for url in ("http://host/../../etc/x.txt", "file:///etc/x.txt", "http://host/..%2F../x.txt"):
        _, (file,) = remote_files(config(url=url), tmp_path)
        assert (tmp_path / file.name).resolve().is_relative_to(tmp_path)


def test_a_single_file_with_its_hash(server, tmp_path):
    text = "To be, or not to be\n" * 20
    sha256 = server.put("input.txt", text)
    settings = {"url": f"{server.url}/input.txt", "sha256": sha256}
    for _ in range(2):
        source = open_source(config(**settings), tmp_path)
        n = int(len(text) * 0.9)
        found = texts_by_split(source.plan())
        assert {split: "".join(parts) for split, parts in found.items()} == {"train": text[:n], "val": text[n:]}
    (kept,) = (tmp_path / "downloads").rglob("input.txt")
    assert server.asked == ["input.txt"]
    assert source.identity["split"] == "contiguous" and source.identity["sha256"] == sha256
    kept.write_text("something else")
    with pytest.raises(ValueError, match=f"expected {sha256}; delete it to fetch it again, or give data.source=PATH"):
        list(source.texts())


def test_another_file_than_was_promised_is_not_kept(server, tmp_path, monkeypatch):
    monkeypatch.setattr("nanolit.runtime.download.time.sleep", lambda seconds: None)
    server.put("input.txt", "another text")
    source = open_source(config(url=f"{server.url}/input.txt", sha256="0" * 64, split="document"), tmp_path)
    with pytest.raises(ValueError, match=f"expected {'0' * 64}"):
        list(source.texts())
    assert not list((tmp_path / "downloads").rglob("input.txt"))


def test_compressed_rows(server, tmp_path):
    server.put("x.jsonl.gz", gzip.compress(json.dumps({"body": "a row"}).encode()))
    source = open_source(config(url=f"{server.url}/x.jsonl.gz", text_field="body"), tmp_path)
    assert list(source.texts()) == ["a row"] and source.identity["text_field"] == "body"


@pytest.mark.parametrize("names", [["input.txt"], ["a-train.txt", "a-val.txt"]])
def test_without_a_network_one_line_says_what_to_place_where(names, tmp_path, monkeypatch):
    monkeypatch.setattr("nanolit.runtime.download.time.sleep", lambda seconds: None)
    urls = [f"http://127.0.0.1:1/{name}" for name in names]
    source = open_source(
        config(url=urls[0] if len(urls) == 1 else urls, split="auto" if urls[1:] else "document"), tmp_path
    )
    with pytest.raises(ValueError) as error:
        list(source.texts())
    place = tmp_path / "downloads" / "127.0.0.1%3A1" / names[0]
    for part in (f"cannot download {urls[0]}", f"place the file at {place}", "data.source=PATH"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("byhand")
    assert next(iter(source.texts())) == "byhand"


def test_threads_that_want_one_file_at_once_fetch_it_once(numbered, server, tmp_path):
    _, files = remote_files(config(**numbered), tmp_path)
    threads = [threading.Thread(target=fetched, args=(files[2], tmp_path)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked == ["data/shard_00002.parquet"]


# Encoding on the fly


def test_for_portions_smaller_than_a_file_all_files_come_first(numbered, server, tmp_path):
    for name in SHARDS:
        pq.write_table(pa.table({"text": SHARDS[name]}), server.folder / name, row_group_size=1)
    source = open_source(config(**numbered), tmp_path)
    fine, coarse = source.plan(1), source.plan()
    assert len(fine.jobs) == 30 and texts_by_split(fine) == texts_by_split(coarse)
    told = [tuple(file) for job in fine.jobs for file in fine.facts(job).get("files", ())]
    assert len(told) == len(set(told)) == 6
    prepared = Prepared.open(prepare(config(**numbered, on_the_fly=True), BYTE, tmp_path / "root"))
    assert set(prepared.splits) == {"val"}
    work = prepared.text_work(1)
    train = [item.content for job in work.plan.jobs for item in work.plan.items(job) if item.split == "train"]
    assert train == texts_by_split(coarse)["train"]


@pytest.mark.parametrize("split", ["document", "rows", "contiguous"])
def test_the_portions_do_not_decide_the_split(split, numbered, tmp_path):
    source = open_source(config(**numbered | {"split": split, "val_fraction": 0.3}), tmp_path)
    fine, coarse = (texts_by_split(source.plan(size)) for size in (1, None))
    assert {k: "".join(v) for k, v in fine.items()} == {k: "".join(v) for k, v in coarse.items()}
    assert set(fine) == {"train", "val"}


# Data sets of the hub


@pytest.fixture
def on_the_hub(tmp_path, monkeypatch):
    """A hub that is asked in vain the second time."""
    folder = tmp_path / "hub"
    folder.mkdir()
    files = {}
    for name, rows in (("train-0", ["a", "b"]), ("train-1", ["c"]), ("test-0", ["d"])):
        pq.write_table(pa.table({"text": rows}), folder / f"{name}.parquet")
        files[name] = HubFile(f"{name}.parquet", None, sha256_file(folder / f"{name}.parquet"))
    asked = []

    def resolve(name, subset, revision):
        asked.append((name, subset, revision))
        if asked.count(asked[-1]) > 1:
            raise ValueError("no network")
        return HubDataset(name, "c0ffee", {"train": [files["train-0"], files["train-1"]], "test": [files["test-0"]]})

    fetches = []

    def fetch_file(name, revision, file):
        assert (name, revision) == ("org/set", "c0ffee")
        fetches.append(file)
        return folder / file

    monkeypatch.setattr(hub, "resolve", resolve)
    monkeypatch.setattr(hub, "fetch_file", fetch_file)
    return asked, fetches, folder


def test_a_data_set_is_asked_for_once_and_fetched_by_its_jobs(on_the_hub, tmp_path):
    asked, fetches, _ = on_the_hub
    first = open_source(config(dataset="org/set"), tmp_path)
    again = open_source(config(dataset="org/set"), tmp_path)
    assert asked == [("org/set", None, None)] and fetches == []
    assert first.identity == again.identity == json.loads(json.dumps(first.identity))
    assert first.identity["revision"] == "c0ffee" and first.identity["split"] == "named"
    assert texts_by_split(again.plan()) == {"train": ["a", "b", "c"], "val": ["d"]}  # no validation but the test split
    assert fetches == ["train-0.parquet", "train-1.parquet", "test-0.parquet"]


def test_subsets_and_revisions_are_remembered_apart(on_the_hub, tmp_path):
    for settings in ({}, {"subset": "x"}, {"revision": "x"}, {"subset": "x", "revision": "y"}):
        for _ in range(2):
            open_source(config(dataset="org/set", **settings), tmp_path)
    assert len(on_the_hub[0]) == 4 and len(list((tmp_path / ".hub").iterdir())) == 4


def test_a_file_that_is_not_what_the_hub_says_is_refused(on_the_hub, tmp_path):
    pq.write_table(pa.table({"text": ["other"]}), on_the_hub[2] / "train-1.parquet")
    source = open_source(config(dataset="org/set"), tmp_path)
    with pytest.raises(ValueError, match=r"train-1\.parquet: sha256 is \w+, expected \w+; delete it to fetch") as error:
        list(source.texts())
    assert "\n" not in str(error.value)


def test_the_first_time_without_a_network_leaves_nothing(tmp_path, monkeypatch):
    def resolve(*_):
        raise ValueError("data.dataset=org/set: it is not on this machine")

    monkeypatch.setattr(hub, "resolve", resolve)
    with pytest.raises(ValueError, match="not on this machine"):
        open_source(config(dataset="org/set"), tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_a_source_goes_before_a_data_set_and_that_before_a_url(on_the_hub, tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    settings = {"dataset": "org/set", "url": "http://127.0.0.1:1/x.txt"}
    assert "".join(open_source(config(**settings, source=str(tmp_path / "a.txt")), tmp_path).texts()) == "mine"
    assert open_source(config(**settings), tmp_path).identity["dataset"] == "org/set"
