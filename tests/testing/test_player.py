"""The steps of a scenario on the wire: raw bytes, cuts, silences, gates."""

from __future__ import annotations

import http.client
import json

import pytest

from langchain_cerebras_demo.testing import (
    CutAfter,
    Disconnect,
    Endless,
    Gate,
    RawAnswer,
    RawBytes,
    RawStream,
    Reply,
    Silence,
    Slow,
    sse,
)
from tests.testing.wire_client import ask, chat, connect, raw_chat, raw_socket, read, read_to_end, send

STREAM = chat(stream=True)


def raw_answer(server, body):
    """Everything that comes for one request until the connection ends, as the client asks for behind the answer."""
    with raw_socket(server) as connection:
        connection.sendall(raw_chat(server, body).replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        return read_to_end(connection)


def body_of(raw):
    """Return the content of a raw answer's chunks, and whether the final chunk arrived."""
    data, body = raw.partition(b"\r\n\r\n")[2], b""
    while data:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            return body, True
        body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return body, False


def test_a_raw_stream_is_sent_byte_for_byte(server):
    """Nothing is added to the events but [DONE]."""
    server.script(RawStream([": hello\r\n\r\n", sse({"a": 1}, "text"), b"\xff"], headers={"x-more": "1"}))
    answer = ask(server, STREAM)
    assert answer.body == b': hello\r\n\r\ndata: {"a":1}\n\ndata: text\n\n\xffdata: [DONE]\n\n'
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-more"] == "1"


def test_a_raw_stream_is_cut_where_the_test_wants(server):
    """Each piece is a separate HTTP chunk, independent of the events."""
    server.script(RawStream(["data: äb\n\n"], end="no_chunk_end", pieces=[2, 7, 8]))
    raw = raw_answer(server, STREAM).partition(b"\r\n\r\n")[2]
    assert raw == b"2\r\nda\r\n5\r\nta: \xc3\r\n1\r\n\xa4\r\n3\r\nb\n\n\r\n"


@pytest.mark.parametrize(("end", "ended"), [("eof", True), ("no_chunk_end", False)])
def test_a_raw_stream_ends_as_the_test_wants(server, end, ended):
    """``eof`` is a proper end without [DONE], ``no_chunk_end`` none at all."""
    server.script(RawStream([b"data: {}\n\n"], end=end))
    assert body_of(raw_answer(server, STREAM)) == (b"data: {}\n\n", ended)


def test_a_raw_stream_can_be_reset(server):
    """The client gets a reset, not an end."""
    server.script(RawStream([b"data: {}\n\n"], end="reset"))
    with pytest.raises(ConnectionResetError):
        raw_answer(server, STREAM)


def test_a_raw_stream_can_hang(server):
    """Nothing more comes; the server notices the client's leaving."""
    server.script(RawStream([b"data: {}\n\n"], end="hang"))
    with connect(server) as connection:
        send(connection, server, STREAM)
        response = connection.getresponse()
        assert response.read1() == b"data: {}\n\n"
        connection.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            response.read1()
    assert server.wait_for_disconnect()


def test_a_raw_answer_has_the_framing_that_the_test_wants(server):
    """True, chunked, without a length, and with one that is too large."""
    server.script(
        RawAnswer(418, {"content-type": "text/plain"}, b"tea"),
        RawAnswer(body=b"abc", chunked=True),
        RawAnswer(body=b"abc", content_length="none"),
        RawAnswer(body=b"abc", content_length=10),
        RawAnswer(599, body=b"abc", content_length=2),
    )
    teapot = ask(server, chat())
    assert (teapot.status, teapot.headers["content-type"], teapot.body) == (418, "text/plain", b"tea")
    assert ask(server, chat()).headers["transfer-encoding"] == "chunked"
    unframed = ask(server, chat())
    assert unframed.body == b"abc"
    assert unframed.headers["connection"] == "close"
    assert not {"content-length", "transfer-encoding"} & unframed.headers.keys()
    with pytest.raises(http.client.IncompleteRead):
        ask(server, chat())
    assert ask(server, chat()).body == b"ab"


@pytest.mark.parametrize("end", ["eof", "reset", "keep"])
def test_raw_bytes_are_all_that_goes(server, end):
    """Even what is no HTTP."""
    server.script(RawBytes(b"HTTP/1.1 banana\r\n\r\n", end=end))
    with raw_socket(server) as connection:
        connection.sendall(raw_chat(server, chat()))
        if end == "reset":
            with pytest.raises(ConnectionResetError):
                read_to_end(connection)
        elif end == "eof":
            assert read_to_end(connection) == b"HTTP/1.1 banana\r\n\r\n"
        else:
            assert connection.recv(100) == b"HTTP/1.1 banana\r\n\r\n"
            connection.sendall(raw_chat(server, chat()))
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(("filler", "prefix"), [(b"x" * 65536, b"data: "), (b": ping\n\n", b"")])
def test_an_endless_body_goes_on_until_the_client_leaves(server, filler, prefix):
    """Megabytes arrive, and the server stops when the client disconnects."""
    server.script(Endless(status=500, prefix=prefix, filler=filler))
    with connect(server) as connection:
        send(connection, server, STREAM)
        response = connection.getresponse()
        assert response.status == 500
        data = response.read(300_000)
        assert data.startswith(prefix + filler)
    assert server.wait_for_disconnect()


@pytest.mark.parametrize(("how", "ended"), [("eof", True), ("no_chunk_end", False)])
def test_a_stream_is_cut_after_some_events(server, how, ended):
    """Two events, no finish reason, no [DONE]."""
    server.script(CutAfter(events=2, how=how, reply=Reply("one two")))
    body, found = body_of(raw_answer(server, STREAM))
    assert found is ended
    assert [json.loads(part[6:])["choices"][0]["delta"] for part in body.split(b"\n\n") if part] == [
        {"role": "assistant"},
        {"content": "one two"},
    ]


def test_a_stream_is_reset_after_some_events(server):
    """The events arrive, then the client gets a reset."""
    server.script(CutAfter(events=2, how="reset"))
    data = b""
    with raw_socket(server) as connection:
        connection.sendall(raw_chat(server, STREAM))
        with pytest.raises(ConnectionResetError):
            while True:
                data += connection.recv(1)
    assert data.count(b"data: {") == 2


@pytest.mark.parametrize("how", ["eof", "reset"])
def test_a_whole_answer_is_cut_in_its_body(server, how):
    """The length that was announced is not met."""
    server.script(CutAfter(how=how))
    with pytest.raises(http.client.IncompleteRead if how == "eof" else ConnectionResetError):
        ask(server, chat())


def test_silence_before_the_headers(server):
    """Not one byte comes."""
    server.script(Silence(before_headers=True))
    with raw_socket(server, timeout=0.05) as connection:
        connection.sendall(raw_chat(server, chat()))
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert server.wait_for_disconnect()


@pytest.mark.parametrize("after", [0, 1])
def test_silence_after_some_events(server, after):
    """Headers and events come, and then nothing."""
    server.script(Silence(after=after))
    with connect(server) as connection:
        send(connection, server, STREAM)
        response = connection.getresponse()
        for _ in range(after):
            assert response.read1().startswith(b"data: ")
        connection.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            response.read1()
    assert server.wait_for_disconnect()


@pytest.mark.parametrize(("body", "filler"), [(STREAM, b": keep-alive\n\n"), (chat(), b" ")])
def test_silence_with_keepalives(server, body, filler):
    """Comments, or spaces in front of a whole answer, for as long as the client stays."""
    server.script(Silence(keepalives=True, interval=0.001))
    with connect(server) as connection:
        send(connection, server, body)
        assert connection.getresponse().read(len(filler) * 3) == filler * 3
    assert server.wait_for_disconnect()


@pytest.mark.parametrize("stream", [False, True])
def test_a_slow_answer_is_complete(server, stream):
    """All comes, only later."""
    server.script(Slow(gap=0.001, reply=Reply("done")))
    answer = ask(server, chat(stream=stream))
    text = answer.chunks[1]["choices"][0]["delta"]["content"] if stream else answer.message["content"]
    assert text == "done"


def test_a_gate_holds_a_stream_until_it_is_opened(server):
    """The events before it come, those behind it only after ``open``."""
    gate = Gate(after=2, reply=Reply("first"))
    server.script(gate)
    with raw_socket(server) as connection:
        connection.sendall(raw_chat(server, STREAM))
        assert gate.wait_reached()
        data = b""
        while data.count(b"\n\n") < 2:
            data += connection.recv(65536)
        assert b"first" in data
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(5)
        gate.open()
        while not data.endswith(b"\r\n0\r\n\r\n"):
            data += connection.recv(65536)
        assert b"[DONE]" in data


@pytest.mark.parametrize("early", [False, True])
def test_a_gate_holds_a_whole_answer(server, early):
    """Not a byte before ``open``, which may also come first."""
    gate = Gate()
    server.script(gate)
    if early:
        gate.open()
    with connect(server) as connection:
        send(connection, server, chat())
        if not early:
            assert gate.wait_reached()
            connection.sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.sock.recv(1)
            connection.sock.settimeout(5)
            gate.open()
        assert read(connection).status == 200


def test_opening_a_gate_after_the_server_stopped_is_no_error(server):
    """A test may clean up in any order."""
    gate = Gate()
    server.script(gate)
    with connect(server) as connection:
        send(connection, server, chat())
        assert gate.wait_reached()
        server.stop()
    gate.open()
    gate.open()


@pytest.mark.parametrize("how", ["eof", "reset"])
def test_a_disconnect_comes_instead_of_an_answer(server, how):
    """Not one byte, just the end."""
    server.script(Disconnect(how))
    with pytest.raises(http.client.RemoteDisconnected if how == "eof" else ConnectionResetError):
        ask(server, chat())


def test_an_idle_connection_is_closed_behind_a_complete_answer(server):
    """The answer promised to keep it; the client finds it dead."""
    server.script(Disconnect(when="idle", reply=Reply("bye")))
    with connect(server) as connection:
        send(connection, server, chat())
        answer = read(connection)
        assert (answer.message["content"], answer.headers["connection"]) == ("bye", "keep-alive")
        assert server.wait_for_connections(0)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
            send(connection, server, chat())
            read(connection)
