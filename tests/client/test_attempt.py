"""One attempt over a real socket: kinds of bodies, and the errors they lead to."""

from __future__ import annotations

import json
import pickle
import zlib

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo, errors
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.errors import APIError, APIResponseValidationError, StreamInterruptedError
from langchain_cerebras_demo.keys import StaticKey
from langchain_cerebras_demo.policy import RetryPolicy
from langchain_cerebras_demo.records import CallRecord
from langchain_cerebras_demo.testing import LoopbackCerebras, RawAnswer, RawBytes, RawStream, sse
from langchain_cerebras_demo.wire.completion import TextDelta, ToolCallFragment, Usage
from langchain_cerebras_demo.wire.request import ChatRequest
from langchain_cerebras_demo.wire.sse import is_event_stream
from tests.support.faults import KEY, ask, model_for
from tests.support.leaks import all_that_shows
from tests.support.scripted import ScriptedResponse, ScriptedTransport

EVENTS, JSON = {"content-type": "text/event-stream"}, {"content-type": "application/json"}
NAMES = {"x-request-id": "req-1", "cf-ray": "ray-1", "inference-id": "inf-1"}
COUNTS = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
REQUEST = ChatRequest("gpt-oss-120b", [{"role": "user", "content": "hi"}], {})


def chunk(delta=None, reason=None, **more):
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": delta or {}, "finish_reason": reason}], **more}


def whole(message, **more):
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **more}


HI, END = sse(chunk({"content": "Hi"})), sse(chunk(reason="stop"))
COUNTED = sse(chunk({"content": "!"}, usage=COUNTS))


@pytest.fixture
def client(server):
    """It tries once."""
    server.key = KEY
    return Client(base_url=server.base_url, keys=StaticKey(KEY), retry=RetryPolicy(max_retries=0), rate_limit=None)


async def caught(client, *, stream):
    with pytest.raises(APIError) as caught:
        if stream:
            async for _ in client.stream(REQUEST):
                pass
        else:
            await client.complete(REQUEST)
    return caught.value


# -- what a body is


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n", b"\n\n"])
@pytest.mark.parametrize(
    ("body", "is_stream"),
    [
        *((line, True) for line in (b"data: x", b"data:", b"event: ping", b"id: 1", b"retry: 1", b": ping", b":")),
        *((other, False) for other in (b"{", b'{"id"', b"[1", b"<html>")),
        *((nothing, None) for nothing in (b"", b"d", b"dat", b"data", b"error: busy", b"\xff\xff", b'"busy"')),
    ],
)
def test_the_first_bytes_tell_what_a_body_is(mark, body, is_stream):
    """Or nothing yet, or never."""
    assert is_event_stream(mark + body) is is_stream


@pytest.mark.parametrize("kind", [EVENTS, JSON, {"content-type": "text/plain"}, {"content-type": "text/html"}])
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
def test_no_label_makes_a_body_another_one(server, kind, way):
    """Streams are read as streams and JSON as JSON, independent of the request and the content type."""
    answer = RawAnswer(headers=kind, body=b"\n" + json.dumps(whole({"content": "HiHi"})).encode())
    server.script(RawStream([HI, HI, END], headers=kind), answer)
    model = model_for(server, max_retries=0)
    server.key = KEY
    assert [ask(model, way), ask(model, way)] == ["HiHi", "HiHi"]


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf" + HI + END, b"\n\r\n" + HI + END])
async def test_a_beginning_that_comes_byte_by_byte_is_waited_for(body):
    """Not a byte of it is lost."""
    answer = ScriptedResponse(200, JSON, [body[place : place + 1] for place in range(len(body))])
    client = Client(base_url="http://127.0.0.1:9/v1", transport=ScriptedTransport(answer), rate_limit=None)
    events = [event async for batch in client.stream(REQUEST) for event in batch]
    assert events[0] == TextDelta("Hi")


@pytest.mark.parametrize("last", [END, sse("[DONE]")], ids=["a finish reason", "DONE"])
async def test_the_last_event_counts_without_the_blank_line_behind_it(server, client, last):
    """Some servers end the stream directly after the event's line."""
    server.script(RawStream([HI, last.rstrip(b"\n") + b"\n"], end="eof"))
    batches = [events async for events in client.stream(REQUEST)]
    assert [event.text for events in batches for event in events if isinstance(event, TextDelta)] == ["Hi"]


async def test_a_stream_to_a_whole_request_has_whole_calls(server, client):
    """A call that came in fragments is one call."""

    def fragment(**function):
        return sse(chunk({"tool_calls": [{"index": 0, "id": function.pop("id", None), "function": function}]}))

    server.script(RawStream([fragment(id="c", name="f", arguments='{"a"'), HI, fragment(arguments=": 1}"), END]))
    events = await client.complete(REQUEST)
    assert events[:2] == [ToolCallFragment(0, "c", "f", '{"a": 1}'), TextDelta("Hi")]


async def test_a_byte_order_mark_before_the_model_list_is_passed_over(server, client):
    """As before any other body."""
    server.script_path("/v1/models", RawAnswer(headers=JSON, body=b'\xef\xbb\xbf{"data": [{"id": "m"}]}'))
    assert await client.list_models() == [{"id": "m"}]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_zipped_answer_is_read(server, client, encoding, stream):
    """Event by event where it is a stream."""
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    pieces = [packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) for event in (HI, HI, END)] + [packer.flush()]
    server.script(RawStream(pieces, end="eof", headers={"content-encoding": encoding}))
    batches = [batch async for batch in client.stream(REQUEST)] if stream else [await client.complete(REQUEST)]
    assert [event for batch in batches for event in batch][:2] == [TextDelta("Hi")] * 2


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [200, 401, 503])
async def test_a_body_that_cannot_be_read_is_named(server, client, status, stream):
    """The status tells the class of an error all the same."""
    headers = {"content-encoding": "compress", "x-request-id": "req-1"}
    server.script(RawAnswer(status, headers=headers, body=b"\x1f\x9d\x90{}"))
    error = await caught(client, stream=stream)
    kinds = {200: APIResponseValidationError, 401: errors.AuthenticationError, 503: errors.InternalServerError}
    assert type(error) is kinds[status]
    assert "the body is encoded as 'compress', which cannot be read" in str(error)
    assert (error.status_code, error.request_id) == (status, "req-1")


# -- which request it was


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("named", "request_id"),
    [
        (NAMES, "req-1"),
        ({"x-request-id": "", "cf-ray": "ray-1", "inference-id": "inf-1"}, "ray-1"),
        ({"x-request-id": "", "cf-ray": "", "inference-id": "inf-1"}, "inf-1"),
        ({"x-request-id": "", "cf-ray": "", "inference-id": ""}, "evt-9"),
    ],
)
async def test_an_error_inside_a_200_is_named_by_the_headers(server, client, named, request_id, stream):
    """The id of the event is another one; it counts where the headers name none."""
    error = {"error": {"message": "boom", "id": "evt-9"}}
    server.script(
        RawStream([HI, sse(error)], headers=named)
        if stream
        else RawAnswer(headers={**JSON, **named}, body=json.dumps(error).encode())
    )
    assert (await caught(client, stream=stream)).request_id == request_id


ENDINGS = {
    "cut off": (RawStream([HI, COUNTED], end="eof", headers=NAMES), StreamInterruptedError),
    "reset": (RawStream([HI, COUNTED], end="reset", headers=NAMES), StreamInterruptedError),
    "an error event": (RawStream([HI, COUNTED, sse({"message": "boom"})], headers=NAMES), errors.InternalServerError),
    "no JSON": (RawStream([HI, COUNTED, b"data: {\n\n"], headers=NAMES), APIResponseValidationError),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_error_behind_the_first_event_tells_the_request_and_the_usage(server, client, ending):
    """The error has the facts known so far, and can be pickled."""
    step, kind = ENDINGS[ending]
    server.script(step)
    error = pickle.loads(pickle.dumps(await caught(client, stream=True)))
    assert type(error) is kind
    assert (error.request_id, error.usage, error.partial) == ("req-1", Usage(3, 2, 5), "Hi!")


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_the_chat_models_errors_tell_them_too(server, way):
    """Beside the merged message."""
    server.script(ENDINGS["reset"][0])
    model = model_for(server, max_retries=0)
    server.key = KEY
    with pytest.raises(StreamInterruptedError) as caught:
        ask(model, way)
    assert (caught.value.request_id, caught.value.usage) == ("req-1", Usage(3, 2, 5))
    assert caught.value.partial.content == "Hi!"


async def test_errors_that_know_neither_say_none(server, client):
    """The attributes are always there."""
    server.script(RawStream([HI], end="eof", headers=dict.fromkeys(NAMES, "")))
    error = await caught(client, stream=True)
    assert (error.request_id, error.usage) == (None, None)
    assert (APIError().request_id, APIError().usage) == (None, None)


async def test_a_request_id_that_repeats_the_key_does_not_show_it(server, client):
    """With any value that a server sends."""
    server.script(RawStream([HI], end="eof", headers={"x-request-id": f"for {KEY}"}))
    error = await caught(client, stream=True)
    assert error.request_id == "for **********"
    assert KEY not in all_that_shows(error)


BROKEN = b"x-request-id: caf\xe9-1\r\nserver: caf\xe9\r\n"
ANSWER = json.dumps(whole({"content": "Hi"})).encode()


async def test_headers_of_any_bytes_can_be_printed(server, client):
    """The answer's id, and all headers of an error."""
    ok = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n%b\r\n%b" % (len(ANSWER), BROKEN, ANSWER)
    server.script(RawBytes(ok), RawBytes(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n%b\r\n" % BROKEN))
    events = await client.complete(REQUEST)
    (record,) = [event for event in events if isinstance(event, CallRecord)]
    assert record.request_id == r"caf\xe9-1"
    assert rb"caf\xe9-1" in str(record).encode()
    error = pickle.loads(pickle.dumps(await caught(client, stream=False)))
    assert error.request_id == r"caf\xe9-1"
    assert error.response.headers["server"] == r"caf\xe9"


# -- reasoning that a closing tag alone ends

THINKER = "qwen-3-235b-a22b-thinking-2507"


@pytest.fixture
def thinker():
    """A loopback that still serves the model."""
    with LoopbackCerebras(models=(THINKER, "gpt-oss-120b")) as running:
        yield running


@pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.catalog.RetiredModelWarning")
@pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.TruncatedAnswerWarning")
@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize(
    ("settings", "reason", "content", "reasoning", "text"),
    [
        ({"model": THINKER}, "stop", "Hm.</think>\n\n4", "Hm.", "4"),
        ({"model": THINKER}, "length", "Hm. Let me", "Hm. Let me", ""),
        ({"model": THINKER, "reasoning_format": "parsed"}, "stop", "4</think>", None, "4</think>"),
        ({"model": "gpt-oss-120b"}, "stop", "4</think>", None, "4</think>"),
    ],
)
def test_the_catalogue_says_whose_content_begins_with_reasoning(
    thinker, way, settings, reason, content, reasoning, text
):
    """Streamed and whole alike."""
    answer = whole({"content": content})
    answer["choices"][0]["finish_reason"] = reason
    thinker.script(
        RawAnswer(headers=JSON, body=json.dumps(answer).encode())
        if way == "invoke"
        else RawStream([*(sse(chunk({"content": letter})) for letter in content), sse(chunk(reason=reason))])
    )
    model = ChatCerebrasDemo(base_url=thinker.base_url, api_key=thinker.key, check_requests=False, **settings)
    if way == "invoke":
        message = model.invoke("hi")
    else:
        first, *others = model.stream("hi")
        message = sum(others, first)
    assert (message.content, message.additional_kwargs.get("reasoning_content")) == (text, reasoning)
