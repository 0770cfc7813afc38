"""Who may ask, how much at once, and what browsers are told about every answer."""

import socket

import pytest

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
GUARDED = ["/v1/models", "/v1/models/village", "/stats", "/metrics", "/v1/nothing", "/ui"]
OPEN = ["/", "/health", "/ui/config.json", "/ui/app.js"]


@pytest.fixture(scope="module")
def locked(serving, served):
    return serving(served("village"), api_key="s3cret")


@pytest.fixture(scope="module")
def open_one(serving, served):
    return serving(served("village"))


@pytest.mark.parametrize("path", [*GUARDED, *OPEN, CHAT, TEXT, "/ui/nothing", "/v1/models/gpt-4"])
@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_every_answer_is_told_to_browsers_as_harmless(open_one, path, host):
    for told in (open_one.get(path, Host=host), open_one.post(path, b"{", Host=host)):
        policy = dict(part.strip().split(" ", 1) for part in told.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert told.headers["X-Content-Type-Options"] == "nosniff"
        assert told.headers["Referrer-Policy"] == "no-referrer"
        assert not [name for name in told.headers if name.lower().startswith("access-control")]
        assert "server" not in told.headers
        assert (told.status == 403) == (host == "evil.example")


def test_a_stream_too(open_one):
    assert "default-src 'none'" in open_one.chat("Hi", stream=True).headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", GUARDED)
def test_without_the_key_there_is_nothing(locked, path):
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "s3cret"},
        {"Authorization": "Basic s3cret"},
    ):
        told = locked.get(path, **headers)
        assert told.status == 401 and told.headers["WWW-Authenticate"] == "Bearer"
        assert (told.error["code"], told.error["type"]) == ("invalid_api_key", "authentication_error")
    assert locked.get(path, Authorization="Bearer s3cret").status != 401


@pytest.mark.parametrize("path", OPEN)
def test_the_page_and_health_are_open(locked, path):
    assert locked.get(path).status == 200


def test_the_client_sends_the_key(locked):
    openai = pytest.importorskip("openai", reason="needs openai: pip install -e '.[dev]'")
    with pytest.raises(openai.AuthenticationError) as error:
        locked.openai().models.list()
    assert error.value.code == "invalid_api_key"
    assert locked.openai(api_key="s3cret").models.list().data[0].id == "village"
    assert locked.post(CHAT, {"messages": []}).status == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost", 200), ("LOCALHOST:8000", 200), ("127.0.0.1:1", 200), ("127.0.0.2", 200), ("[::1]:80", 200)),
        *(("evil.example", 403), ("localhost.evil.example", 403), ("192.168.0.1", 403), ("[", 403), ("", 403)),
    ],
)
def test_another_name_for_this_machine_is_refused(open_one, host, status):
    told = open_one.get("/health", Host=host)
    assert told.status == status
    if status == 403:
        assert told.error["type"] == "permission_error" and repr(host) in told.error["message"]


def test_pages_of_others_may_ask_if_they_are_named(serving, served):
    server = serving(served("village"), cors_origins=("https://friend.example",), api_key="s3cret")
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    told = server.get(CHAT, "OPTIONS", Origin="https://friend.example", **ask)
    assert told.status == 200 and told.headers["Access-Control-Allow-Origin"] == "https://friend.example"
    assert "authorization" in told.headers["Access-Control-Allow-Headers"]
    told = server.get("/health", Origin="https://friend.example")
    assert told.headers["Access-Control-Allow-Origin"] == "https://friend.example"
    assert server.get(CHAT, "OPTIONS", Origin="https://evil.example", **ask).status == 400
    assert "Access-Control-Allow-Origin" not in server.get("/health", Origin="https://evil.example").headers


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"host": "0.0.0.0"}, "host: 0.0.0.0 can be reached from other machines, which needs a key"),
        ({"host": "::"}, "host: :: can be reached from other machines"),
        ({"host": ""}, "host: got '', which names no address"),
        ({"host": "no such host"}, "host: got 'no such host', which names no address"),
        ({"port": 65536}, "port: got 65536, allowed: 1 to 65535"),
        ({"port": -1}, "port: got -1"),
        ({"api_key": ""}, "api_key: is empty"),
        ({"api_key": "a key"}, "api_key: has a space in it"),
        ({"api_key": "Schlüssel"}, "api_key: is empty or has characters that a header cannot carry"),
        ({"max_body_bytes": 0}, "max_body_bytes: got 0, must be a number from 1 on"),
        ({"timeout_s": 0.0}, "timeout_s: got 0.0"),
        ({"timeout_s": float("nan")}, "timeout_s: got nan"),
        ({"drain_s": -1.0}, "drain_s: got -1.0"),
        ({"default_max_tokens": 0}, "default_max_tokens: got 0"),
        ({"temperature": -1.0}, "temperature: got -1.0"),
        ({"top_k": 0}, "top_k: got 0"),
        ({"cors_origins": ("example.org",)}, "cors_origins: got 'example.org'"),
        ({"cors_origins": ("https://example.org/",)}, "cors_origins: got 'https://example.org/'"),
        ({"cors_origins": ("*",)}, "cors_origins: * lets every page in the world ask this server"),
    ],
    ids=range(19),
)
def test_settings_that_are_refused(settings, told):
    from nanolit.serve.settings import ServerSettings

    with pytest.raises(ValueError) as error:
        ServerSettings(**settings)
    assert str(error.value).startswith(told) and "\n" not in str(error.value)
    assert ServerSettings(host="0.0.0.0", api_key="s3cret").is_loopback is False


def test_a_port_that_is_taken(open_one):
    from nanolit.serve.run import bind
    from nanolit.serve.settings import ServerSettings

    with pytest.raises(ValueError, match=rf"port: 127\.0\.0\.1:{open_one.port} cannot be had .* port=0 for any"):
        bind(ServerSettings(port=open_one.port))


# Limits


@pytest.mark.parametrize("is_told", [True, False], ids=["length", "chunks"])
def test_a_body_that_is_too_long(serving, served, worker, is_told):
    server = serving(served("village", worker), max_body_bytes=100_000)
    body = b'{"prompt": "' + b"x" * 500_000 + b'"}'
    parts = body if is_told else (body[i : i + 10_000] for i in range(0, len(body), 10_000))
    connection = server.connect()
    connection.request("POST", TEXT, parts, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 413 and response.headers["Connection"] == "close"
    assert b"the body is longer than 100000 bytes; send less" in response.read()
    assert worker.asked == []
    connection.close()


def test_a_body_without_end_is_not_waited_for(serving, served):
    server = serving(served("village"), max_body_bytes=1000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        client.sendall(b"Content-Length: 10000000000\r\n\r\n" + b"x" * 10_000)
        assert b" 413 " in client.recv(100)


def test_a_body_that_does_not_come(serving, served, wait):
    server = serving(served("village"), timeout_s=0.2)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        client.sendall(b'Content-Length: 100\r\n\r\n{"prompt"')
        assert b" 408 " in client.recv(100)


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue(server, worker, stream):
    worker.full_for_s = 7
    told = server.chat("Hi", stream=stream)
    assert told.status == 429 and told.headers["Retry-After"] == "7"
    assert (told.error["type"], told.error["code"]) == ("rate_limit_error", "queue_full")
    openai = pytest.importorskip("openai", reason="needs openai: pip install -e '.[dev]'")
    with pytest.raises(openai.RateLimitError, match="3 answers are waiting already"):
        server.openai().chat.completions.create(model="village", messages=[{"role": "user", "content": "Hi"}])


def test_an_answer_that_takes_too_long(serving, served, worker, wait):
    worker.holds_at = 3
    server = serving(served("village", worker), timeout_s=0.3)
    told = server.chat("Hi")
    assert told.status == 503 and told.headers["x-should-retry"] == "false"
    assert told.error["message"].startswith("the answer was not ready after 0.3 seconds")
    wait(lambda: worker.n_cancelled == 1, "the worker to hear of it")
    events = server.chat("Hi", stream=True).events
    text = "".join(event["choices"][0]["delta"]["content"] for event in events[:-1])
    assert text == "Grü" and events[-1]["error"]["code"] == "timeout"
    wait(lambda: worker.n_cancelled == 2, "the worker to hear of it")


def test_clients_queue_by_address_whatever_they_call_themselves(server, worker):
    server.chat("Hi")
    server.chat("Hi", user="me")
    assert [request.client for request in worker.asked] == ["127.0.0.1"] * 2


def test_who_sends_no_request_is_hung_up_on(server, monkeypatch):
    monkeypatch.setattr("nanolit.serve.run.HEAD_S", 0.2)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as silent:
        silent.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
        assert silent.recv(100) == b""
    assert server.get("/health").status == 200


def test_a_model_that_has_died_is_told(server, worker):
    worker.is_alive = False
    assert server.get("/health").status == 503
    answer = server.chat("Hi")
    assert answer.status == 503 and answer.error["code"] == "stopping"


# The page


def test_the_page_is_served_from_memory(open_one):
    index = open_one.get("/")
    assert index.status == 200 and index.headers["Content-Type"].startswith("text/html")
    assert b"http://" not in index.body.replace(b"http://www.w3.org", b"") and b"https://" not in index.body
    again = open_one.get("/", **{"If-None-Match": index.headers["ETag"]})
    assert again.status == 304 and again.body == b""
    assert open_one.get("/ui/app.js").headers["Content-Type"] == "text/javascript; charset=utf-8"


def test_what_the_page_is_told(locked):
    told = locked.get("/ui/config.json").json
    assert told == {
        "model": "village",
        "models": ["village"],
        "needs_key": True,
        "limits": {"max_messages": 500, "max_message_chars": 8000, "max_total_chars": 32_000},
        "defaults": {"temperature": 0.8, "top_k": 50, "max_tokens": 512},
    }
