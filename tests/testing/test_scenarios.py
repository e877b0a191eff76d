"""Every step of a script does on the wire what its docstring says."""

from __future__ import annotations

import dataclasses
import http.client
import json

import pytest

from langchain_cerebras_demo.testing import (
    REQUESTS_EXCEEDED,
    TOKENS_EXCEEDED,
    Call,
    CutAfter,
    Disconnect,
    Endless,
    ErrorEvent,
    Gate,
    HtmlPage,
    RawAnswer,
    RawBytes,
    RawStream,
    Redirect,
    Reply,
    Silence,
    Slow,
    Status,
    sse,
)
from langchain_cerebras_demo.testing.scenarios import STEPS
from tests.testing.wire_client import ask, chat, connect, raw_chat, raw_socket, read, read_to_end, send

STREAM = chat(stream=True)


def raw_answer(server, body):
    """Everything that comes for one request until the connection ends, as the client asks for behind the answer."""
    with raw_socket(server) as connection:
        connection.sendall(raw_chat(server, body).replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        return read_to_end(connection)


def body_of(raw):
    """What stands in the chunks of a raw answer, and whether the chunk that ends them came."""
    data, body = raw.partition(b"\r\n\r\n")[2], b""
    while data:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            return body, True
        body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return body, False


# -- the script


def test_steps_are_used_one_a_request_in_order(server):
    """When the script is used up, the rules answer again."""
    server.script(Reply("one"), Status(503))
    server.script(Reply("two"))
    assert server.unused_steps == 3
    assert ask(server, chat()).message["content"] == "one"
    assert ask(server, chat()).status == 503
    assert ask(server, STREAM).chunks[1]["choices"][0]["delta"] == {"content": "two"}
    assert "You said" in ask(server, chat()).message["content"]
    assert server.unused_steps == 0


def test_a_refused_request_takes_no_step(server):
    """The service would not get as far as answering."""
    server.script(Reply("kept"))
    assert ask(server, chat(foo=1)).status == 400
    assert ask(server, chat(), key="wrong").status == 401
    assert ask(server, chat()).message["content"] == "kept"


def test_what_is_no_step_is_refused_at_once(server):
    """A script's mistake shows where it is written."""
    with pytest.raises(TypeError, match="'hello' is no step; take one of Reply"):
        server.script("hello")
    with pytest.raises(TypeError, match="a Reply answers chat requests alone"):
        server.script_session(Reply("x"))
    with pytest.raises(TypeError, match="is no step"):
        server.script(Reply)


def test_every_step_is_a_frozen_dataclass_with_a_docstring():
    """Steps can be shared between tests, compared and printed."""
    for kind in STEPS:
        assert kind.__dataclass_params__.frozen
        assert len(kind.__doc__) > 40
        assert not kind.__doc__.startswith(f"{kind.__name__}(")
    assert len({field.name for field in dataclasses.fields(Reply)}) == 7


# -- Reply


def test_a_reply_is_given_word_for_word(server):
    """Text, reasoning, calls, finish reason, usage and headers are those of the script, in both forms."""
    reply = Reply(
        text="Hi.",
        reasoning="Easy.",
        tool_calls=[Call("add", {"a": 1}, id="c1"), Call("sub", "{not json")],
        finish_reason="content_filter",
        usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        headers={"X-RateLimit-Remaining-Tokens-Minute": "0", "x-more": "1"},
    )
    server.script(reply, reply)
    answer = ask(server, chat(stop=["H"], max_completion_tokens=1))
    calls = answer.message.pop("tool_calls")
    assert answer.message == {"role": "assistant", "content": "Hi.", "reasoning": "Easy."}
    assert calls[0] == {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    assert calls[1]["function"] == {"name": "sub", "arguments": "{not json"}
    assert answer.json["choices"][0]["finish_reason"] == "content_filter"
    assert answer.json["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert answer.headers["x-ratelimit-remaining-tokens-minute"] == "0"
    assert answer.headers["x-more"] == "1"
    last = ask(server, STREAM).chunks[-1]
    assert last["choices"] == [{"delta": {}, "finish_reason": "content_filter", "index": 0}]
    assert last["usage"]["total_tokens"] == 3


def test_a_reply_without_text_has_no_content_key(server):
    """As the service does on a pure tool call."""
    server.script(Reply(tool_calls=[Call("add")]), Reply(text=""))
    answer = ask(server, chat())
    assert answer.message.keys() == {"role", "tool_calls"}
    assert answer.message["tool_calls"][0]["function"]["arguments"] == "{}"
    assert answer.json["choices"][0]["finish_reason"] == "tool_calls"
    assert ask(server, chat()).message["content"] == ""


def test_explicit_deltas_are_streamed_as_they_are(server):
    """And where the request is not streamed, what they add up to is the message."""
    deltas = (
        {"role": "assistant", "content": ""},
        {"reasoning": "a"},
        {"content": "b", "reasoning": "c"},
        {"tool_calls": [{"index": 1, "id": "c1", "function": {"name": "add", "arguments": "{"}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "}"}}]},
        {"content": None},
    )
    server.script(Reply(deltas=deltas), Reply(deltas=deltas))
    chunks = ask(server, STREAM).chunks
    assert tuple(chunk["choices"][0]["delta"] for chunk in chunks) == (*deltas, {})
    answer = ask(server, chat())
    assert (answer.message["content"], answer.message["reasoning"]) == ("b", "ac")
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    assert answer.message["tool_calls"] == [call]
    assert answer.json["choices"][0]["finish_reason"] == "tool_calls"


# -- raw ones


def test_a_raw_stream_is_sent_byte_for_byte(server):
    """Nothing is added to the events but [DONE]."""
    server.script(RawStream([": hello\r\n\r\n", sse({"a": 1}, "text"), b"\xff"], headers={"x-more": "1"}))
    answer = ask(server, STREAM)
    assert answer.body == b': hello\r\n\r\ndata: {"a":1}\n\ndata: text\n\n\xffdata: [DONE]\n\n'
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-more"] == "1"


def test_a_raw_stream_is_cut_where_the_test_wants(server):
    """Each piece is an HTTP chunk of its own, whatever the events were."""
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


# -- errors


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429])
def test_a_client_error_is_flat(server, status):
    """Each 4xx has the recorded flat shape."""
    server.script(Status(status, headers={"retry-after": "2"}))
    answer = ask(server, chat())
    assert answer.status == status
    assert answer.json.keys() == {"message", "type", "param", "code"}
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["content-type"] == "application/json"
    assert "x-ratelimit-limit-tokens-minute" in answer.headers


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_error_is_enveloped(server, status):
    """Each 5xx has the recorded envelope."""
    server.script(Status(status))
    answer = ask(server, chat())
    assert answer.json["status_code"] == answer.status == status
    assert answer.json["error"].keys() == {"message", "type", "param", "code", "id"}


def test_an_error_can_have_any_body(server):
    """Documented quota bodies stand ready; any other mapping goes too."""
    server.script(Status(429), Status(429, TOKENS_EXCEEDED), Status(500, {}))
    assert [ask(server, chat()).json for _ in range(3)] == [REQUESTS_EXCEEDED, TOKENS_EXCEEDED, {}]


def test_a_web_page_and_a_redirect(server):
    """What proxies and portals put in front of a service."""
    server.script(HtmlPage(), HtmlPage(503, title="Sorry"), Redirect("https://other.example/x", status=307))
    page = ask(server, chat())
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=UTF-8")
    assert page.body.startswith(b"<!DOCTYPE html>")
    assert b"Sorry" in ask(server, chat()).body
    away = ask(server, chat())
    assert (away.status, away.headers["location"], away.body) == (307, "https://other.example/x", b"")


@pytest.mark.parametrize(("filler", "prefix"), [(b"x" * 65536, b"data: "), (b": ping\n\n", b"")])
def test_an_endless_body_goes_on_until_the_client_leaves(server, filler, prefix):
    """Megabytes come, and the server stops when nobody listens."""
    server.script(Endless(status=500, prefix=prefix, filler=filler))
    with connect(server) as connection:
        send(connection, server, STREAM)
        response = connection.getresponse()
        assert response.status == 500
        data = response.read(300_000)
        assert data.startswith(prefix + filler)
    assert server.wait_for_disconnect()


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("shape", ["flat", "enveloped", "named"])
def test_an_error_event_comes_after_some_events(server, shape, after):
    """In its three shapes; the stream then ends without [DONE]."""
    server.script(ErrorEvent(after=after, shape=shape, status=503))
    events = ask(server, STREAM).events
    assert len(events) == after + 1
    assert all("choices" in json.loads(event) for event in events[:-1])
    name, _, data = events[-1].rpartition(b"data: ")
    assert name == (b"event: error\n" if shape == "named" else b"")
    error = json.loads(data)
    if shape == "flat":
        assert error.keys() == {"message", "type", "param", "code"}
    else:
        assert (error["status_code"], bool(error["error"]["message"])) == (503, True)


def test_an_error_can_be_a_whole_answer_with_status_200(server):
    """The SDK's types know that form; its body may be given."""
    server.script(ErrorEvent(), ErrorEvent(body={"error": "plain"}, reply=Reply("x")))
    answer = ask(server, chat())
    assert (answer.status, answer.json["status_code"]) == (200, 500)
    assert ask(server, chat()).json == {"error": "plain"}


# -- cuts and silences


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
