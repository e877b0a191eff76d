"""Bytes out, bytes in: the one seam between the package and the network.

``Transport`` is a single method, so that a test double is short. Nothing here knows about chat.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from langchain_cerebras_demo.net.aiohttp_transport import AiohttpTransport

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout  # aiohttp brings it there

__all__ = ["HttpRequest", "HttpResponse", "Transport", "default_transport", "timeout"]


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request.

    Args:
        method: ``GET`` or ``POST``.
        url: the absolute address.
        headers: those that may be shown.
        secret_headers: called at the last moment for those that may not; they are kept nowhere.
        body: the bytes to send, if any.
        connect_timeout: seconds to open a connection (TCP and TLS), ``None`` for no bound.
        proxy: the proxy to use, before any of the environment.
        environment_proxy: whether the proxy variables of the environment count (never for loopback).
        fresh_connection: whether it goes out on a connection of its own, and on none that has been used before.
        owner: who sends it, compared by identity: an owner may close its connections without disturbing others.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # a user's own may be secrets
    secret_headers: Callable[[], Mapping[str, str]] | None = None
    body: bytes | None = field(default=None, repr=False)
    connect_timeout: float | None = 60.0
    proxy: str | None = field(default=None, repr=False)  # may hold a password
    environment_proxy: bool = True
    fresh_connection: bool = False
    owner: object = field(default=None, repr=False, compare=False)


class HttpResponse(Protocol):
    """An answer with its status and headers; its body is read piece by piece."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers: names in lower case, values as text that can be printed."""

    async def read(self) -> bytes:
        """Return the bytes that have arrived, waiting for some if there are none; ``b""`` at the end of the body.

        Raises:
            APIConnectionError: the connection broke before the end.
            APIResponseValidationError: the body is in an encoding that cannot be read.
        """

    def close(self) -> None:
        """Return the connection to the pool if the body was read to its end, else close it. Never waits, never raises."""


@runtime_checkable
class Transport(Protocol):
    """Anything that sends a request: ``AiohttpTransport``, or a test double."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send the request and wait for status and headers. Redirects are not followed.

        Raises:
            APIConnectionError: the host could not be reached or hung up (``APITimeoutError``: in time).
            APIResponseValidationError: what came back is not HTTP.
        """


def default_transport() -> AiohttpTransport:
    """Return the transport that every model of this process shares unless it is given one."""
    from langchain_cerebras_demo.net import aiohttp_transport  # noqa: PLC0415 - see there

    return aiohttp_transport.shared


holding_sockets: weakref.WeakSet[Any] = weakref.WeakSet()
"""The transports that hold sockets, which they forget in a forked child and when the interpreter ends."""


def _forget_all() -> None:
    for transport in list(holding_sockets):
        transport.forget()


# Registered here, before a portal is: what is registered last is called first, and the portal's calls need their sockets.
atexit.register(_forget_all)
with contextlib.suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget_all)
