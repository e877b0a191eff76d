"""The faults of answers: truncated, garbled, or an error in themselves."""

from __future__ import annotations

import json
import zlib
from typing import Any

from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    InternalServerError,
    RateLimitError,
    StreamInterruptedError,
)
from langchain_cerebras_demo.testing import (
    Endless,
    ErrorEvent,
    HtmlPage,
    RawAnswer,
    RawBytes,
    RawStream,
    Redirect,
    sse,
)
from tests.support.faults import (
    EVENTS,
    FINISH,
    HI,
    IDLE,
    JSON,
    PLAIN_HEAD,
    SHORT,
    WHOLE,
    Ends,
    Fault,
    both,
    delta,
    stream,
    streamed_and_whole,
)


def cut_gzip() -> RawStream:
    """An event, zipped and whole; then a part of the next one, and the body ends within the archive."""
    packer = zlib.compressobj(wbits=31)
    begin = packer.compress(HI) + packer.flush(zlib.Z_SYNC_FLUSH)
    return RawStream(
        [begin, (packer.compress(FINISH) + packer.flush())[:8]], end="eof", headers={"content-encoding": "gzip"}
    )


def odd_call(name: str, wire: str, **said: Any) -> Fault:
    """Words beside a tool call that is not as it should be."""
    answer = {"id": "c1", "choices": [{"message": {"content": "Hi", **said}, "finish_reason": "tool_calls"}]}
    events = [sse(delta(content="Hi")), sse(delta("tool_calls", **said))]
    whole = RawAnswer(headers=JSON, body=json.dumps(answer).encode())
    return streamed_and_whole(name, wire, (RawStream(events), Ends(None, "Hi")), (whole, Ends(None, "Hi")))


def odd(body: bytes) -> bytes:
    """The same answer with facts of other types."""
    for usual, unusual in (
        (b'"id": "c1"', b'"id": 5, "usage": {"prompt_tokens": "many"}'),
        (b'"index": 0', b'"index": "0", "logprobs": {"content": [{"token": "a", "logprob": NaN}]}'),
    ):
        body = body.replace(usual, unusual).replace(usual.replace(b": ", b":"), unusual)
    return body


CUT_OFF = "neither a finish_reason nor [DONE]"

ANSWERS = [
    # -- truncated
    stream(
        "a stream that ends early",
        "an event, then the regular end of the body, without `finish_reason` and `[DONE]`",
        RawStream([HI], end="eof"),
        Ends(StreamInterruptedError, CUT_OFF, partial="Hi"),
    ),
    stream(
        "a stream that ends before it began",
        "headers and an empty body",
        RawStream([], end="eof"),
        Ends(StreamInterruptedError, CUT_OFF, sends=2),
    ),
    stream(
        "one of two choices is unfinished",
        "choice 1 has its `finish_reason`, choice 0 has none, no `[DONE]`",
        RawStream([HI, sse(delta("stop", 1))], end="eof"),
        Ends(StreamInterruptedError, CUT_OFF, partial="Hi"),
    ),
    stream(
        "a stream that ends within a possible tag",
        "`<thi`, then the regular end of the body",
        RawStream([sse(delta(content="<thi"))], end="eof"),
        Ends(StreamInterruptedError, CUT_OFF, partial="<thi"),
    ),
    stream(
        "a stream that ends within a line",
        "an event and half of the next one",
        RawStream([HI, HI[:30]], end="eof"),
        Ends(StreamInterruptedError, CUT_OFF, partial="Hi"),
    ),
    stream(
        "a reset in the middle",
        "an event, then RST",
        RawStream([HI], end="reset"),
        Ends(StreamInterruptedError, "the stream broke off", partial="Hi"),
    ),
    streamed_and_whole(
        "a reset after the headers",
        "headers, then RST",
        (RawStream([], end="reset"), Ends(APIConnectionError, "127.0.0.1", sends=2)),
        (RawBytes(PLAIN_HEAD + b"content-length: 50\r\n\r\n", "reset"), Ends(APIConnectionError, "127.0.0.1", sends=2)),
    ),
    streamed_and_whole(
        "a chunked body that is cut off",
        "a chunk, then the connection closes without the end of the body",
        (RawStream([HI], end="no_chunk_end"), Ends(StreamInterruptedError, "broke off", partial="Hi")),
        (
            RawBytes(PLAIN_HEAD + b"transfer-encoding: chunked\r\n\r\nff\r\n{"),
            Ends(APIConnectionError, "broke off", sends=2),
        ),
    ),
    streamed_and_whole(
        "a body shorter than its content-length",
        "the connection closes 500 bytes too early",
        (
            RawAnswer(headers=EVENTS, body=HI, content_length=len(HI) + 500),
            Ends(StreamInterruptedError, "broke off", partial="Hi"),
        ),
        (
            RawAnswer(headers=JSON, body=WHOLE, content_length=len(WHOLE) + 500),
            Ends(APIConnectionError, "broke off", sends=2),
        ),
    ),
    both(
        "a body longer than its content-length",
        "`content-length` ends within the JSON",
        RawBytes(PLAIN_HEAD + b"content-length: 20\r\n\r\n" + WHOLE),
        Ends(APIResponseValidationError, "is not valid HTTP"),
    ),
    stream(
        "finished, without [DONE]",
        "`finish_reason`, then the end of the body",
        RawStream([HI, FINISH], end="eof"),
        Ends(None, "Hi"),
    ),
    stream(
        "finished, then a reset",
        "`finish_reason`, then RST: the answer is complete",
        RawStream([HI, FINISH], end="reset"),
        Ends(None, "Hi"),
    ),
    stream(
        "finished, then silence",
        "`finish_reason`, and the connection stays open",
        RawStream([HI, FINISH], end="hang"),
        Ends(None, "Hi"),
        settings={"timeout": IDLE},
    ),
    # -- garbled
    both(
        "invalid gzip",
        "`content-encoding: gzip`, but the body is not gzip",
        RawAnswer(headers={**EVENTS, "content-encoding": "gzip"}, body=b"this is no gzip, as anyone sees"),
        Ends(APIConnectionError, "broke off", sends=2),
    ),
    stream(
        "gzip, cut off",
        "an event in a gzip body without its end",
        cut_gzip(),
        Ends(StreamInterruptedError, CUT_OFF, partial="Hi"),
    ),
    streamed_and_whole(
        "bad JSON",
        "a single brace, in a complete body",
        (
            RawStream([HI, b"data: {broken\n\n"]),
            Ends(APIResponseValidationError, "an event of the stream is not JSON", partial="Hi"),
        ),
        (RawAnswer(headers=JSON, body=b'{"id": '), Ends(APIResponseValidationError, "the answer is not JSON")),
    ),
    streamed_and_whole(
        "bad UTF-8",
        "a byte `0xff` within a text",
        (
            RawStream([HI, HI.replace(b"Hi", b"\xff")]),
            Ends(APIResponseValidationError, "an event of the stream is not UTF-8", partial="Hi"),
        ),
        (
            RawAnswer(headers=JSON, body=WHOLE.replace(b"whole", b"\xff")),
            Ends(APIResponseValidationError, "the answer is not UTF-8"),
        ),
    ),
    streamed_and_whole(
        "JSON that is not an object",
        "a list",
        (RawStream([HI, sse([1])]), Ends(APIResponseValidationError, "is JSON, but not an object", partial="Hi")),
        (RawAnswer(headers=JSON, body=b"[]"), Ends(APIResponseValidationError, "is JSON, but not an object")),
    ),
    streamed_and_whole(
        "JSON of another shape",
        "`choices` is a number",
        (RawStream([HI, sse({"choices": 5})]), Ends(APIResponseValidationError, "not have the shape", partial="Hi")),
        (RawAnswer(headers=JSON, body=b'{"choices": 5}'), Ends(APIResponseValidationError, "not have the shape")),
    ),
    streamed_and_whole(
        "no choices",
        "a complete answer without choices",
        (RawStream([sse({"id": "c1", "choices": []})]), Ends(APIResponseValidationError, "the stream has no choices")),
        (
            RawAnswer(headers=JSON, body=b'{"choices": []}'),
            Ends(APIResponseValidationError, "the answer has no choices"),
        ),
    ),
    both(
        "a web page with status 200",
        "`text/html`, as from a proxy",
        HtmlPage(),
        Ends(APIResponseValidationError, "the answer is an HTML page"),
    ),
    stream(
        "a web page labelled as a stream",
        "HTML as `text/event-stream`",
        RawAnswer(headers=EVENTS, body=b"<!DOCTYPE html>\n<html></html>\n"),
        Ends(APIResponseValidationError, "the answer is an HTML page"),
    ),
    both(
        "JSON instead of a stream",
        "a whole answer as `application/json`: it is read as the answer",
        RawAnswer(headers=JSON, body=WHOLE),
        Ends(None, "whole"),
    ),
    both(
        "an error with status 200",
        "the body of a 429 as `application/json`",
        RawAnswer(headers=JSON, body=b'{"message": "m", "type": "t", "param": "", "code": "queue_exceeded"}'),
        Ends(RateLimitError, "limit: the service's queue", sends=2),
    ),
    odd_call(
        "a tool call with fields of other types",
        "`id` is a list, `index` a string, `arguments` an object: it is read, with a generated id",
        tool_calls=[{"id": [1], "index": "first", "function": {"name": "f", "arguments": {"a": 1}}}],
    ),
    odd_call(
        "a tool call that is cut off",
        "arguments that end within a string: an invalid tool call, which agents do not run",
        tool_calls=[{"id": "k1", "index": 0, "function": {"name": "f", "arguments": '{"a": "b'}}],
    ),
    odd_call(
        "a tool call in the old form",
        "`function_call`: read like any other tool call",
        function_call={"name": "f", "arguments": "{}"},
    ),
    both("an empty answer", "204, no body", RawAnswer(204), Ends(APIStatusError, "204: the answer has no body")),
    # -- unusual, and whole
    stream(
        "an event without data",
        "`event: ping` and an empty `data:` between two events",
        RawStream([HI, b"event: ping\r\ndata: \r\n\r\n", HI, FINISH]),
        Ends(None, "HiHi"),
    ),
    streamed_and_whole(
        "half a character",
        "a text that ends in half of a surrogate pair; in a stream, two such halves first",
        (
            RawStream([*(HI.replace(b"Hi", half) for half in (rb"\ud83d", rb"\ude00", rb"\ud83d")), FINISH]),
            Ends(None, "😀\ufffd"),
        ),
        (RawAnswer(headers=JSON, body=WHOLE.replace(b"whole", rb"whole\ud83d")), Ends(None, "whole\ufffd")),
    ),
    streamed_and_whole(
        "a message instead of a delta",
        "`message` in a chunk of a stream, `delta` in a whole answer",
        (RawStream([HI.replace(b"delta", b"message"), FINISH]), Ends(None, "Hi")),
        (RawAnswer(headers=JSON, body=WHOLE.replace(b"message", b"delta")), Ends(None, "whole")),
    ),
    streamed_and_whole(
        "metadata of other types",
        "a number as id, text in `usage`, `index` as text, a log probability of NaN",
        (RawStream([odd(HI), odd(FINISH)]), Ends(None, "Hi")),
        (RawAnswer(headers=JSON, body=odd(WHOLE)), Ends(None, "whole")),
    ),
    # -- errors inside of a stream
    stream(
        "an error event, flat",
        "an event, then `{message, type, param, code}`",
        RawStream([HI, sse({"message": "boom", "type": "server_error", "param": "", "code": ""})], end="eof"),
        Ends(InternalServerError, "boom", partial="Hi"),
    ),
    stream(
        "an error event, enveloped, with a status",
        "an event, then `{status_code: 429, error: {…}}`",
        RawStream([HI, sse({"status_code": 429, "error": {"message": "boom"}})], end="eof"),
        Ends(RateLimitError, "boom", partial="Hi"),
    ),
    stream(
        "an error event, enveloped, without a status",
        "an event, then `{error: {…}}`",
        RawStream([HI, sse({"error": {"message": "boom"}})], end="eof"),
        Ends(InternalServerError, "boom", partial="Hi"),
    ),
    stream(
        "an event named error, with JSON",
        "an event, then `event: error`",
        RawStream([HI, b"event: error\n" + sse({"message": "boom", "status_code": 400})], end="eof"),
        Ends(BadRequestError, "boom", partial="Hi"),
    ),
    stream(
        "an event named error, with text",
        "an event, then `event: error` and text",
        RawStream([HI, b"event: error\ndata: upstream went away\n\n"], end="eof"),
        Ends(InternalServerError, "upstream went away", partial="Hi"),
    ),
    stream(
        "an error in one read with text",
        "two events and an error in one TCP write",
        RawStream([HI + HI + sse({"error": {"message": "boom"}})], end="eof"),
        Ends(InternalServerError, "boom", partial="HiHi"),
    ),
    stream(
        "an error after the finish reason",
        "`finish_reason`, then an error event: the answer is not complete",
        RawStream([HI, FINISH, sse({"error": {"message": "late"}})], end="eof"),
        Ends(InternalServerError, "late", partial="Hi"),
    ),
    stream(
        "an error that is the first event",
        "no chunk has been returned yet",
        ErrorEvent(after=0),
        Ends(InternalServerError, "the answer reported an error", sends=2),
    ),
    stream(
        "a refusal that is the first event",
        "`status_code: 400`: a second request would be refused as well",
        ErrorEvent(after=0, status=400),
        Ends(BadRequestError, "the answer reported an error"),
    ),
    # -- without end
    stream(
        "an event of more than 16 MiB",
        "an event, then one of 17 lines of 1 MiB",
        RawStream([HI, (b"data: " + b"x" * 1_048_576 + b"\n") * 17]),
        Ends(APIResponseValidationError, "larger than 16,777,216 bytes", partial="Hi"),
    ),
    stream(
        "a line without end",
        "`data: xxx…` for as long as the client reads",
        Endless(),
        Ends(APIResponseValidationError, "larger than 16,777,216 bytes"),
    ),
    stream(
        "comments without end",
        "`: ping` for as long as the client reads",
        Endless(prefix=b": ping\n\n", filler=b": ping\n\n" * 1000),
        Ends(APITimeoutError, "no answer within 0.3 s (timeout.first_event)", sends=2),
        settings={"timeout": SHORT},
    ),
    both(
        "an error body without end",
        "500 and text for as long as the client reads: only the first MiB is read",
        Endless(500, prefix=b"", filler=b"boom " * 4000, content_type="text/plain"),
        Ends(InternalServerError, "500: boom boom", sends=2),
    ),
    both(
        "a hundred redirects",
        "302 to the same address: not followed, because the request has a key",
        Redirect("/v1/chat/completions"),
        Ends(APIStatusError, "302: the server redirects to '/v1/chat/completions'"),
    ),
    both(
        "a redirect without a target",
        "307 with no `Location`",
        RawAnswer(307),
        Ends(APIStatusError, "307: the server redirects but names no target"),
    ),
    both(
        "an error without a body",
        "500 and nothing",
        RawAnswer(500),
        Ends(InternalServerError, "500: the answer has no body", sends=2),
    ),
]
