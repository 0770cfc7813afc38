"""However a request ends, the worker is told at once; whatever a request does, others are answered meanwhile."""

import gc
import json
import socket
import threading
import weakref

import pytest

from nanolit.inference.answer import Piece

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_a_client_that_goes_away_is_not_written_for(server, worker, wait, stream, n):
    worker.holds_at = 3
    connection = server.begin(CHAT, {"messages": HI, "stream": stream, "n": n})
    wait(lambda: worker.asked, "the request")
    if stream:
        assert connection.getresponse().read(10)
    connection.close()
    wait(lambda: worker.n_cancelled == 1, "the worker to hear of it")
    wait(lambda: server.get("/stats").json["answers"] == 0, "the answer to be let go")
    assert server.server.models.find("village").n_busy == 0
    wait(lambda: 'completions",status="' in server.get("/metrics").body.decode(), "the request to be counted")


def test_the_clients_own_close_cancels(server, worker, wait):
    worker.holds_at = 3
    with server.openai() as client:
        stream = client.chat.completions.create(model="village", messages=HI, stream=True)
        assert next(iter(stream)).choices[0].delta.role == "assistant"
        stream.close()
    wait(lambda: worker.n_cancelled == 1, "the worker to hear of it")


def test_an_aborted_connection_cancels(server, worker, wait):
    worker.holds_at = 3
    connection = server.begin(CHAT, {"messages": HI, "stream": True})
    wait(lambda: worker.asked, "the request")
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST
    connection.sock.close()
    wait(lambda: worker.n_cancelled == 1, "the worker to hear of it")


def test_half_a_request_is_forgotten(server, worker, wait):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        client.sendall(b'Content-Length: 100\r\n\r\n{"prompt"')
        wait(lambda: server.server.server_state.tasks, "the request")
    wait(lambda: not server.server.server_state.tasks, "its end")
    wait(lambda: 'status="499"' in server.get("/metrics").body.decode(), "the request to be counted")
    assert worker.asked == []


def test_a_client_that_does_not_read_holds_nobody_up(serving, served, worker, wait):
    """More than sockets hold: the server stops writing, its time runs out, and the place is free again."""
    worker.said = [Piece(0, "text", "x" * 100_000) for _ in range(100)]
    server = serving(served("village", worker), timeout_s=1.0)
    connection = server.begin(CHAT, {"messages": HI, "stream": True})
    wait(lambda: worker.asked, "the request")
    assert server.chat("Hi").status == 200
    wait(lambda: server.get("/stats").json["answers"] == 0, "the answer to be let go")
    assert server.server.models.find("village").n_busy == 0
    connection.close()


def test_what_was_refused_half_way_is_cancelled(serving, served, worker, wait):
    """The second prompt finds the queue full: the first is not written either."""
    taken, submit = [], worker.submit

    def full_at_the_second(request, deliver):
        taken.append(submit(request, deliver))
        worker.full_for_s = 2
        return taken[-1]

    worker.holds_at, worker.submit = 0, full_at_the_second
    server = serving(served("village", worker))
    assert server.post(TEXT, {"prompt": ["a", "b"]}).status == 429
    wait(lambda: worker.n_cancelled == 1, "the worker to hear of it")
    assert server.server.models.find("village").n_busy == 0


def test_nothing_is_kept_of_a_request(server, worker, wait):
    kept, submit = [], worker.submit

    def noting(request, deliver):
        kept.append(weakref.ref(deliver))
        return submit(request, deliver)

    worker.submit = noting
    for i in range(20):
        assert server.chat("Hi", stream=i % 2 == 0).status == 200
    wait(lambda: not server.server.server_state.tasks, "the requests' end")
    wait(lambda: gc.collect() is not None and not any(ref() for ref in kept), "the answers to be let go")


def test_requests_go_to_the_worker_with_the_least_to_do(serving, served, wait):
    worker = [served("village", holds_at=1).workers[0] for _ in range(2)]
    server = serving(served("village", *worker))
    connections = [server.begin(CHAT, {"messages": HI, "n": 2})]
    wait(lambda: len(worker[0].asked) == 1, "the first")
    for _ in range(2):
        connections.append(server.begin(CHAT, {"messages": HI}))
        wait(lambda: len(worker[1].asked) == len(connections) - 1, "the next")
    for one in worker:
        one.go.set()
    assert [connection.getresponse().status for connection in connections] == [200, 200, 200]
    assert [len(one.asked) for one in worker] == [1, 2]


# The event loop


def test_others_are_answered_while_a_prompt_is_cut_into_tokens(serving, served, worker, bytewise, wait):
    begun, is_done = threading.Event(), threading.Event()

    class Slow:
        def __getattr__(self, name):
            return getattr(bytewise, name)

        def encode(self, text):
            if "long" in text:
                begun.set()
                assert is_done.wait(30)
            return bytewise.encode(text)

    worker.tokenizer = Slow()
    server = serving(served("village", worker))
    connection = server.begin(TEXT, {"prompt": "long"})
    assert begun.wait(30)
    assert server.get("/health").json["status"] == "ok"
    assert server.chat("Hi").json["choices"][0]["message"]["content"] == "Grüße!"
    is_done.set()
    assert connection.getresponse().status == 200


def test_others_are_answered_while_an_answer_is_written(server, worker, wait):
    worker.holds_at = 2
    connections = [server.begin(CHAT, {"messages": HI, "stream": i % 2 == 0}) for i in range(50)]
    wait(lambda: len(worker.asked) == 50, "the requests")
    assert server.get("/stats").json["answers"] == 50
    worker.go.set()
    for connection in connections:
        assert b'"finish_reason":"stop"' in connection.getresponse().read()
    wait(lambda: server.get("/stats").json["answers"] == 0, "their end")


# The end of the server


def test_it_drains(serving, served, worker, wait):
    """Who is being answered gets the rest; who comes later is turned away."""
    worker.holds_at = 3
    server = serving(served("village", worker), drain_s=60)
    streaming = server.begin(CHAT, {"messages": HI, "stream": True})
    waiting = server.begin(CHAT, {"messages": HI})
    wait(lambda: len(worker.asked) == 2, "the requests")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as late:
        late.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        late.sendall(b'Content-Length: 16\r\n\r\n{"prompt"')
        wait(lambda: len(server.server.server_state.tasks) == 3, "the late one's beginning")
        server.server.handle_exit(15, None)
        wait(lambda: server.server.going.is_draining, "the draining")
        late.sendall(b': "Hi"}')
        told = late.recv(1000)
        assert b" 503 " in told and b"etry-" in told.split(b"\r\n\r\n")[0]
    assert server.thread.is_alive()
    worker.go.set()
    assert streaming.getresponse().read().endswith(b"data: [DONE]\n\n")
    assert json.loads(waiting.getresponse().read())["choices"][0]["finish_reason"] == "stop"
    server.thread.join(30)
    assert not server.thread.is_alive() and worker.n_cancelled == 0
    with pytest.raises(OSError):
        server.get("/health")


def test_whoever_takes_too_long_is_told_why_he_gets_no_more(serving, served, worker, wait):
    worker.holds_at = 3
    server = serving(served("village", worker), drain_s=0.2)
    streaming = server.begin(CHAT, {"messages": HI, "stream": True})
    waiting = server.begin(CHAT, {"messages": HI})
    wait(lambda: len(worker.asked) == 2, "the requests")
    server.server.handle_exit(15, None)
    last = json.loads(streaming.getresponse().read().decode().strip().rpartition("data: ")[2])
    assert last["error"]["code"] == "stopping"
    response = waiting.getresponse()
    assert response.status == 503 and json.loads(response.read())["error"]["code"] == "stopping"
    wait(lambda: worker.n_cancelled == 2, "the worker to hear of it")
    server.thread.join(30)
    assert not server.thread.is_alive()


def test_the_second_signal_ends_it_at_once(serving, served, worker, wait):
    worker.holds_at = 3
    server = serving(served("village", worker), drain_s=600)
    connection = server.begin(CHAT, {"messages": HI, "stream": True})
    wait(lambda: worker.asked, "the request")
    server.server.handle_exit(15, None)
    wait(lambda: server.server.going.is_draining, "the draining")
    server.server.handle_exit(15, None)
    server.thread.join(30)
    assert not server.thread.is_alive()
    wait(lambda: worker.n_cancelled == 1, "the worker to hear of it")
    connection.close()
