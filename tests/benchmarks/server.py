"""The process that plays Cerebras: prepared bytes, sent as fast as the client reads, or paced.

    python -m tests.benchmarks.server FOLDER

Writes one line of JSON with its addresses and runs until its standard input ends. A request's path names its plan (see
``prepared``), its body says whether it is to be streamed. An event is an HTTP chunk of its own, as servers that flush
every event send it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from functools import lru_cache
from pathlib import Path

from tests.benchmarks import prepared
from tests.benchmarks.prepared import Plan

# What the real service sends along with every answer; parsing it is part of a request's cost. The limits are far away:
# a client that keeps to them is to be measured at work and not waiting.
_LIMITS = b"".join(
    b"x-ratelimit-limit-%s: 1000000000\r\nx-ratelimit-remaining-%s: 999999000\r\nx-ratelimit-reset-%s: %s\r\n"
    % (what, what, what, seconds)
    for what, seconds in ((b"requests-day", b"33011.38"), (b"tokens-minute", b"11.38"))
)
_OK = b"HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 09:00:00 GMT\r\nx-request-id: 1\r\n" + _LIMITS
_STREAM_HEAD = _OK + b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
_LAST_HTTP_CHUNK = b"0\r\n\r\n"


@lru_cache(maxsize=16)
def http_chunks(plan: Plan) -> tuple[bytes, ...]:
    """The events, each as the HTTP chunk that goes out."""
    return tuple(b"%x\r\n%s\r\n" % (len(event), event) for event in prepared.events(plan))


@lru_cache(maxsize=16)
def stream_answer(plan: Plan) -> bytes:
    """All that goes out at full speed: the whole answer, or what comes before the rest of a held one."""
    chunks = http_chunks(plan)
    if plan.hold:
        return _STREAM_HEAD + b"".join(chunks[: plan.hold + 1])  # the role comes before the deltas
    return _STREAM_HEAD + b"".join(chunks) + _LAST_HTTP_CHUNK


@lru_cache(maxsize=16)
def whole_answer(plan: Plan) -> bytes:
    """An answer that is not streamed, with its head."""
    return _json_answer(prepared.whole(plan))


def _json_answer(body: bytes) -> bytes:
    return _OK + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


class Connection(asyncio.Protocol):
    """One client's connection, kept open between its requests."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""
        self.pacing: asyncio.Task[None] | None = None

    def connection_lost(self, problem: Exception | None) -> None:
        if self.pacing is not None:
            self.pacing.cancel()

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"),
            0,
        )
        if len(rest) >= length:
            self.received = rest[length:]
            self.answer(head.split(b" ", 2), rest[:length])

    def answer(self, request_line: list[bytes], body: bytes) -> None:
        method, path = request_line[0], request_line[1].decode()
        if method != b"POST":
            self.transport.write(_json_answer(b"{}"))  # cerebras-cloud-sdk warms its connection
            return
        plan = Plan.from_path(path)
        if not json.loads(body).get("stream"):
            self.transport.write(whole_answer(plan))
        elif plan.pace:
            self.pacing = asyncio.get_running_loop().create_task(self.send_paced(plan))
        else:
            self.transport.write(stream_answer(plan))

    async def send_paced(self, plan: Plan) -> None:
        """One write an event, each at its time. A timer is good for a millisecond, so the wait for the next one spins."""
        loop = asyncio.get_running_loop()
        self.transport.write(_STREAM_HEAD)
        begin = loop.time()
        for number, chunk in enumerate(http_chunks(plan)):
            while loop.time() < begin + number / plan.pace:
                await asyncio.sleep(0)
            self.transport.write(chunk)
        self.transport.write(_LAST_HTTP_CHUNK)


def make_certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS context, and the file with the authority that its clients have to believe."""
    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    believed = folder / "authority.pem"
    authority.cert_pem.write_to_path(believed)
    return context, believed


async def serve(folder: Path) -> None:
    """Serves until standard input ends."""
    loop = asyncio.get_running_loop()
    context, believed = make_certificate(folder)
    plain = await loop.create_server(Connection, "127.0.0.1", 0, backlog=2048)
    secure = await loop.create_server(Connection, "127.0.0.1", 0, backlog=2048, ssl=context)
    addresses = {
        "http": f"http://127.0.0.1:{plain.sockets[0].getsockname()[1]}",
        "https": f"https://127.0.0.1:{secure.sockets[0].getsockname()[1]}",
        "authority": str(believed),
    }
    print(json.dumps(addresses), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    plain.close()
    secure.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
