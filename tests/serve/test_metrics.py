"""What the server tells of itself: health, figures, models, and a line for each request."""

import math

import pytest

from nanolit import __version__


def families(server):
    parser = pytest.importorskip("prometheus_client.parser", reason="needs prometheus-client: pip install -e '.[dev]'")
    told = server.get("/metrics")
    assert told.status == 200 and told.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {family.name: family for family in parser.text_string_to_metric_families(told.body.decode())}


def values(family):
    return {(sample.name, *sorted(sample.labels.values())): sample.value for sample in family.samples}


def test_prometheus_reads_the_figures(serving, served):
    server = serving(served('vil"l\\age\n', text="Hello"), served("town"))
    for stream in (False, True):
        assert server.chat("Hi", stream=stream, model="town").status == 200
    assert server.chat("Hi", model="gpt-4").status == 404
    assert server.get("/v1/nothing").status == 404
    found = families(server)
    assert all(name.startswith("nanolit_") and family.documentation for name, family in found.items())
    kinds = {name.removeprefix("nanolit_"): family.type for name, family in found.items()}
    assert kinds == {
        **dict.fromkeys(("requests", "generated_tokens", "prompt_tokens", "cached_tokens"), "counter"),
        **dict.fromkeys(("waiting", "running", "slots"), "gauge"),
        **dict.fromkeys(("time_to_first_token_seconds", "request_duration_seconds"), "histogram"),
    }
    counted = values(found["nanolit_requests"])
    assert counted["nanolit_requests_total", "/v1/chat/completions", "200"] == 2
    assert counted["nanolit_requests_total", "/v1/chat/completions", "404"] == 1
    assert counted["nanolit_requests_total", "404", "other"] == 1
    slots = found["nanolit_slots"].samples
    assert [sample.labels["model"] for sample in slots] == ['vil"l\\age\n', "town"]
    assert {(sample.labels["worker"], sample.labels["device"], sample.value) for sample in slots} == {
        ("0", "script", 4)
    }
    for name in ("time_to_first_token_seconds", "request_duration_seconds"):
        histogram = found[f"nanolit_{name}"].samples
        buckets = [sample.value for sample in histogram if sample.name.endswith("_bucket")]
        assert buckets == sorted(buckets) and buckets[-1] == 2
        assert float([s for s in histogram if s.name.endswith("_bucket")][-1].labels["le"]) == math.inf
        assert [sample.value for sample in histogram if sample.name.endswith("_count")] == [2]


def test_addresses_that_nobody_has_do_not_fill_the_figures(server):
    for i in range(20):
        server.get(f"/v1/nothing/{i}")
        server.get(f"/v1/models/{i}")
    assert {sample.labels["route"] for sample in families(server)["nanolit_requests"].samples} == {
        *("other", "/v1/models/{name:path}")
    }


def test_stats(server, worker):
    server.chat("Hi")
    told = server.get("/stats").json
    assert told["uptime_s"] >= 0 and told["answers"] == 0
    (model,) = told["models"]
    (one,) = model["workers"]
    assert (model["id"], one["device"], one["slots"], one["generated_tokens"]) == ("village", "script", 4, 5)
    names = {"waiting", "running", "prompt_tokens", "cached_tokens", "requests_finished", "steps"}
    assert names <= set(one)


def test_health(serving, served):
    server = serving(served("village"), served("town"))
    assert server.get("/health").json == {"status": "ok", "models": ["village", "town"], "version": __version__}


def test_the_models(serving, served):
    from nanolit.tokenizers.byte import ByteTokenizer

    server = serving(served("a/b", block_size=77), served("base", tokenizer=ByteTokenizer()))
    told = server.get("/v1/models").json
    assert told["object"] == "list"
    assert [(m["id"], m["object"], m["owned_by"], m["context_length"], m["chat"]) for m in told["data"]] == [
        ("a/b", "model", "nanolit", 77, True),
        ("base", "model", "nanolit", 1000, False),
    ]
    assert server.get("/v1/models/a/b").json == told["data"][0]
    assert server.get("/ui/config.json").json["model"] == "a/b"


def test_requests_are_told_on_request_without_what_was_said(serving, served, capfd):
    server = serving(served("village"), log_requests=True)
    server.chat("A secret")
    server.get("/v1/nothing/%0Aline")
    server.stop()
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("127.0.0.1 ")]
    assert lines[0].startswith("127.0.0.1 POST '/v1/chat/completions' 200 ")
    assert lines[1].startswith(r"127.0.0.1 GET '/v1/nothing/\nline' 404 ")
    assert "secret" not in "".join(lines)
