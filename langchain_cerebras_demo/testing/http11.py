"""HTTP/1.1 on an asyncio protocol, with which a test can also break the rules of HTTP.

No HTTP library is used, because none lets a server send a wrong content length, leave a chunk open or reset a connection in
the middle of an event.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it arrived. Its ``repr`` shows neither headers nor body, because they contain keys and cookies.

    Attributes:
        method: As sent, e.g. ``"POST"``.
        path: The path without the query.
        query: The text after the ``?``, or ``""``.
        headers: Pairs of lower-case name and value, in the order sent, including duplicates.
        body: The body as sent, without chunked encoding.
        connection: The number of the TCP connection that brought it, from 1: two requests with one number shared it.
    """

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    connection: int = 0

    def header(self, name: str) -> str | None:
        """The first header of this name in any case, or ``None``."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def host(self) -> str:
        """The ``Host`` header: the name that the client meant to reach."""
        return self.header("host") or ""

    @property
    def bearer(self) -> str | None:
        """The token of ``Authorization: Bearer …``, or ``None``."""
        kind, _, token = (self.header("authorization") or "").partition(" ")
        return token.strip() if kind.lower() == "bearer" else None

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name, with raw values: real session cookies contain characters that parsers refuse."""
        pairs = (part.partition("=") for part in (self.header("cookie") or "").split(";"))
        return {name.strip(): value.strip() for name, equals, value in pairs if equals}

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to use the connection again (in HTTP/1.1, unless it sends ``close``)."""
        return "close" not in (self.header("connection") or "").lower()

    @cached_property
    def json(self) -> Any:
        """The body as JSON, decompressed if ``Content-Encoding`` is gzip. Raises ``ValueError`` if it is not JSON."""
        try:
            body = gzip.decompress(self.body) if self.header("content-encoding") == "gzip" else self.body
        except (OSError, EOFError) as error:
            raise ValueError(f"the body is announced as gzip, but is not: {error}") from error
        return orjson.loads(body)


MAX_HEAD_BYTES = 65_536
WRITE_BYTES = 65_536


class MalformedRequestError(Exception):
    """The bytes are not an HTTP/1.1 request; the message says why."""


class Connection(asyncio.Protocol):
    """One TCP connection: a buffer for input, a transport for output, and a task that serves it.

    When the client leaves, the task is cancelled, so nothing that waits (a gate, a silence) outlives its connection.

    Args:
        number: From 1, in the order of accepting.
        serve: The coroutine function that reads requests and answers them.
        opened: Called when the connection is open.
        closed: Called when it is gone.
        left: Called when the client went away while an answer was running.
    """

    def __init__(
        self,
        number: int,
        serve: Callable[[Connection], Coroutine[Any, Any, None]],
        *,
        opened: Callable[[Connection], None],
        closed: Callable[[Connection], None],
        left: Callable[[], None],
    ) -> None:
        self.number = number
        self.serve = serve
        self.opened = opened
        self.closed = closed
        self.left = left
        self.buffer = bytearray()
        self.arrived = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self.answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment] # a stream's transport is a Transport
        self.task = asyncio.get_running_loop().create_task(self.serve(self))
        self.opened(self)

    def data_received(self, data: bytes) -> None:
        """Keep the bytes."""
        self.buffer += data
        self.arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """End the task. asyncio also calls this when the client closes only its own side, which no waiting client does."""
        if self.answering:
            self.answering = False
            self.left()
        self.task.cancel()
        self.transport.close()  # 3.10's TLS transport warns of being unclosed even where the client closed it
        self.closed(self)

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.writable.set()

    async def read_until(self, separator: bytes) -> bytes:
        """All up to ``separator``, which is dropped. Raises ``MalformedRequestError`` beyond 64 KiB."""
        while (end := self.buffer.find(separator)) < 0:
            if len(self.buffer) > MAX_HEAD_BYTES:
                raise MalformedRequestError("the head of the request is too long")
            await self.more()
        data = bytes(self.buffer[:end])
        del self.buffer[: end + len(separator)]
        return data

    async def read_exactly(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        while len(self.buffer) < size:
            await self.more()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def more(self) -> None:
        """Wait for more bytes."""
        self.arrived.clear()
        await self.arrived.wait()

    async def send(self, data: bytes) -> None:
        """Write, wait until the client can read more, and let the loop notice if it left."""
        self.transport.write(data)
        await self.writable.wait()
        await asyncio.sleep(0)

    def close(self) -> None:
        """Send what is buffered, then FIN."""
        self.answering = False
        self.transport.close()

    def reset(self) -> None:
        """Send RST, drop what is buffered."""
        self.answering = False
        raw: socket.socket | None = self.transport.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            # In POSIX, lingering for zero seconds means to close with RST instead of FIN.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


async def read_request(connection: Connection) -> ReceivedRequest:
    """The next request of a connection. Raises ``MalformedRequestError``; is cancelled when the client leaves."""
    head = (await connection.read_until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    try:
        method, target, version = head[0].split(" ")
        headers = tuple(
            (name.strip().lower(), value.strip()) for name, _, value in (h.partition(":") for h in head[1:])
        )
    except ValueError:
        raise MalformedRequestError(f"not a request line: {head[0][:80]!r}") from None
    if version != "HTTP/1.1":
        raise MalformedRequestError(f"not HTTP/1.1: {version[:20]!r}")
    path, _, query = target.partition("?")
    request = ReceivedRequest(method, path, query, headers, connection=connection.number)
    if not request.host:
        raise MalformedRequestError("a request without a Host header")
    if (request.header("expect") or "").lower() == "100-continue":
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await read_body(connection, request)
    return ReceivedRequest(method, path, query, headers, body, connection.number)


async def read_body(connection: Connection, request: ReceivedRequest) -> bytes:
    """The body that the headers of ``request`` announce."""
    try:
        if (request.header("transfer-encoding") or "").lower() != "chunked":
            return await connection.read_exactly(int(request.header("content-length") or 0))
        body = bytearray()
        while size := int((await connection.read_until(b"\r\n")).split(b";")[0], 16):
            body += await connection.read_exactly(size)
            await connection.read_until(b"\r\n")
    except ValueError:
        raise MalformedRequestError("a body length that is not a number") from None
    while await connection.read_until(b"\r\n"):
        pass  # trailers
    return bytes(body)


class Response:
    """One answer on a connection. Afterwards, ``stays_open`` is whether another request may follow."""

    def __init__(self, connection: Connection, *, keep_alive: bool) -> None:
        self.connection = connection
        self.stays_open = keep_alive

    async def head(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the status line and the headers."""
        phrase = HTTPStatus(status).phrase if status in {*HTTPStatus} else "Unknown"
        lines = [f"HTTP/1.1 {status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines.append(f"connection: {'keep-alive' if self.stays_open else 'close'}")
        await self.connection.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def whole(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Send a complete answer with its true length."""
        await self.head(status, [*headers, ("content-length", str(len(body)))])
        await self.body(body)

    async def body(self, data: bytes) -> None:
        """Send bytes as they are; they are the end of the answer."""
        while len(data) > WRITE_BYTES:
            await self.connection.send(data[:WRITE_BYTES])
            data = data[WRITE_BYTES:]
        self.connection.answering = False  # before the last byte leaves: a client may close the moment it has it
        await self.connection.send(data)

    async def start_chunked(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the head of an answer whose length is not known."""
        await self.head(status, [*headers, ("transfer-encoding", "chunked")])

    async def chunk(self, data: bytes) -> None:
        """Send one HTTP chunk in one write."""
        if data:  # an empty one would end the body
            await self.connection.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end_chunked(self) -> None:
        """Send the chunk that ends the body."""
        await self.body(b"0\r\n\r\n")

    def close(self) -> None:
        """Break off with FIN."""
        self.stays_open = False
        self.connection.close()

    def reset(self) -> None:
        """Break off with RST."""
        self.stays_open = False
        self.connection.reset()

    async def hang(self) -> None:
        """Stay silent until the client leaves; never returns."""
        await asyncio.Event().wait()
