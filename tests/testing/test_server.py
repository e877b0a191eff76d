"""The server: start, keep-alive, recorded requests, TLS, many clients, and a clean end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import http.client
import logging
import socket
import ssl
import subprocess
import sys
import threading
import warnings

import pytest

from langchain_cerebras_demo.testing import Gate, LoopbackCerebras, LoopbackModel, Reply, Silence, Status
from langchain_cerebras_demo.testing.server import Connection
from tests.support.tls import LoopbackTLS
from tests.testing.wire_client import ask, chat, connect, raw_chat, raw_socket, read, send


def loopback_threads():
    return [thread for thread in threading.enumerate() if thread.name == "loopback-cerebras"]


def test_it_needs_the_standard_library_and_orjson_alone():
    """Users without LangChain, aiohttp or pytest can import it."""
    code = (
        "import sys; import langchain_cerebras_demo.testing;"
        "print([m for m in ('langchain_core', 'aiohttp', 'pytest', 'pydantic', 'httpx') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_addresses_are_known_only_after_the_start():
    """Before, they say what to do."""
    server = LoopbackCerebras()
    with pytest.raises(RuntimeError, match="was not started"):
        server.base_url  # noqa: B018 - asking is the test
    assert repr(server) == "<LoopbackCerebras not started>"
    with server:
        assert server.base_url == f"http://127.0.0.1:{server.port}/v1"
        assert repr(server) == f"<LoopbackCerebras {server.base_url}>"
        with pytest.raises(RuntimeError, match="make a new one"):
            server.start()


def test_one_connection_carries_many_requests(server):
    """Keep-alive holds over whole answers, streams and refusals."""
    with connect(server) as connection:
        for body in (chat(), chat(stream=True), chat(foo=1), chat()):
            send(connection, server, body)
            assert read(connection).headers["connection"] == "keep-alive"
        assert server.open_connections == 1
    assert [request.connection for request in server.requests] == [1, 1, 1, 1]
    assert server.wait_for_connections(0)
    ask(server, chat())
    assert server.requests[-1].connection == 2


def test_a_client_may_ask_for_the_connection_to_be_closed(server):
    """``Connection: close`` is heard."""
    with connect(server) as connection:
        send(connection, server, chat(), headers={"connection": "close"})
        assert read(connection).headers["connection"] == "close"
        assert server.wait_for_connections(0)


def test_requests_are_recorded_as_they_came(server):
    """Method, host, path, query, headers in lower case, body; doubles kept, order too."""
    ask(server, chat("hi"), headers={"X-Twice": "1", "host": "api.cerebras.ai"})
    ask(server, path="/v1/models?format=default")
    first, second = server.requests
    assert (first.method, first.host, first.path) == ("POST", "api.cerebras.ai", "/v1/chat/completions")
    assert first.header("X-TWICE") == first.header("x-twice") == "1"
    assert first.header("x-none") is None
    assert ("x-twice", "1") in first.headers
    assert first.json["messages"][0]["content"] == "hi"
    assert first.bearer == server.key
    assert (second.method, second.path, second.query) == ("GET", "/v1/models", "format=default")
    server.requests.clear()
    assert len(server.requests) == 2, "what is handed out is a copy"


def test_no_repr_shows_a_key_or_a_cookie(server):
    """Failing tests print their objects."""
    ask(server, chat(), headers={"cookie": "session=secret-cookie"})
    shown = repr((server, server.requests, server._service))
    assert server.requests[0].cookies == {"session": "secret-cookie"}
    assert server.key not in shown
    assert server.demo_key not in shown
    assert "secret-cookie" not in shown


def test_the_documented_headers_are_on_every_answer(server):
    """The id, and a cookie as Cloudflare sets it; and twelve of limits, but not on a refusal."""
    server.script(Status(429), Reply("x"))
    answers = (ask(server, chat()), ask(server, chat(foo=1)), ask(server, chat()), ask(server, path="/v1/models"))
    for answer in answers:
        limits = {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit-")}
        assert limits.keys() == {
            f"x-ratelimit-{what}-{unit}-{period}"
            for what in ("limit", "remaining")
            for unit in ("requests", "tokens")
            for period in ("minute", "hour", "day")
            if answer.status == 200
        }
        assert answer.headers["inference-id"]
        assert answer.headers["set-cookie"].startswith("__cf_bm=")
    assert [answer.status for answer in answers] == [429, 400, 200, 200]
    assert int(limits["x-ratelimit-remaining-requests-day"]) == int(limits["x-ratelimit-limit-requests-day"]) - 4


def test_models_are_those_of_the_test():
    """Known ids bring their abilities, new ones can do everything, objects are taken as they are."""
    with LoopbackCerebras(models=["gpt-oss-120b", "my-endpoint", LoopbackModel("own", reasoning_efforts=())]) as server:
        assert ask(server, chat(reasoning_effort="none")).status == 400
        assert ask(server, chat(model="my-endpoint", reasoning_effort="none")).status == 200
        assert "reasoning" not in ask(server, chat(model="own")).message
        assert ask(server, chat(model="qwen-3.8-27b")).status == 404


def test_many_clients_at_once(server):
    """Fifty clients wait at one moment and all get their own answer."""
    gates = [Gate() for _ in range(50)]
    server.script(*gates)
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = [pool.submit(ask, server, chat(f"number {n}")) for n in range(50)]
        assert server.wait_for_requests(50)
        assert server.open_connections == 50
        for gate in gates:
            gate.open()
        for number, answer in enumerate(answers):
            assert f'"number {number}"' in answer.result().message["content"]


def test_latency_comes_before_every_answer():
    """A client with less patience sees nothing."""
    with LoopbackCerebras(latency=30) as server, connect(server, timeout=0.05) as connection:
        send(connection, server, chat())
        with pytest.raises(TimeoutError):
            connection.getresponse()


def test_waiting_says_whether_it_came(server):
    """All waits have a timeout and return True or False; a disconnect is reported once."""
    assert not server.wait_for_requests(1, timeout=0.01)
    assert not server.wait_for_disconnect(timeout=0.01)
    server.script(Silence())
    with raw_socket(server) as connection:
        assert server.wait_for_connections(1)
        connection.sendall(b"GET ")
    assert not server.wait_for_disconnect(timeout=0.05), "no answer was running"
    with connect(server) as connection:
        send(connection, server, chat())
        assert server.wait_for_requests(1)
    assert server.wait_for_disconnect()
    assert not server.wait_for_disconnect(timeout=0.01)


def test_a_wait_ends_when_the_thing_happens(server):
    """Not when the time is over."""
    server.script(Reply("x"), Silence())
    with connect(server) as connection, concurrent.futures.ThreadPoolExecutor() as pool:
        send(connection, server, chat())
        read(connection)
        waiting = pool.submit(server.wait_for_requests, 2, 30)
        send(connection, server, chat())
        assert waiting.result(timeout=10)


def test_reading_an_answer_to_its_end_is_no_departure(server):
    """A client that has all it wanted may close at once."""
    for body in (chat(), chat(stream=True)) * 20:
        ask(server, body, headers={"connection": "close"})
        ask(server, body)
    assert server.wait_for_connections(0)
    assert not server.wait_for_disconnect(timeout=0.01)


# -- the end


def test_stopping_leaves_no_thread_and_no_socket(caplog):
    """Also with a client at a gate, one in a silence, an idle one and one in the middle of a request."""
    before = len(loopback_threads())
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG, logger="asyncio"):
        warnings.simplefilter("error")
        gate = Gate()
        server = LoopbackCerebras().start()
        with connect(server) as one, connect(server) as two, connect(server) as idle, raw_socket(server) as half:
            half.sendall(b"POST /v1/chat")
            server.script(gate, Silence())
            send(one, server, chat())
            assert gate.wait_reached()
            send(two, server, chat(stream=True))
            send(idle, server, path="/v1/models")
            read(idle)
            assert server.wait_for_connections(4)
            server.stop()
            assert half.recv(1) == b""
        gc.collect()
    assert len(loopback_threads()) == before
    assert server.open_connections == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_stopping_twice_and_without_a_start_is_no_error():
    """Cleaning up may be careless."""
    server = LoopbackCerebras()
    server.stop()
    with server:
        server.stop()
    server.kill()


def test_killing_resets_every_connection(server):
    """As the death of a process does: running answers and idle connections end with a reset, the port is gone."""
    server.script(Silence(after=1))
    with connect(server) as running, connect(server) as idle:
        send(idle, server, path="/v1/models")
        read(idle)
        send(running, server, chat(stream=True))
        response = running.getresponse()
        response.read1()
        server.kill()
        with pytest.raises(ConnectionResetError):
            response.read1()
        with pytest.raises(ConnectionResetError):
            idle.sock.recv(1)
    with pytest.raises(ConnectionRefusedError):
        ask(server, chat())
    assert server.open_connections == 0


def test_a_bug_in_the_loopback_is_told_at_the_end(monkeypatch):
    """It must not look like a fault of the client."""
    server = LoopbackCerebras().start()
    monkeypatch.setattr(Connection, "send", None)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        ask(server, chat())
    with pytest.raises(RuntimeError, match="itself failed") as caught:
        server.stop()
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_bug_below_the_answers_is_told_too(monkeypatch, caplog):
    """What asyncio would only log is kept for the end as well."""
    monkeypatch.setattr(Connection, "data_received", None)
    server = LoopbackCerebras().start()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        ask(server, chat())
    with pytest.raises(RuntimeError, match="itself failed"):
        server.stop()
    assert caplog.records == []


def test_the_failure_of_a_test_is_not_hidden_by_the_end(monkeypatch):
    """The test's own exception goes first."""
    with pytest.raises(ZeroDivisionError), LoopbackCerebras() as server:
        server._bugs.append(TypeError())
        1 / 0  # noqa: B018 - it fails
    assert loopback_threads() == []


def test_what_fails_at_the_start_is_told_there(monkeypatch):
    """The error of the thread reaches the test, and the thread is gone."""
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_server", None)
    with pytest.raises(TypeError):
        LoopbackCerebras().start()
    assert loopback_threads() == []


# -- TLS


@pytest.fixture(scope="module")
def tls():
    return LoopbackTLS()


def test_it_speaks_https(tls):
    """A client that trusts the authority gets through, also a second time on the same connection."""
    with LoopbackCerebras(ssl_context=tls.server_context()) as server:
        assert server.base_url.startswith("https://")
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=tls.client_context(), timeout=5)
        for _ in range(2):
            send(connection, server, chat())
            assert read(connection).status == 200
        assert server.open_connections == 1
        connection.close()
        assert server.wait_for_connections(0)


def test_a_stranger_to_the_authority_is_not_fooled(tls, caplog):
    """The certificate is worth something, and its refusal makes no noise on our side."""
    with LoopbackCerebras(ssl_context=tls.server_context()) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as raw, pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(raw, server_hostname="api.cerebras.ai")
        assert server.requests == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_reset_goes_through_tls(tls):
    """Being rude works under encryption too. OpenSSL tells a reset as an end, so the socket below it is read."""
    with LoopbackCerebras(ssl_context=tls.server_context()) as server:
        server.script(Silence())
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        with tls.client_context().wrap_socket(raw, server_hostname="127.0.0.1") as connection:
            connection.sendall(raw_chat(server, chat(stream=True)))
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
            server.kill()
            with pytest.raises(ConnectionResetError):
                socket.socket.recv(connection, 1)


def test_stopping_does_not_wait_for_a_handshake(tls):
    """A silent client on a TLS port delays no other client and leaks nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with LoopbackCerebras(ssl_context=tls.server_context()) as server, raw_socket(server):
            ask_http = http.client.HTTPSConnection("127.0.0.1", server.port, context=tls.client_context(), timeout=5)
            send(ask_http, server, path="/v1/models")  # so the silent one before it has been accepted
            assert read(ask_http).status == 200
            ask_http.close()
        gc.collect()
    assert loopback_threads() == []
