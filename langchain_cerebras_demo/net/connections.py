"""Subclasses of aiohttp's classes that handle forks, closed loops and peers that disappear without notice."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import weakref
from contextvars import ContextVar
from typing import Any, cast

import aiohttp
from aiohttp.abc import ResolveResult

from langchain_cerebras_demo.net.shutdown import is_ending


class ConnectionTrace:
    """Facts about the connection of a request, set by ``Connector``."""

    def __init__(self) -> None:
        self.is_reused = False


current_trace: ContextVar[ConnectionTrace] = ContextVar("cerebras_demo_connection_trace")
"""The trace of the request that the running task sends. aiohttp's tracing would take a tenth of the time of a request."""


def open_socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket with keep-alive probes after 30 seconds of silence, to detect a peer that has disappeared."""
    family, kind, protocol = address[:3]
    opened = socket.socket(family=family, type=kind, proto=protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPALIVE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # the names differ by system; macOS calls the first one TCP_KEEPALIVE
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    return opened


class Resolver(aiohttp.ThreadedResolver):
    """aiohttp's resolver, which also works while the interpreter ends, and raises OSError for an invalid name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of ``host``."""
        if is_ending():
            self._loop = cast("asyncio.AbstractEventLoop", _LookUps())
        try:
            return await super().resolve(host, port, family)
        except UnicodeError:
            pass
        raise OSError(socket.EAI_NONAME, "it has an empty label, or one of more than 63 characters")


class _LookUps:
    """The two name lookup methods of a loop, without a thread."""

    async def getaddrinfo(self, host: str, port: int, **more: Any) -> list[Any]:
        return socket.getaddrinfo(host, port, **more)

    async def getnameinfo(self, address: Any, flags: int) -> tuple[str, str]:
        return socket.getnameinfo(address, flags)


class Connector(aiohttp.TCPConnector):
    """aiohttp's connector, without warnings about connections left by a fork, a closed loop or the end of the process.

    In a forked child the parent's sockets must not be closed (both processes share the event poll), without a running loop they cannot
    be closed properly, and at the end of the process the system closes them.
    """

    owner = 0  # the id of the process that opened it; 0: do not close the connections

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._used: weakref.WeakSet[asyncio.BaseProtocol] = weakref.WeakSet()  # the protocols of connections

    @property
    def may_close(self) -> bool:
        """Whether connections that are dropped can be closed."""
        return self.owner == os.getpid() and self._loop.is_running()

    @property
    def closed(self) -> bool:
        """Whether it is closed, or its loop does not run. aiohttp's session asks for it before it complains about being dropped."""
        return bool(super().closed) or not self._loop.is_running()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        """Return a connection that the server has not closed. The loop may not have noticed yet that a pooled one is closed."""
        while True:
            connection = await super().connect(req, traces, timeout)
            connection.__class__ = QuietConnection  # aiohttp has no argument for it
            transport, protocol = connection.transport, connection.protocol
            if transport is None or protocol is None:
                return connection
            if protocol not in self._used:  # a new one; over TLS, session tickets may have arrived
                self._used.add(protocol)
                return connection
            if not _has_something_to_read(transport):
                if trace := current_trace.get(None):
                    trace.is_reused = True
                return connection
            connection.close()

    def close_idle(self) -> None:
        """Close the idle connections of the pool."""
        idle = [protocol for pooled in self._conns.values() for protocol, _ in pooled]
        self._conns.clear()
        for protocol in idle:
            if protocol.transport is not None:
                protocol.transport.abort()  # closing TLS properly could take longer than the loop exists
            protocol.close()

    def __del__(self, *args: object, **kwargs: object) -> None:
        if self.may_close:
            super().__del__()


def _has_something_to_read(transport: asyncio.Transport) -> bool:
    """Return whether an idle connection has something to read: its end, or bytes that belong to no answer."""
    pipe = transport.get_extra_info("socket")
    if pipe is None or pipe.fileno() < 0:
        return False
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([pipe.fileno()], [], [], 0)[0])
    poll = select.poll()
    poll.register(pipe.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class QuietResponse(aiohttp.ClientResponse):
    """aiohttp's response, without a warning if its loop does not run."""

    def __del__(self, *args: object, **kwargs: object) -> None:
        if self._loop.is_running():
            super().__del__()


class QuietConnection(aiohttp.connector.Connection):
    """aiohttp's connection, without a warning if its loop does not run.

    The garbage collector takes the parts of a dropped loop in any order, so none of them can rely on another one to be closed first.
    """

    __slots__ = ()

    def __del__(self, *args: object, **kwargs: object) -> None:
        if isinstance(self._connector, Connector) and self._connector.may_close:
            super().__del__()
