"""A proxy of forty lines, for tests of who sees what."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["TinyProxy"]


class TinyProxy:
    """An HTTP proxy on 127.0.0.1 that leads every host to one port of this machine.

    ``heads`` keeps the head of each request as it came, one text each; what goes through a CONNECT tunnel it does not see.
    """

    def __init__(self, target_port: int, tls: ssl.SSLContext | None = None) -> None:
        self.target_port = target_port
        self.tls = tls
        self.heads: list[str] = []
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> TinyProxy:  # noqa: PYI034 - typing.Self is not in 3.10
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there: asyncio.StreamWriter | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode("latin-1"))
            from_there, there = await asyncio.open_connection("127.0.0.1", self.target_port)
            if head.startswith(b"CONNECT "):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                there.write(head)
            await asyncio.gather(pipe(reader, there), pipe(from_there, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # one of the two has left
        finally:
            for one in filter(None, (writer, there)):
                one.close()
                with contextlib.suppress(OSError):
                    await one.wait_closed()


async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Hands on what comes until it ends."""
    while data := await source.read(65_536):
        target.write(data)
        await target.drain()
    target.close()
