"""Data sets on a hub that this test plays on the loopback, against what `datasets` itself makes of them."""

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("datasets")
import pyarrow.parquet  # noqa: E402, F401

OLD, NEW, OTHER = ("0123456789abcdef0123456789abcdef0123456" + digit for digit in "789")
CARD = """---
configs:
- config_name: small
  default: {default}
  data_files:
  - split: train
    path: small/train-*
  - split: validation
    path: small/validation-*
- config_name: large
  data_files: "large/**"
---
"""


def parquet(*texts: str) -> bytes:
    file = io.BytesIO()
    pa.parquet.write_table(pa.table({"text": list(texts)}), file)
    return file.getvalue()


FILES = {
    "small/train-00001-of-00002.parquet": parquet("c"),
    "small/train-00000-of-00002.parquet": parquet("a", "b"),
    "small/validation-00000-of-00001.parquet": parquet("d"),
    "large/deep/er.parquet": parquet("e"),
    "large/x.parquet": bytes(24_000_000),
    "unused.csv": b"text\nf\n",
}
REPOSITORIES = {
    "org/set": {
        OLD: {"README.md": CARD.format(default="true").encode(), **FILES},
        NEW: {"README.md": CARD.format(default="true").encode(), **FILES, "small/train-2.parquet": parquet("new")},
    },
    "org/undecided": {OTHER: {"README.md": CARD.format(default="false").encode(), **FILES}},
    "org/plain": {OTHER: {"data/train.jsonl": b"{}\n", "data/dev.jsonl": b"{}\n", "data/test.jsonl": b"{}\n"}},
    "org/pictures": {OTHER: {"README.md": b"nothing\n", "data/a.xyz": b"?"}},
    "org/gated": {},
    "org/escape": {OTHER: {"../../train.jsonl": b"{}\n"}},
    "org/code": {OTHER: {"code.py": b"exit()\n", "train.jsonl": b"{}\n"}},
}
NAMED = {"main": NEW, "v1": OLD}
PAGE = 3  # entries of a listing


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's interface that huggingface_hub asks for."""

    protocol_version = "HTTP/1.1"
    asked: list[str] = []
    cut: set[str] = set()  # files whose next download breaks off

    def log_message(self, *_):
        pass

    def answer(self, code, body=b"", /, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        Hub.asked.append(f"{self.command} {unquote(self.path)} {self.headers.get('Range', '')}".strip())
        parts = unquote(urlparse(self.path).path).strip("/").split("/")
        if parts[0] == "api":
            parts = parts[1:]
        name, rest = "/".join(parts[1:3]), parts[3:]
        if parts[0] != "datasets" or name not in REPOSITORIES:
            return self.answer(404, X_Error_Code="RepoNotFound")
        if name == "org/gated":
            return self.answer(403, X_Error_Code="GatedRepo")
        if self.server.down:
            return self.answer(503)
        commits = REPOSITORIES[name]
        commit = NAMED.get(rest[1], rest[1]) if rest else NEW
        commit = OTHER if OTHER in commits else commit
        if commit not in commits:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        if not rest or rest[0] == "revision":
            return self.answer(200, json.dumps({"id": name, "sha": commit, "siblings": []}).encode())
        if rest[0] == "tree":
            return self.listing(commits[commit], "/".join(rest[2:]))
        return self.file(commits[commit], "/".join(rest[2:]), commit)

    do_HEAD = do_GET

    def do_POST(self):
        """paths-info, of which `datasets` itself makes use."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer(200, b"[]")

    def listing(self, files, under):
        query = parse_qs(urlparse(self.path).query)
        inside = {path: content for path, content in sorted(files.items()) if path.startswith(under)}
        entries = [{"type": "file", "oid": "0" * 40, "size": len(raw), "path": path} for path, raw in inside.items()]
        for entry, raw in zip(entries, inside.values(), strict=True):
            if entry["path"].endswith("parquet"):
                entry["lfs"] = {"oid": hashlib.sha256(raw).hexdigest(), "size": len(raw), "pointerSize": 130}
        folders = {parent for path in inside for parent in parents(path)}
        entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in sorted(folders)]
        if query.get("recursive", ["false"])[0].lower() != "true":
            entries = [entry for entry in entries if "/" not in entry["path"][len(under) :].strip("/")]
        at = int(query.get("cursor", ["0"])[0])
        more = {}
        if at + PAGE < len(entries):
            base = self.path.partition("&cursor")[0]
            more = {"Link": f'<http://{self.headers["Host"]}{base}&cursor={at + PAGE}>; rel="next"'}
        self.answer(200, json.dumps(entries[at : at + PAGE]).encode(), Content_Type="application/json", **more)

    def file(self, files, path, commit):
        if path not in files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        raw = files[path]
        tag = hashlib.sha256(raw).hexdigest() if path.endswith("parquet") else hashlib.sha1(raw).hexdigest()
        headers = {"ETag": f'"{tag}"', "X_Repo_Commit": commit}
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if self.command == "GET" and path in Hub.cut:
            Hub.cut.remove(path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw[: len(raw) // 2])
            self.close_connection = True
            return None
        if begin:
            headers["Content_Range"] = f"bytes {begin}-{len(raw) - 1}/{len(raw)}"
        return self.answer(206 if begin else 200, raw[begin:], **headers)


def parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as running:
        running.down = False
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def client(server, tmp_path):
    """Runs Python where the hub is ours: its address is read when huggingface_hub is imported."""
    Hub.asked.clear()

    def run(*expressions: str, **environment: str):
        endpoint = f"http://127.0.0.1:{server.server_port}"
        ours = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
        ours |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
        code = f"{PRELUDE}\nprint(json.dumps([{', '.join(expressions)}]))"
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | ours | environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


PRELUDE = """
import dataclasses, json
from huggingface_hub import snapshot_download
from nanolit.data.sources import hub

def resolve(*args):
    return told(lambda: dataclasses.asdict(hub.resolve(*args)))

def fetch(*args):
    return told(lambda: str(hub.fetch_file(*args)))

def told(call):
    try:
        return call()
    except ValueError as error:
        return str(error)

def theirs(*args):
    import datasets

    files = datasets.load_dataset_builder(args[0], args[1], revision=args[2]).config.data_files
    return {str(split): list(paths) for split, paths in files.items()}
"""
ASKED = [
    *(("org/set", subset, revision) for subset in (None, "small", "large") for revision in (None, "v1", OLD)),
    *(("org/undecided", "large", None), ("org/plain", None, None)),
]


def test_splits_are_those_that_datasets_finds_and_no_data_is_fetched(client):
    ours = client(*(f"resolve{args}" for args in ASKED))
    assert not any(".parquet" in line for line in Hub.asked)
    theirs = client(*(f"theirs{args}" for args in ASKED))
    for (name, subset, revision), got, expected in zip(ASKED, ours, theirs, strict=True):
        commit = OTHER if name != "org/set" else NEW if revision is None else OLD
        assert (got["name"], got["revision"]) == (name, commit)
        named = {
            split: [f"hf://datasets/{name}@{commit}/{file['name']}" for file in files]
            for split, files in got["splits"].items()
        }
        assert named == expected and all(named.values()), (name, subset, revision)
        for file in (file for files in got["splits"].values() for file in files):
            content = REPOSITORIES[name][commit][file["name"]]
            large = file["name"].endswith("parquet")
            assert file["n_bytes"] == len(content)
            assert file["sha256"] == (hashlib.sha256(content).hexdigest() if large else None)


def test_a_file_is_fetched_once_and_a_broken_download_goes_on(client):
    file = "large/x.parquet"
    Hub.cut.add(file)
    path, again = client(*2 * [f"fetch('org/set', {OLD!r}, {file!r})"])
    assert path == again and Path(path).read_bytes() == FILES[file]
    fetched = [line for line in Hub.asked if line.startswith("GET") and file in line]
    assert len(fetched) == 2 and "bytes=" in fetched[1], "the second time asks for the rest only"


def test_what_was_downloaded_whole_is_resolved_alike_without_a_network(client, server):
    revisions = (None, "v1", OLD)
    asked = [f"resolve('org/set', None, {revision!r})" for revision in revisions]
    whole = [f"snapshot_download('org/set', repo_type='dataset', revision={revision!r})" for revision in revisions]
    online = client(*whole, *asked)[len(whole) :]
    assert [one["revision"] for one in online] == [NEW, OLD, OLD]
    Hub.asked.clear()
    *offline, file = client(*asked, f"fetch('org/set', {OLD!r}, 'unused.csv')", HF_HUB_OFFLINE="1")
    assert offline == online and Path(file).read_bytes() == FILES["unused.csv"] and Hub.asked == []
    server.down = True
    try:
        assert client(asked[2]) == [online[2]], "the hub answers that it is down"
    finally:
        server.down = False


def test_without_a_network_it_is_told_what_to_fetch_and_where_to_put_it(client):
    few = f"repo_type='dataset', revision={OLD!r}, allow_patterns='*README.md'"
    client(f"snapshot_download('org/set', {few})")
    whole, part = f"resolve('org/set', None, {OLD!r})", f"fetch('org/set', {OLD!r}, 'large/x.parquet')"
    offline = "HF_HUB_OFFLINE is set; unset it"
    unreachable = "http://127.0.0.1:9 cannot be reached; go online"
    lines = client(whole, part, HF_HUB_OFFLINE="1") + client(whole, HF_ENDPOINT="http://127.0.0.1:9")
    whys, files = (offline, offline, unreachable), ("", "large/x.parquet ", "")
    for line, why, file in zip(lines, whys, files, strict=True):
        assert line.startswith("data.dataset=org/set: ") and why in line and "\n" not in line
        command = f"`hf download org/set {file}--repo-type dataset --revision {OLD} --local-dir DIR`"
        assert f"{command}, bring DIR here and give data.source=DIR" in line


def test_mistakes_are_told_in_one_line(client):
    asked = {
        "resolve('org/set', 'huge', None)": "data.subset=huge: org/set has the subsets small large; give one of them",
        "resolve('org/undecided', None, None)": "data.subset=null: org/undecided has the subsets small large",
        "resolve('org/set', None, 'v9')": "data.revision=v9: org/set has no such revision; give a branch",
        "resolve('org/none', None, None)": "data.dataset=org/none: no such data set",
        "resolve('a/b/c', None, None)": "data.dataset=a/b/c: no such data set",
        "resolve('org/pictures', None, None)": "data.dataset=org/pictures: has no files that `datasets` reads (",
        "resolve('org/code', None, None)": "scripts are no longer supported",
        "resolve('org/gated', None, None)": "it is open only to whom its owners admit; ask for access on its page",
        "resolve('org/escape', None, None)": "lists a file ../../train.jsonl, which leaves its folder",
        f"fetch('org/set', {OLD!r}, 'none.parquet')": "data.dataset=org/set: has no file none.parquet at",
    }
    for line, told in zip(client(*asked), asked.values(), strict=True):
        assert told in line and "\n" not in line
