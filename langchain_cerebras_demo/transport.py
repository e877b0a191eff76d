"""Bytes out, bytes in: the one seam between the package and the network.

``Transport`` is a single method, so that a double fits on a screen. ``AiohttpTransport`` keeps one aiohttp session a
running event loop, shared by every model of the process. Nothing here knows of chat.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import io
import os
import ssl
import sys
import threading
import urllib.request
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from langchain_cerebras_demo.connections import Connection, Connector, Response, note_reuse, open_socket
from langchain_cerebras_demo.encodings import BrokenBodyError, Decoder, UnreadableEncodingError, find_decoder
from langchain_cerebras_demo.errors import APIConnectionError, APIError, APIResponseValidationError, APITimeoutError
from langchain_cerebras_demo.wire.headers import to_printable

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout  # aiohttp brings it there

__all__ = [
    "LOOPBACK_HOSTS",
    "AiohttpResponse",
    "AiohttpTransport",
    "HttpRequest",
    "HttpResponse",
    "Transport",
    "default_transport",
    "timeout",
    "translate",
]

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

_MOST_BYTES_AT_ONCE = 2**20


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
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # a user's own may be secrets
    secret_headers: Callable[[], Mapping[str, str]] | None = None
    body: bytes | None = field(default=None, repr=False)
    connect_timeout: float | None = 60.0
    proxy: str | None = field(default=None, repr=False)  # may hold a password
    environment_proxy: bool = True


class HttpResponse(Protocol):
    """An answer whose status and headers have come and whose body is read piece by piece."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers: names in lower case, values as text that can be printed."""

    async def read(self) -> bytes:
        """The bytes that have arrived, waiting for some if there are none; ``b""`` at the end of the body.

        Raises:
            APIConnectionError: the connection broke before the end.
            APIResponseValidationError: the body is in an encoding that cannot be read.
        """

    def close(self) -> None:
        """Gives the connection back if the body was read to its end, else closes it. Never waits, never raises."""


@runtime_checkable
class Transport(Protocol):
    """Whatever can send a request: ``AiohttpTransport``, or a double in a test."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Sends and waits for status and headers. Redirects are answers, not followed.

        Raises:
            APIConnectionError: the host could not be reached or hung up (``APITimeoutError``: in time).
            APIResponseValidationError: what came back is not HTTP.
        """


class AiohttpTransport:
    """The real transport.

    Args:
        resolver: how names become addresses; by default the system's.
        ssl_context: which certificates are believed; by default the system's. For a company's own authority.

    A session is opened by the first request of a loop and closed when the loop shuts down its generators, as
    ``asyncio.run`` does. It is forgotten, its sockets left to the garbage collector, where a loop was closed without that,
    in a forked child, and when the interpreter ends.
    """

    def __init__(self, *, resolver: AbstractResolver | None = None, ssl_context: ssl.SSLContext | None = None) -> None:
        self._resolver = resolver
        self._ssl_context = ssl_context
        self._lock = threading.Lock()
        self._sessions: dict[asyncio.AbstractEventLoop, _LoopSession] = {}
        _transports.add(self)

    async def send(self, request: HttpRequest) -> AiohttpResponse:
        """Sends and waits for status and headers; see ``Transport.send``.

        A request that meets a pooled connection which the server has closed meanwhile is sent once more, on a new one.
        """
        session = await self._session()
        try:
            response = await self._request(session, request)
        except BaseException as error:  # noqa: BLE001 - cancellations, too; raised again below
            failure = translate(error, request.url) if isinstance(error, _KNOWN) else error.with_traceback(None)
        else:
            return session.opened(AiohttpResponse(response))
        # Raised here and not in the handler: aiohttp's exceptions and frames hold the request's headers, key included.
        try:
            raise failure
        finally:
            failure.__cause__ = failure.__context__ = None  # asyncio's tasks in Python may be in a handler of their own
            del failure  # its traceback holds this frame

    async def _request(self, session: _LoopSession, request: HttpRequest) -> aiohttp.ClientResponse:
        for is_last in (False, True):
            connection = Connection()
            try:
                return await session.http.request(
                    request.method,
                    request.url,
                    headers={**request.headers, **(request.secret_headers() if request.secret_headers else {})},
                    data=_to_data(request.body),
                    allow_redirects=False,
                    proxy=request.proxy or (session.proxy_for(request.url) if request.environment_proxy else None),
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=request.connect_timeout),
                    trace_request_ctx=connection,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if is_last or not connection.is_reused:
                    raise
        raise AssertionError  # never reached: the last round returns or raises

    async def _session(self) -> _LoopSession:
        loop = asyncio.get_running_loop()
        with self._lock:
            session = self._sessions.get(loop)
            if session is None or session.http.closed:
                self._forget_closed_loops()
                session = self._sessions[loop] = _LoopSession(self._resolver, self._ssl_context)
        if session.guard is None:
            session.guard = _live(session.http)
            await session.guard.__anext__()
        return session

    async def aclose(self) -> None:
        """Closes the running loop's session. The next request opens a new one."""
        with self._lock:
            session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None and session.guard is not None:
            session.break_off()
            await session.guard.aclose()

    def forget(self) -> None:
        """Lets go of all sessions without closing a socket: after a fork, and when the interpreter ends."""
        self._lock = threading.Lock()
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.forget()

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._sessions if loop.is_closed()]:
            self._sessions.pop(loop).forget()

    def __copy__(self) -> AiohttpTransport:
        return self  # a copy of a model shares its sockets

    def __deepcopy__(self, memo: object) -> AiohttpTransport:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        if self._resolver is None and self._ssl_context is None:
            return (default_transport if self is _default else AiohttpTransport, ())
        raise TypeError("an AiohttpTransport with a resolver or an ssl_context of its own cannot be pickled")


class _LoopSession:
    """One loop's aiohttp session, and the generator that closes it with the loop."""

    def __init__(self, resolver: AbstractResolver | None, ssl_context: ssl.SSLContext | None) -> None:
        self._connector = Connector(
            limit=0,  # who may send when is decided above; a queue down here would eat the caller's time-outs
            resolver=resolver,
            ssl=ssl_context or True,
            ttl_dns_cache=300,
            socket_factory=open_socket,
        )
        self._connector.owner = os.getpid()
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(note_reuse)
        self.http = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),  # an answer's cookies are dropped, none is ever sent by itself
            timeout=aiohttp.ClientTimeout(total=None),  # the client times each stage itself
            auto_decompress=False,  # see encodings.py
            trust_env=False,  # it would also send what ~/.netrc knows; proxies are looked up below
            read_bufsize=2**18,
            trace_configs=[trace],
            response_class=Response,
        )
        self.guard: AsyncGenerator[None, None] | None = None
        self._responses: weakref.WeakSet[AiohttpResponse] = weakref.WeakSet()
        self._proxies: dict[str, str | None] = {}

    def opened(self, response: AiohttpResponse) -> AiohttpResponse:
        """``response``, remembered while it is read."""
        self._responses.add(response)
        return response

    def break_off(self) -> None:
        """Wakes whoever reads: aiohttp closes the sockets and tells nobody."""
        for response in list(self._responses):
            response.break_off()

    def forget(self) -> None:
        """Lets go without closing anything, and without a complaint."""
        self._connector.owner = 0
        self.http.detach()
        if self.guard is not None:
            with contextlib.suppress(StopIteration, RuntimeError):
                self.guard.aclose().send(None)  # it has nothing left to close, so it ends here and needs no loop for it

    def proxy_for(self, url: str) -> str | None:
        """The environment's proxy for this address, looked up once a host as HTTP clients do."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._proxies:
            host = parts.hostname or ""
            bypass = host in LOOPBACK_HOSTS or urllib.request.proxy_bypass(host)
            proxies = {} if bypass else urllib.request.getproxies()
            self._proxies[origin] = proxies.get(parts.scheme) or proxies.get("all")
        return self._proxies[origin]


def _to_data(body: bytes | None) -> bytes | io.BytesIO | None:
    """``body`` as aiohttp wants it: it warns of more than a MiB of bytes, since one write of them holds up the loop."""
    return io.BytesIO(body) if body is not None and len(body) > _MOST_BYTES_AT_ONCE else body


async def _live(http: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    """Closes the session when it is closed itself: ``loop.shutdown_asyncgens`` does that, and the garbage collector."""
    try:
        yield
    finally:
        await http.close()


class AiohttpResponse:
    """aiohttp's answer behind the protocol above."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): to_printable(value) for name, value in response.headers.items()}
        self._decoder: Decoder | None = None
        self._has_begun = False

    async def read(self) -> bytes:
        """What has arrived; see ``HttpResponse.read``."""
        failure: APIError
        try:
            return await self._read()
        except UnreadableEncodingError as error:
            failure = APIResponseValidationError(str(error), status_code=self.status)
        except BrokenBodyError:
            host, encoding = _host(str(self._response.url)), self.headers["content-encoding"]
            failure = APIConnectionError(f"the answer of {host} broke off (it is not valid {encoding})")
        except _KNOWN as error:
            failure = translate(error, str(self._response.url))
        raise failure

    async def _read(self) -> bytes:
        if self._decoder is not None and (more := self._decoder.feed(b"")):
            return more
        while received := await self._response.content.readany():
            if not self._has_begun:
                self._has_begun = True
                self._decoder = find_decoder(self.headers.get("content-encoding", ""))
            if self._decoder is None:
                return received
            if piece := self._decoder.feed(received):
                return piece
        return b""

    def close(self) -> None:
        """See ``HttpResponse.close``."""
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()  # a farewell by TLS could outlive the loop
        self._response.close()  # a body read to its end has already given its connection back

    def break_off(self) -> None:
        """Makes a reader that waits fail now: the connection is about to be closed."""
        if not self._response.content.is_eof():
            self._response.content.set_exception(aiohttp.ClientConnectionError("the transport was closed"))

    def __repr__(self) -> str:
        return f"<AiohttpResponse {self.status}>"


_KNOWN = (aiohttp.ClientError, OSError, ValueError, asyncio.TimeoutError)

# The first match counts, so a class stands before its bases. tests/test_transport_failures.py holds this table complete.
_FAILURES: tuple[tuple[type[BaseException], type[APIConnectionError | APIResponseValidationError], str], ...] = (
    (aiohttp.ConnectionTimeoutError, APITimeoutError, "could not connect to {host} in time"),
    (asyncio.TimeoutError, APITimeoutError, "{host} did not answer in time"),
    (TimeoutError, APITimeoutError, "{host} did not answer in time"),  # the system's; up to Python 3.10 a class apart
    (aiohttp.ClientConnectorDNSError, APIConnectionError, "the name {host} could not be resolved"),
    (aiohttp.ClientConnectorCertificateError, APIConnectionError, "the certificate of {host} is not trusted"),
    (aiohttp.ClientConnectorSSLError, APIConnectionError, "no secure connection to {host}"),
    (aiohttp.ServerFingerprintMismatch, APIConnectionError, "the certificate of {host} is not the expected one"),
    (aiohttp.ClientProxyConnectionError, APIConnectionError, "could not connect to the proxy for {host}"),
    (aiohttp.ClientHttpProxyError, APIConnectionError, "the proxy refused to connect to {host}"),
    (aiohttp.ClientConnectorError, APIConnectionError, "could not connect to {host}"),
    (aiohttp.ServerDisconnectedError, APIConnectionError, "{host} hung up without an answer"),
    (aiohttp.ClientPayloadError, APIConnectionError, "the answer of {host} broke off"),
    (aiohttp.InvalidURL, APIConnectionError, "the address is not valid"),
    (aiohttp.ClientResponseError, APIResponseValidationError, "{host} did not answer in proper HTTP"),
    (aiohttp.ClientError, APIConnectionError, "the connection to {host} failed"),
    (OSError, APIConnectionError, "the connection to {host} failed"),
    (ValueError, APIConnectionError, "the request to {host} could not be sent"),
)


def translate(error: BaseException, url: str) -> APIConnectionError | APIResponseValidationError:
    """Our exception for one of aiohttp's: the host and the operating system's words, nothing of the request."""
    kind, sentence = next((kind, sentence) for foreign, kind, sentence in _FAILURES if isinstance(error, foreign))
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = str(getattr(error.certificate_error, "verify_message", reason))
    elif isinstance(error, aiohttp.ClientHttpProxyError):
        reason = str(error.status)
    return kind(f"{sentence.format(host=_host(url))} ({reason})")


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


_transports: weakref.WeakSet[AiohttpTransport] = weakref.WeakSet()
_default = AiohttpTransport()


def default_transport() -> AiohttpTransport:
    """The transport that every model of this process shares unless it is given one."""
    return _default


def _forget_all() -> None:
    for transport in list(_transports):
        transport.forget()


atexit.register(_forget_all)
with contextlib.suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget_all)
