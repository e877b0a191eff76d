"""The interface between the package and the network: HTTP requests and responses.

``Transport`` has a single method, so that test doubles are short.
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
        headers: headers that may be logged or shown.
        secret_headers: returns the headers that may not be shown; called just before sending, and never stored.
        body: the bytes to send, or ``None``.
        connect_timeout: the longest time to open a connection (TCP and TLS), in seconds; ``None`` for no bound.
        proxy: the proxy to use instead of the environment's.
        environment_proxy: whether to use the environment's proxy variables (never used for loopback).
        fresh_connection: whether to use a new connection instead of one from the pool.
        owner: the sender, compared by identity, so that it can close its connections without disturbing others.
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
    """An HTTP response: status, headers, and a body that is read piece by piece."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers: lower-case names and printable values."""

    async def read(self) -> bytes:
        """Return the bytes that have arrived, or wait for some; ``b""`` at the end of the body.

        Raises:
            APIConnectionError: the connection broke before the end.
            APIResponseValidationError: the body is in an encoding that cannot be read.
        """

    def close(self) -> None:
        """Return the connection to the pool if the body was read to its end, else close it. This never waits and never raises."""


@runtime_checkable
class Transport(Protocol):
    """An object that sends requests: ``AiohttpTransport``, or a test double."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send the request and wait for status and headers. Redirects are not followed.

        Raises:
            APIConnectionError: the host could not be reached or closed the connection; ``APITimeoutError`` if it took too long.
            APIResponseValidationError: the response is not valid HTTP.
        """


def default_transport() -> AiohttpTransport:
    """Return the transport that all models of this process share by default."""
    from langchain_cerebras_demo.net import aiohttp_transport  # noqa: PLC0415 - see there

    return aiohttp_transport.shared


holding_sockets: weakref.WeakSet[Any] = weakref.WeakSet()
"""The transports with open sockets; they drop them in a forked child and when the interpreter ends."""


def _forget_all() -> None:
    for transport in list(holding_sockets):
        transport.forget()


# Registered before the portal's handler, so that it runs after it: the portal's calls still need their sockets.
atexit.register(_forget_all)
with contextlib.suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget_all)
