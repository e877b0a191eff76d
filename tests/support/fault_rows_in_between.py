"""The faults of whatever stands in between: lies, proxies, names, TLS."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable, Iterator
from unittest import mock

from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    ContextOverflowError,
    RateLimitError,
    StreamInterruptedError,
)
from langchain_cerebras_demo.testing import RawAnswer, RawBytes, RawStream
from tests.support.faults import (
    FINISH,
    HI,
    JSON,
    PLAIN_HEAD,
    SHORT,
    WHOLE,
    Ends,
    both,
    rude,
    staged,
    streamed_and_whole,
)
from tests.support.rude_servers import RudeServer, closed_port, read_head, wait_until_left

ANSWER = b"content-length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE)
MARK = b"\xef\xbb\xbf"
CEREBRAS = {"base_url": "https://api.cerebras.ai/v1"}
REFUSING_PROXY = b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n"


def says(answer: bytes) -> Callable[[socket.socket], None]:
    """Answers with these bytes as soon as the request's head is here."""

    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer)
        gone = select.poll()  # the rest of the request stays unread
        gone.register(connection, select.POLLRDHUP)
        gone.poll(5000)

    return handle


@contextlib.contextmanager
def no_proxy_listens(_server: object) -> Iterator[dict[str, object]]:
    yield {"proxy": f"http://127.0.0.1:{closed_port()}"}


@contextlib.contextmanager
def socks_in_the_environment(_server: object) -> Iterator[dict[str, object]]:
    with mock.patch.dict(os.environ, {"ALL_PROXY": "socks5://127.0.0.1:9"}):
        yield CEREBRAS


@contextlib.contextmanager
def no_names(_server: object) -> Iterator[dict[str, object]]:
    failure = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    with mock.patch.object(socket, "getaddrinfo", side_effect=failure):
        yield {"base_url": "https://unknown.example/v1"}


@contextlib.contextmanager
def plain_instead_of_tls(_server: object) -> Iterator[dict[str, object]]:
    def handle(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with RudeServer(handle) as one:
        yield {"base_url": f"https://127.0.0.1:{one.port}/v1"}


IN_BETWEEN = [
    both(
        "invalid rate-limit headers",
        "`x-ratelimit-*` negative, NaN, text, 1e300, some missing; the answer is returned",
        RawAnswer(
            headers={
                **JSON,
                "x-ratelimit-limit-tokens-minute": "-1",
                "x-ratelimit-remaining-tokens-minute": "nan",
                "x-ratelimit-reset-tokens-minute": "1e300",
                "x-ratelimit-remaining-requests-day": "many",
            },
            body=WHOLE,
        ),
        Ends(None, "whole"),
        settings={"rate_limit": "auto"},
    ),
    staged(
        "an answer before the request ends",
        "413 after the headers of a request of 8 MB, whose body the server does not read",
        Ends(BadRequestError, "413: "),
        rude(says(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")),
        model_kwargs={"user": "x" * 8_000_000},
    ),
    both(
        "a header line of 64 KiB",
        "`x-long: xxx…`",
        RawBytes(PLAIN_HEAD + b"x-long: " + b"x" * 65_536 + b"\r\n" + ANSWER),
        Ends(APIResponseValidationError, "is not valid HTTP"),
    ),
    both(
        "an invalid status line",
        "`HTTP/9.9 abc`",
        RawBytes(b"HTTP/9.9 abc\r\n\r\n"),
        Ends(APIResponseValidationError, "is not valid HTTP"),
    ),
    both(
        "headers cut off",
        "the connection closes within a header line",
        RawBytes(PLAIN_HEAD[:-5]),
        Ends(APIConnectionError, "closed the connection", sends=2),
    ),
    both(
        "a negative content-length",
        "`content-length: -5`",
        RawBytes(PLAIN_HEAD + b"content-length: -5\r\n\r\n" + WHOLE),
        Ends(APIResponseValidationError, "is not valid HTTP"),
    ),
    both(
        "an invalid chunk size",
        "`zz` instead of a length",
        RawBytes(PLAIN_HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n"),
        Ends(APIResponseValidationError, "is not valid HTTP"),
    ),
    both(
        "early hints",
        "103, then the answer",
        RawBytes(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + PLAIN_HEAD + ANSWER),
        Ends(None, "whole"),
    ),
    both(
        "an answer of HTTP/1.0",
        "no length: the body ends with the connection",
        RawBytes(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + WHOLE),
        Ends(None, "whole"),
    ),
    streamed_and_whole(
        "bytes that are not text",
        "300 bytes `0xff` as `text/event-stream`",
        (RawStream([b"\xff" * 300], end="eof"), Ends(StreamInterruptedError, "neither a finish_reason", sends=2)),
        (RawStream([b"\xff" * 300], end="eof"), Ends(APIResponseValidationError, "the answer is not UTF-8")),
    ),
    both(
        "a stream instead of JSON",
        "events instead of one object: read as a stream",
        RawStream([HI, HI, FINISH]),
        Ends(None, "HiHi"),
    ),
    both(
        "a stream labelled as JSON",
        "events as `application/json`: recognized by the first bytes",
        RawStream([HI, FINISH], headers=JSON),
        Ends(None, "Hi"),
    ),
    both(
        "JSON labelled as a stream",
        "a whole answer as `text/event-stream`",
        RawAnswer(headers={"content-type": "text/event-stream"}, body=WHOLE),
        Ends(None, "whole"),
    ),
    both(
        "a byte order mark before an answer",
        "`EF BB BF`, then a whole answer",
        RawAnswer(headers=JSON, body=MARK + WHOLE),
        Ends(None, "whole"),
    ),
    both(
        "a byte order mark before an error",
        "`EF BB BF`, then the JSON of a 400: its code and class are kept",
        RawAnswer(400, headers=JSON, body=MARK + b'{"message": "too long", "code": "context_length_exceeded"}'),
        Ends(ContextOverflowError, "400: too long"),
    ),
    both(
        "a header that is not UTF-8",
        "`x-request-id: caf\\xe9-1`: the answer is returned, the id is escaped",
        RawBytes(PLAIN_HEAD + b"x-request-id: caf\xe9-1\r\n" + ANSWER),
        Ends(None, "whole"),
    ),
    both(
        "an unsupported encoding",
        "`content-encoding: compress`, as `br` and `zstd` without their libraries",
        RawAnswer(headers={**JSON, "content-encoding": "compress"}, body=b"\x1f\x9d\x90{}"),
        Ends(APIResponseValidationError, "the body is encoded as 'compress', which cannot be read"),
    ),
    both(
        "an error in an unsupported encoding",
        "429 with `content-encoding: compress`: the status decides the class",
        RawAnswer(429, headers={**JSON, "content-encoding": "compress"}, body=b"\x1f\x9d\x90{}"),
        Ends(RateLimitError, "429: the body is encoded as 'compress', which cannot be read", sends=2),
    ),
    staged(
        "a proxy that requires a password, http",
        "407",
        Ends(APIStatusError, "from the argument proxy refused: it requires a user and a password"),
        rude(says(REFUSING_PROXY), "proxy={}"),
    ),
    staged(
        "a proxy that requires a password, https",
        "407 to CONNECT",
        Ends(APIConnectionError, "refused to connect to api.cerebras.ai (407): it requires a user and a password"),
        rude(says(REFUSING_PROXY), "proxy={}", **CEREBRAS),
    ),
    staged(
        "a proxy that hangs, https",
        "no answer to CONNECT",
        Ends(APITimeoutError, "0.3 s (timeout.first_event)", sends=2),
        rude(wait_until_left, "proxy={}", **CEREBRAS),
        timeout=SHORT,
    ),
    staged(
        "a proxy that is not running",
        "the proxy's port is closed",
        Ends(APIConnectionError, "could not connect to the proxy", sends=2),
        no_proxy_listens,
    ),
    staged(
        "a SOCKS proxy",
        "nothing is sent: `ALL_PROXY=socks5://…`",
        Ends(APIConnectionError, "ALL_PROXY names a SOCKS proxy, which is not supported"),
        socks_in_the_environment,
    ),
    staged(
        "an unknown host name",
        "DNS fails",
        Ends(APIConnectionError, "the name unknown.example could not be resolved", sends=2),
        no_names,
    ),
    staged(
        "a server without TLS",
        "the server answers a handshake in plain HTTP",
        Ends(APIConnectionError, "no secure connection", sends=2),
        plain_instead_of_tls,
    ),
]
