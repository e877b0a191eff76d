"""The faults of time, and those that are tried again or not."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ContextOverflowError,
    InternalServerError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    StreamInterruptedError,
)
from langchain_cerebras_demo.policy import Timeout
from langchain_cerebras_demo.testing import (
    QUEUE_EXCEEDED,
    Disconnect,
    RawAnswer,
    RawStream,
    Reply,
    Silence,
    Status,
    flat,
)
from langchain_cerebras_demo.testing.refusals import quota_exceeded
from tests.support.faults import HI, IDLE, JSON, KEY, SHORT, WHOLE, Ends, Fault, Way, both, rude, staged, stream
from tests.support.rude_servers import RudeServer, black_hole, closed_port, read_head, wait_until_left

TWO_DELTAS = Reply(deltas=({"content": "Hi"}, {"content": " there"}))
NO_ANSWER, NO_MORE = "no answer within 0.3 s (timeout.first_event)", "no further event within 0.15 s (timeout.idle)"


def drip(head: bytes) -> Callable[[socket.socket], None]:
    """Says ``head``, then a byte every now and then: never a whole header or event."""

    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(head)
        while True:  # until the client is gone
            connection.sendall(b"x")
            time.sleep(0.02)

    return handle


@contextlib.contextmanager
def nobody_answers(_server: object) -> Iterator[dict[str, object]]:
    with black_hole() as port:
        yield {"base_url": f"http://127.0.0.1:{port}/v1", "timeout": Timeout(connect=0.1)}


@contextlib.contextmanager
def nobody_listens(_server: object) -> Iterator[dict[str, object]]:
    yield {"base_url": f"http://127.0.0.1:{closed_port()}/v1"}


@contextlib.contextmanager
def silent_tls(_server: object) -> Iterator[dict[str, object]]:
    with RudeServer(wait_until_left) as one:
        yield {"base_url": f"https://127.0.0.1:{one.port}/v1"}


EVENTS_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
TIME = [
    both(
        "silence",
        "the request is accepted, but no answer comes",
        Silence(before_headers=True),
        Ends(APITimeoutError, NO_ANSWER, sends=2),
        settings={"timeout": SHORT},
    ),
    both(
        "keep-alives and no answer",
        "headers, then comments (in a whole answer: spaces): no progress",
        Silence(keepalives=True),
        Ends(APITimeoutError, NO_ANSWER, sends=2),
        settings={"timeout": SHORT},
    ),
    stream(
        "silence in the middle",
        "an event, then nothing",
        RawStream([HI], end="hang"),
        Ends(APITimeoutError, NO_MORE, partial="Hi"),
        settings={"timeout": IDLE},
    ),
    stream(
        "keep-alives in the middle",
        "an event, then comments: no progress",
        Silence(keepalives=True, after=1, reply=TWO_DELTAS),
        Ends(APITimeoutError, NO_MORE, partial="Hi"),
        settings={"timeout": IDLE},
    ),
    Fault(
        "an event that never ends, a byte at a time",
        "an event, then a byte every 20 ms: no progress",
        Way(Ends(APITimeoutError, NO_MORE, partial="Hi")),
        stage=rude(drip(EVENTS_HEAD + HI + b"data: ")),
        settings={"timeout": IDLE},
    ),
    staged(
        "headers that never end, a byte at a time",
        "a status line, then a byte every 20 ms",
        Ends(APITimeoutError, NO_ANSWER, sends=2),
        rude(drip(b"HTTP/1.1 200 OK\r\nx-slow: ")),
        timeout=SHORT,
    ),
    staged(
        "a host that does not accept",
        "no answer to SYN",
        Ends(APITimeoutError, "in time", sends=2),
        nobody_answers,
    ),
    staged(
        "a TLS handshake that hangs",
        "the connection opens, but no data comes",
        Ends(APITimeoutError, "in time", sends=2),
        silent_tls,
        timeout=Timeout(connect=0.1),
    ),
    both(
        "the deadline, before an answer",
        "silence beyond `timeout.total`: no time is left for another attempt",
        Silence(),
        Ends(APITimeoutError, "not finished within 0.3 s (timeout.total)"),
        settings={"timeout": Timeout(total=0.3)},
    ),
    stream(
        "the deadline, within an answer",
        "an event, then silence beyond `timeout.total`",
        Silence(after=1, reply=TWO_DELTAS),
        Ends(APITimeoutError, "not finished within 1 s (timeout.total)", partial="Hi"),
        settings={"timeout": Timeout(total=1)},
    ),
    both(
        "a retry-after beyond the deadline",
        "429, `retry-after: 5`, with a `timeout.total` of 2 s",
        Status(429, headers={"retry-after": "5"}),
        Ends(RateLimitError, "limit: requests per minute; retry after 5 s"),
        settings={"timeout": Timeout(total=2)},
    ),
]


def refused(status: int, error: type[APIStatusError], why: str, body: dict[str, object] | None = None) -> Fault:
    """A status that is never tried again."""
    return both(f"{status}: {why}", f"{status}", Status(status, body), Ends(error, f"{status}: "))


RETRIES = [
    staged(
        "a closed port",
        "nothing listens on the port",
        Ends(APIConnectionError, "could not connect", sends=2),
        nobody_listens,
    ),
    both(
        "a server that closes the connection",
        "FIN instead of an answer",
        Disconnect(),
        Ends(APIConnectionError, "closed the connection", sends=2),
    ),
    both(
        "a server that resets",
        "RST instead of an answer",
        Disconnect("reset"),
        Ends(APIConnectionError, "127.0.0.1", sends=2),
    ),
    Fault(
        "a server that closes the connection once",
        "FIN, then an answer to the second request",
        *[Way(Ends(None, "whole", sends=2), (Disconnect(), RawAnswer(headers=JSON, body=WHOLE)))] * 2,
    ),
    Fault(
        "an error, then a cut stream",
        "500; the second answer ends after an event",
        Way(
            Ends(StreamInterruptedError, "2 attempts", sends=2, partial="Hi"),
            (Status(500), RawStream([HI], end="eof")),
        ),
    ),
    both("408: took too long", "408", Status(408), Ends(APIStatusError, "408: ", sends=2)),
    both("409: a conflict", "409", Status(409), Ends(APIStatusError, "409: ", sends=2)),
    both(
        "524: a web page of a proxy",
        "524 and HTML",
        RawAnswer(524, {"content-type": "text/html"}, b"<html><title>A timeout occurred</title></html>"),
        Ends(InternalServerError, "524: an HTML page titled 'A timeout occurred'", sends=2),
    ),
    both("429: requests a minute", "429", Status(429), Ends(RateLimitError, "limit: requests per minute", sends=2)),
    both(
        "429: tokens a minute",
        "429, `token_quota_exceeded`",
        Status(429, quota_exceeded("tokens", "minute")),
        Ends(RateLimitError, "limit: tokens per minute", sends=2),
    ),
    both(
        "429: requests a day",
        "429, “per day”",
        Status(429, quota_exceeded("requests", "day")),
        Ends(RateLimitError, "limit: requests per day"),
    ),
    both(
        "429: the service is busy",
        "429, `queue_exceeded`",
        Status(429, QUEUE_EXCEEDED),
        Ends(RateLimitError, "limit: the service's queue", sends=2),
    ),
    both(
        "retry-after in seconds",
        "429, `retry-after: 0.2`",
        Status(429, headers={"retry-after": "0.2"}),
        Ends(RateLimitError, "2 attempts, 0.2 s waited", sends=2, waited=0.2),
    ),
    both(
        "retry-after in milliseconds",
        "503, `retry-after-ms: 150` beside `retry-after: 60`",
        Status(503, headers={"retry-after-ms": "150", "retry-after": "60"}),
        Ends(InternalServerError, "2 attempts", sends=2, waited=0.15),
    ),
    both(
        "retry-after as a date",
        "429, a date one second after the answer's own; the local clock does not matter",
        Status(429, headers={"date": "Thu, 01 Jan 1970 00:00:00 GMT", "retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}),
        Ends(RateLimitError, "retry after 1 s", sends=2, waited=1.0),
    ),
    both(
        "retry-after in the past",
        "429, a date before the answer's own, as after a clock change",
        Status(429, headers={"date": "Fri, 02 Jan 2026 00:00:00 GMT", "retry-after": "Thu, 01 Jan 2026 00:00:00 GMT"}),
        Ends(RateLimitError, "retry after 0 s", sends=2),
    ),
    both(
        "retry-after in the past of the local clock",
        "429, a date of 1970, without a `Date` header",
        RawAnswer(429, {"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, b"{}"),
        Ends(RateLimitError, "retry after 0 s", sends=2),
    ),
    both(
        "an absurd retry-after",
        "429, `retry-after: 3600`: the client waits 120 s at most",
        Status(429, headers={"retry-after": "3600"}),
        Ends(RateLimitError, "retry after 3600 s"),
    ),
    both(
        "a retry-after that is text",
        "503, `retry-after: soon`: ignored",
        Status(503, headers={"retry-after": "soon"}),
        Ends(InternalServerError, "503: ", sends=2),
    ),
    both(
        "a retry-after that is not a valid number",
        "503, `retry-after: nan`, `retry-after-ms: -1`: ignored",
        Status(503, headers={"retry-after": "nan", "retry-after-ms": "-1"}),
        Ends(InternalServerError, "2 attempts", sends=2),
    ),
    both(
        "x-should-retry: true",
        "400 that the server wants to be retried",
        Status(400, headers={"x-should-retry": "true"}),
        Ends(BadRequestError, "400: ", sends=2),
    ),
    both(
        "x-should-retry: false",
        "503 that the server does not want to be retried",
        Status(503, headers={"x-should-retry": "false"}),
        Ends(InternalServerError, "503: "),
    ),
    refused(400, ContextOverflowError, "too long", flat("m", "t", "messages", "context_length_exceeded")),
    refused(401, AuthenticationError, "a wrong key"),
    refused(402, PaymentRequiredError, "no credit"),
    refused(403, PermissionDeniedError, "not allowed"),
    refused(404, NotFoundError, "no such model"),
    refused(413, BadRequestError, "too large"),
    refused(418, APIStatusError, "no class of its own"),
    both(
        "an error in FastAPI's shape",
        "422 with a `detail` of several lines",
        Status(422, {"detail": [{"loc": ["body", "x"], "msg": "extra", "type": "t"}]}),
        Ends(APIStatusError, "422: body.x: extra"),
    ),
    both(
        "an error that repeats the key",
        "400, the key in the message, the body and a header",
        Status(400, {"message": f"wrong key {KEY}"}, {"x-key": KEY}),
        Ends(BadRequestError, "400: wrong key "),
    ),
]
