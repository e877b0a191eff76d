"""The transport: one session per loop, no redirects, no cookies, and no error that shows a header."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import socket
import ssl
import threading
import warnings

import pytest

from langchain_cerebras_demo.errors import APIConnectionError
from langchain_cerebras_demo.net.aiohttp_transport import AiohttpTransport
from langchain_cerebras_demo.net.transport import HttpRequest, Transport, default_transport
from langchain_cerebras_demo.testing import (
    Endless,
    Gate,
    RawAnswer,
    Redirect,
    Silence,
)
from tests.support.leaks import all_that_shows
from tests.support.scripted import ScriptedTransport, json_answer
from tests.support.tls import LoopbackTLS

SENTINEL = "csk-never-shown"
MODELS = "/public/v1/models"
PATIENCE = 5.0


@pytest.fixture(scope="module")
def tls():
    return LoopbackTLS()


@pytest.fixture
async def transport():
    mine = AiohttpTransport()
    yield mine
    await mine.aclose()


@pytest.fixture
async def mapped(tls, server):
    """Leads ``other.example`` and the Cerebras names to the loopback server."""
    mine = AiohttpTransport(resolver=tls.resolver(server.port), ssl_context=tls.client_context())
    yield mine
    await mine.aclose()


def get(url, **more):
    return HttpRequest("GET", url, **more)


def models_of(server, **more):
    return get(f"http://127.0.0.1:{server.port}{MODELS}", **more)


def with_key():
    return {"Authorization": f"Bearer {SENTINEL}"}


async def fetch(transport, request):
    """Status and body, read to its end, so that the connection can be used again."""
    response = await transport.send(request)
    try:
        body = b""
        while piece := await response.read():
            body += piece
    finally:
        response.close()
    return response.status, body


async def test_a_request_goes_out_as_given_and_the_answer_comes_back(transport, server):
    """Method, address, the user's headers, the secret ones and the body; status, headers in lower case and bytes."""
    server.script_path("/v1/models", RawAnswer(201, {"X-Mixed-Case": "Kept As Is"}, b"\x00body"))
    request = HttpRequest(
        "GET",
        f"{server.base_url}/models?a=b",
        headers={"X-Title": "mine", "User-Agent": "me/1"},
        secret_headers=lambda: {"Authorization": f"Bearer {server.key}"},
        body=b"sent",
    )
    response = await transport.send(request)
    assert (response.status, response.headers["x-mixed-case"]) == (201, "Kept As Is")
    assert all(name == name.lower() for name in response.headers)
    assert await response.read() == b"\x00body"
    assert await response.read() == b""
    response.close()
    (received,) = server.requests
    assert (received.method, received.path, received.query, received.body) == ("GET", "/v1/models", "a=b", b"sent")
    assert (received.header("x-title"), received.header("user-agent")) == ("mine", "me/1")
    assert received.bearer == server.key


def test_a_request_shows_neither_body_nor_proxy_nor_secret_headers():
    """Its ``repr`` appears in tracebacks."""
    request = get("http://a.example", body=SENTINEL.encode(), proxy=f"http://u:{SENTINEL}@p", secret_headers=with_key)
    assert SENTINEL not in repr(request)


async def test_requests_of_one_loop_share_a_session_and_its_connections(transport, server):
    """One after the other they use one connection; what runs at once opens more, without a limit of ours."""
    for _ in range(3):
        assert (await fetch(transport, models_of(server)))[0] == 200
    assert {request.connection for request in server.requests} == {1}
    gates = [Gate() for _ in range(120)]  # more than aiohttp's own limit of 100
    server.script_path(MODELS, *gates)
    tasks = [asyncio.create_task(fetch(transport, models_of(server))) for _ in gates]
    assert await asyncio.to_thread(server.wait_for_connections, len(gates))
    for gate in gates:
        gate.open()
    assert [status for status, _ in await asyncio.gather(*tasks)] == [200] * len(gates)


async def test_a_body_that_was_not_read_to_its_end_costs_its_connection(transport, server):
    """``close`` closes, at once and without waiting: what is left on the wire is not the next answer."""
    server.script_path(MODELS, Endless(content_type="application/json"))
    response = await transport.send(models_of(server))
    await response.read()
    response.close()
    response.close()
    assert await asyncio.to_thread(server.wait_for_connections, 0)
    assert (await fetch(transport, models_of(server)))[0] == 200
    assert [request.connection for request in server.requests] == [1, 2]


def test_an_answer_that_is_left_early_outlives_its_loop_by_nothing(tls):
    """Its connection is gone at once, though TLS asks for a farewell that this server never says."""
    let_go = threading.Event()

    def serve(listener):
        connection, _ = listener.accept()
        with tls.server_context().wrap_socket(connection, server_side=True) as secure:
            secure.recv(65_536)
            secure.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf")
            let_go.wait(PATIENCE)

    async def leave(port):
        transport = AiohttpTransport(ssl_context=tls.client_context())
        response = await transport.send(get(f"https://127.0.0.1:{port}/"))
        assert await response.read() == b"half"
        response.close()

    with socket.create_server(("127.0.0.1", 0)) as listener, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        asyncio.run(leave(listener.getsockname()[1]))
        gc.collect()
        let_go.set()
        thread.join(PATIENCE)
    assert [str(warning.message) for warning in heard] == []


async def test_a_cancelled_request_closes_its_connection_and_shows_nothing(transport, server):
    """Also where the caller's own timeout cancels it: the cancellation's frames hold no header."""
    server.script_path(MODELS, Silence(before_headers=True))
    task = asyncio.create_task(transport.send(models_of(server, secret_headers=with_key)))
    assert await asyncio.to_thread(server.wait_for_requests, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert SENTINEL not in all_that_shows(caught.value)
    assert await asyncio.to_thread(server.wait_for_disconnect)


def test_many_threads_with_loops_of_their_own_send_at_once(server):
    """Each loop has its own session, which ends with ``asyncio.run``; nothing is left open and nothing is kept."""
    transport, statuses, all_there = AiohttpTransport(), [], threading.Barrier(8)

    async def five():
        await asyncio.to_thread(all_there.wait, PATIENCE)
        statuses.extend([(await fetch(transport, models_of(server)))[0] for _ in range(5)])

    threads = [threading.Thread(target=lambda: asyncio.run(five()), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert statuses == [200] * 40
    assert len({request.connection for request in server.requests}) == 8
    assert server.wait_for_connections(0)


def test_sessions_do_not_pile_up_over_many_loops(server):
    """A script that calls ``asyncio.run`` a thousand times holds one loop's session at most."""
    transport = AiohttpTransport()
    for _ in range(10):
        asyncio.run(fetch(transport, models_of(server)))
    assert len(transport._sessions) == 1


async def test_a_closed_session_is_followed_by_a_new_one(transport, server):
    """After ``aclose`` the next request opens another."""
    for _ in range(2):
        assert (await fetch(transport, models_of(server)))[0] == 200
        await transport.aclose()
    await transport.aclose()
    assert {request.connection for request in server.requests} == {1, 2}
    assert await asyncio.to_thread(server.wait_for_connections, 0)


def test_a_loop_that_goes_on_after_its_generators_were_shut_down_gets_a_new_session(server):
    """As loops do that are run more than once."""
    transport, loop = AiohttpTransport(), asyncio.new_event_loop()
    for _ in range(2):
        assert loop.run_until_complete(fetch(transport, models_of(server)))[0] == 200
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop._asyncgens_shutdown_called = False  # it would warn of each generator that comes after
    loop.close()


async def test_a_transport_that_is_dropped_closes_its_connections(server):
    """Its loop closes them when there is no reference to it any more."""
    transport = AiohttpTransport()
    await fetch(transport, models_of(server))
    assert server.open_connections == 1
    del transport
    gc.collect()
    assert await asyncio.to_thread(server.wait_for_connections, 0)


@pytest.mark.parametrize("first", ["session", "connector", "connection", "response"])
def test_no_part_of_a_dropped_loop_complains_whichever_the_garbage_collector_takes_first(server, caplog, first):
    """Its order depends on which collections came before."""
    server.script_path(MODELS, Endless(content_type="application/json"))
    transport, loop = AiohttpTransport(), asyncio.new_event_loop()
    answer = loop.run_until_complete(transport.send(models_of(server)))
    response = answer._response
    session = response._session
    parts = {
        "session": session,
        "connector": session.connector,
        "connection": response.connection,
        "response": response,
    }
    with warnings.catch_warnings(record=True) as heard:
        parts[first].__del__()
    answer.close()
    loop.run_until_complete(transport.aclose())
    loop.close()
    assert (caplog.text, heard) == ("", [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(mapped, server, status):
    """Neither key nor body reaches another address."""
    server.script_path(MODELS, Redirect("http://other.example/elsewhere", status))
    response = await mapped.send(get(f"http://api.cerebras.ai{MODELS}", secret_headers=with_key))
    assert response.status == status
    assert response.headers["location"] == "http://other.example/elsewhere"
    response.close()
    assert [request.path for request in server.requests] == [MODELS]


async def test_a_cookie_of_an_answer_never_comes_back(mapped, server):
    """Neither to the same host nor to another."""
    server.script_path(MODELS, RawAnswer(headers={"set-cookie": "mark=1; Path=/; Domain=cerebras.ai"}))
    response = await mapped.send(get(f"http://api.cerebras.ai{MODELS}"))
    assert "mark=1" in response.headers["set-cookie"]
    response.close()
    for host in ("api.cerebras.ai", "inference.cerebras.ai", "127.0.0.1"):
        await fetch(mapped, get(f"http://{host}:{server.port}{MODELS}"))
    assert [request.header("cookie") for request in server.requests] == [None] * 4


async def test_the_netrc_file_is_never_used(transport, server, monkeypatch, tmp_path):
    """A password for this host that another program keeps there stays there, proxies or not."""
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login user password {SENTINEL}\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    await fetch(transport, models_of(server))
    assert server.requests[0].header("authorization") is None


def test_a_copy_shares_the_sockets_and_a_pickle_takes_none():
    """The default transport stays the default; one of a resolver's own says that it cannot travel."""
    mine = AiohttpTransport()
    assert copy.copy(mine) is copy.deepcopy(mine) is mine
    assert pickle.loads(pickle.dumps(default_transport())) is default_transport()
    assert isinstance(pickle.loads(pickle.dumps(mine)), AiohttpTransport)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(AiohttpTransport(ssl_context=ssl.create_default_context()))


@pytest.mark.parametrize("double", [AiohttpTransport(), ScriptedTransport()])
def test_the_transport_and_its_double_satisfy_the_protocol(double):
    """One method is all there is to it."""
    assert isinstance(double, Transport)


async def test_the_double_answers_what_was_written_down():
    """Answers and exceptions in order, the requests and their headers kept."""
    double = ScriptedTransport(json_answer({"a": 1}, 201, x_id="7"), APIConnectionError("down"))
    response = await double.send(get("http://a.example", headers={"A": "b"}, secret_headers=with_key))
    assert (response.status, response.headers["x-id"], await response.read(), await response.read()) == (
        201,
        "7",
        b'{"a": 1}',
        b"",
    )
    with pytest.raises(APIConnectionError, match="down"):
        await double.send(get("http://b.example"))
    with pytest.raises(AssertionError, match=r"request 3: GET http://c\.example"):
        await double.send(get("http://c.example"))
    assert double.sent_headers[0] == {"A": "b", **with_key()}


async def test_nothing_is_kept_of_owners_whose_requests_are_over(transport, server):
    """A process may make any number of clients."""
    for owner in (object(), object()):
        (await transport.send(models_of(server, owner=owner))).close()
    (session,) = transport._sessions
    assert not session.sending
