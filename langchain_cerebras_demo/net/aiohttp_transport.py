"""The default transport: one aiohttp session per running event loop, shared by all models.

The first call imports this module, because importing aiohttp takes a large part of the package's import time.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import ssl
import sys
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from types import AsyncGeneratorType
from typing import cast
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    OriginalError,
)
from langchain_cerebras_demo.net.connections import (
    ConnectionTrace,
    Connector,
    QuietResponse,
    Resolver,
    current_trace,
    open_socket,
)
from langchain_cerebras_demo.net.encodings import BrokenBodyError, Decoder, UnreadableEncodingError, find_decoder
from langchain_cerebras_demo.net.loop_local import LoopLocal
from langchain_cerebras_demo.net.proxies import ARGUMENT, LOOPBACK_HOSTS, Proxy, find_proxy, surroundings, to_proxy
from langchain_cerebras_demo.net.transport import HttpRequest, default_transport, holding_sockets
from langchain_cerebras_demo.wire.headers import to_printable

__all__ = ["AiohttpResponse", "AiohttpTransport", "translate"]

_MOST_BYTES_AT_ONCE = 2**20


class AiohttpTransport:
    """The default transport, over aiohttp.

    Args:
        resolver: resolves host names. Default: the system's resolver.
        ssl_context: the trusted certificates, for example of a company's own authority. Default: the system's.

    The first request of a loop opens a session. It is closed when the loop shuts down its generators, as ``asyncio.run`` does.
    In a forked child, when the interpreter ends, and after a loop was closed without that, the session is dropped and its sockets
    are left to the garbage collector.
    """

    def __init__(self, *, resolver: AbstractResolver | None = None, ssl_context: ssl.SSLContext | None = None) -> None:
        self._resolver = resolver
        self._ssl_context = ssl_context
        self._session_of_loop = LoopLocal[_LoopSession]()
        self._sessions: weakref.WeakSet[_LoopSession] = weakref.WeakSet()
        holding_sockets.add(self)

    async def send(self, request: HttpRequest) -> AiohttpResponse:
        """Send the request and wait for status and headers; see ``Transport.send``.

        Each request is sent once. If a request fails on a pooled connection, which the server may have closed meanwhile, the
        error's ``on_reused_connection`` is set.
        """
        session = await self._session()
        proxy = session.proxy_for(request)
        connection = ConnectionTrace()
        current_trace.set(connection)  # not reset, because a generator may be closed in another context
        session.sending[id(request.owner)] += 1
        try:
            response = await session.http_for(request).request(
                request.method,
                request.url,
                headers={**request.headers, **(request.secret_headers() if request.secret_headers else {})},
                data=_to_data(request.body),
                allow_redirects=False,
                proxy=proxy.url if proxy else None,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=request.connect_timeout),
            )
        except _KNOWN as error:
            failure: BaseException = translate(error, request.url, proxy, self._ssl_context)
            if isinstance(failure, APIConnectionError):
                broke = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
                failure.on_reused_connection = broke and connection.is_reused
        except BaseException as error:  # noqa: BLE001 - includes cancellations; raised again below
            failure = error.with_traceback(None)
            failure.__cause__ = None if error.__cause__ is None else OriginalError.of(error.__cause__)
        else:
            if proxy is None or response.status != 407:
                return session.opened(AiohttpResponse(response, proxy), request.owner)
            response.close()
            failure = APIStatusError(f"407: the proxy {proxy} refused: {_proxy_remedy(proxy)}", status_code=407)
        finally:
            session.has_sent(request.owner)
        # Raised here and not in the handler: aiohttp's exceptions and frames hold the request's headers, including the key.
        try:
            raise failure
        finally:
            failure.__context__ = None  # set if an asyncio task implemented in Python is in an exception handler
            del failure  # its traceback holds this frame

    async def _session(self) -> _LoopSession:
        session = self._session_of_loop.get()
        if session is None or session.http.closed:
            self._forget_closed_loops()
            session = _LoopSession(self._resolver, self._ssl_context)
            self._session_of_loop.set(session)
            self._sessions.add(session)
        if session.guard is None:
            session.guard = cast("AsyncGeneratorType[None, None]", _live(session.opened_http))
            await session.guard.__anext__()
        return session

    async def aclose_of(self, owner: object) -> None:
        """Close the running loop's connections, except those that requests of other owners are using.

        The owner's own responses are broken off. If no other owner has a request in flight, this is the same as ``aclose``.
        """
        session = self._session_of_loop.get()
        if session is not None and session.is_used_by_others(owner):
            session.break_off(owner)
            session.close_idle()
        else:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the running loop's session and break off the requests that use it. The next request opens a new session."""
        session = self._session_of_loop.pop()
        if session is not None and session.guard is not None:
            session.break_off()
            await _close(session.opened_http)  # not by the generator, which a loop that ends may close meanwhile
            if not session.guard.ag_running:
                await session.guard.aclose()

    def forget(self) -> None:
        """Drop all sessions without closing a socket: after a fork, and when the interpreter ends."""
        sessions, self._sessions = list(self._sessions), weakref.WeakSet()
        self._session_of_loop = LoopLocal()
        for session in sessions:
            session.forget()

    def _forget_closed_loops(self) -> None:
        for session in list(self._sessions):
            if session.loop.is_closed():
                self._sessions.discard(session)
                session.forget()

    def __copy__(self) -> AiohttpTransport:
        return self  # a copy of a model shares its sockets

    def __deepcopy__(self, memo: object) -> AiohttpTransport:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        if self._resolver is None and self._ssl_context is None:
            return (default_transport if self is shared else AiohttpTransport, ())
        raise TypeError("an AiohttpTransport with a custom resolver or ssl_context cannot be pickled")


class _LoopSession:
    """The aiohttp session of one loop, and the async generator that closes it together with the loop."""

    def __init__(self, resolver: AbstractResolver | None, ssl_context: ssl.SSLContext | None) -> None:
        self.loop = asyncio.get_running_loop()
        self._resolver = resolver
        self._ssl_context = ssl_context
        self.http = self._open()
        self.opened_http = [self.http]
        self._fresh: aiohttp.ClientSession | None = None
        self.guard: AsyncGeneratorType[None, None] | None = None
        self.sending: Counter[int] = Counter()  # by owner, the number of requests without an answer yet
        self._responses: weakref.WeakSet[AiohttpResponse] = weakref.WeakSet()
        self._proxies: dict[tuple[str | None, ...], Proxy | None] = {}

    def _open(self, *, force_close: bool = False) -> aiohttp.ClientSession:
        resolver = self._resolver
        if resolver is None and aiohttp.DefaultResolver is aiohttp.ThreadedResolver:
            resolver = Resolver()
        connector = Connector(
            limit=0,  # the client limits requests; a queue here would use up the caller's timeouts
            resolver=resolver,
            ssl=self._ssl_context or True,
            ttl_dns_cache=300,
            socket_factory=open_socket,
            force_close=force_close,
        )
        connector.owner = os.getpid()
        http = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),  # cookies of answers are dropped, and none is sent automatically
            timeout=aiohttp.ClientTimeout(total=None),  # the client times each stage itself
            auto_decompress=False,  # see encodings.py
            trust_env=False,  # it would also send credentials from ~/.netrc; proxies are looked up below
            read_bufsize=2**18,
            response_class=QuietResponse,
        )
        # aiohttp repeats a GET when the connection breaks. There is no public way to stop that; its own test client does the same.
        http._retry_connection = False  # noqa: SLF001
        return http

    def http_for(self, request: HttpRequest) -> aiohttp.ClientSession:
        """Return aiohttp's session for the request: the pooled one, or one that opens a connection for each request."""
        if not request.fresh_connection:
            return self.http
        if self._fresh is None:
            self._fresh = self._open(force_close=True)
            self.opened_http.append(self._fresh)
        return self._fresh

    def __del__(self) -> None:
        """Forget the session of a loop that was dropped without being closed, because aiohttp would warn about it."""
        if hasattr(self, "opened_http") and not self.loop.is_running():
            self.forget()

    def has_sent(self, owner: object) -> None:
        """Note that a request of ``owner`` is no longer waiting for its answer."""
        self.sending[id(owner)] -= 1
        if not self.sending[id(owner)]:
            del self.sending[id(owner)]  # a process may make any number of clients

    def opened(self, response: AiohttpResponse, owner: object) -> AiohttpResponse:
        """Return ``response``, and remember it while it is read."""
        self._responses.add(response)
        response.owner, response.on_close = owner, self._responses.discard
        return response

    def is_used_by_others(self, owner: object) -> bool:
        """Return whether another owner has a request in flight."""
        own = id(owner)
        return any(other != own for other in self.sending) or any(one.owner is not owner for one in self._responses)

    def close_idle(self) -> None:
        """Close the idle connections."""
        for http in self.opened_http:
            if isinstance(http.connector, Connector):
                http.connector.close_idle()

    def break_off(self, owner: object = None) -> None:
        """Make reads of all responses fail, or those of ``owner``: aiohttp closes sockets without notifying readers."""
        for response in list(self._responses):
            if owner is None or response.owner is owner:
                response.break_off()

    def forget(self) -> None:
        """Drop the session without closing anything, and without a warning."""
        for http in self.opened_http:
            if isinstance(http.connector, Connector):
                http.connector.owner = 0
            http.detach()
        if self.guard is not None:
            with contextlib.suppress(StopIteration, RuntimeError):
                self.guard.aclose().send(None)  # nothing is left to close, so the generator ends without a loop

    def proxy_for(self, request: HttpRequest) -> Proxy | None:
        """Return the request's own proxy, else the environment's, which is looked up again when a variable has changed.

        Raises:
            APIConnectionError: the proxy cannot be used.
        """
        try:
            proxy = to_proxy(request.proxy, ARGUMENT) if request.proxy else None
            if proxy is None and request.environment_proxy:
                proxy = self._proxy_of_environment(request.url)
            if proxy is not None:
                self._check_tls_in_tls(proxy, urlsplit(request.url).scheme)
        except ValueError as error:
            failure = APIConnectionError(str(error))
            failure.is_retryable = False  # a retry would fail in the same way
        else:
            return proxy
        raise failure

    def _proxy_of_environment(self, url: str) -> Proxy | None:
        parts = urlsplit(url)
        if parts.hostname in LOOPBACK_HOSTS:
            return None
        seen = (parts.scheme, parts.netloc, *surroundings(parts.scheme))
        if seen not in self._proxies:
            self._proxies[seen] = find_proxy(url)
        return self._proxies[seen]

    def _check_tls_in_tls(self, proxy: Proxy, scheme: str) -> None:
        is_asyncio = isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop)  # uvloop can do it
        if sys.version_info < (3, 11) and is_asyncio and scheme == "https" and proxy.url.startswith("https:"):
            raise ValueError(
                f"{proxy.source} names an https proxy, which needs Python 3.11 or newer: give its http address"
            )


def _to_data(body: bytes | None) -> bytes | io.BytesIO | None:
    """Return ``body`` in the form for aiohttp, which warns about more than 1 MiB of bytes because one write of them blocks the loop."""
    return io.BytesIO(body) if body is not None and len(body) > _MOST_BYTES_AT_ONCE else body


async def _live(opened: list[aiohttp.ClientSession]) -> AsyncGenerator[None, None]:
    """Close the sessions when this generator is closed, by ``loop.shutdown_asyncgens`` or the garbage collector."""
    try:
        yield
    finally:
        await _close(opened)


async def _close(opened: list[aiohttp.ClientSession]) -> None:
    for http in opened:
        await http.close()


class AiohttpResponse:
    """An ``HttpResponse`` over aiohttp's response."""

    def __init__(self, response: aiohttp.ClientResponse, proxy: Proxy | None = None) -> None:
        self._response = response
        self._proxy = proxy
        self.status = response.status
        self.headers = {name.lower(): to_printable(value) for name, value in response.headers.items()}
        self.owner: object = None
        self.on_close: Callable[[AiohttpResponse], None] | None = None
        self._decoder: Decoder | None = None
        self._has_begun = False

    async def read(self) -> bytes:
        """Return the bytes that have arrived; see ``HttpResponse.read``."""
        failure: APIError
        try:
            return await self._read()
        except UnreadableEncodingError as error:
            failure = APIResponseValidationError(str(error), status_code=self.status)
        except BrokenBodyError:
            host, encoding = self._response.url.authority, self.headers["content-encoding"]
            failure = APIConnectionError(f"the answer of {host} broke off (it is not valid {encoding})")
        except _KNOWN as error:
            failure = translate(error, str(self._response.url), self._proxy)
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
        self._abort()
        self._response.close()  # after the end of the body, the connection is already back in the pool
        if self.on_close is not None:
            self.on_close(self)

    def break_off(self) -> None:
        """Close the connection and make a waiting reader fail at once."""
        if not self._response.content.is_eof():
            self._response.content.set_exception(aiohttp.ClientConnectionError("the transport was closed"))
        self._abort()

    def _abort(self) -> None:
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()  # closing TLS properly could take longer than the loop exists

    def __repr__(self) -> str:
        return f"<AiohttpResponse {self.status}>"


_KNOWN = (aiohttp.ClientError, OSError, ValueError, asyncio.TimeoutError)

# The first match counts, so a class comes before its bases. A test checks that the table is complete.
# {host} is the service, {way} the service and the proxy to it, and {peer} the one of the two that sent a certificate.
_FAILURES: tuple[tuple[type[BaseException], type[APIConnectionError | APIResponseValidationError], str], ...] = (
    (aiohttp.ConnectionTimeoutError, APITimeoutError, "could not connect to {way} in time"),
    (asyncio.TimeoutError, APITimeoutError, "{way} did not answer in time"),
    (TimeoutError, APITimeoutError, "{way} did not answer in time"),  # the system's; a separate class in Python 3.10
    (aiohttp.ClientConnectorDNSError, APIConnectionError, "the name {name} could not be resolved"),
    (aiohttp.ClientConnectorCertificateError, APIConnectionError, "the certificate of {peer} is not trusted"),
    (aiohttp.ClientConnectorSSLError, APIConnectionError, "no secure connection to {peer}"),
    (aiohttp.ServerFingerprintMismatch, APIConnectionError, "the certificate of {peer} is not the expected one"),
    (aiohttp.ClientProxyConnectionError, APIConnectionError, "could not connect to {proxy}"),
    (aiohttp.ClientHttpProxyError, APIConnectionError, "{proxy} refused to connect to {host}"),
    (aiohttp.ClientConnectorError, APIConnectionError, "could not connect to {way}"),
    (aiohttp.ServerDisconnectedError, APIConnectionError, "{way} closed the connection without an answer"),
    (aiohttp.ClientPayloadError, APIConnectionError, "the answer of {way} broke off"),
    (aiohttp.InvalidURL, APIConnectionError, "the address is not valid"),
    (aiohttp.ClientResponseError, APIResponseValidationError, "the answer of {way} is not valid HTTP"),
    (aiohttp.ClientError, APIConnectionError, "the connection to {way} failed"),
    (OSError, APIConnectionError, "the connection to {way} failed"),
    (ValueError, APIConnectionError, "the request to {host} could not be sent"),
)

_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})  # X509_V_ERR_*: no trusted issuer
_WRONG_TIME = frozenset({9, 10})


def translate(
    error: BaseException, url: str, proxy: Proxy | None = None, ssl_context: ssl.SSLContext | None = None
) -> APIConnectionError | APIResponseValidationError:
    """Return this package's exception for one of aiohttp's. It contains the host and the system's message, nothing of the request.

    Args:
        error: the exception that was raised.
        url: the URL of the request.
        proxy: the proxy of the request.
        ssl_context: the transport's own context; ``None`` if the system's certificates are trusted.
    """
    kind, sentence = next((kind, sentence) for foreign, kind, sentence in _FAILURES if isinstance(error, foreign))
    host = urlsplit(url).netloc.rpartition("@")[2]
    words = {"host": host, "way": host, "peer": host, "name": host, "proxy": host}
    if proxy is not None:
        words.update(way=f"{host} through the proxy {proxy}", proxy=f"the proxy {proxy}", name=f"of the proxy {proxy}")
        is_of_proxy = isinstance(error, aiohttp.ClientConnectorError) and error.host == proxy.host
        words["peer"] = words["proxy" if is_of_proxy else "way"]
    failure = kind(f"{sentence.format(**words)} ({_reason(error)}){_hint(error, proxy, ssl_context)}")
    failure.__cause__ = OriginalError.of(error)
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == 407:
        failure.is_retryable = False  # a retry would lack the password, too
    return failure


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(getattr(error.certificate_error, "verify_message", None) or type(error).__name__)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return str(error.status)
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__


def _hint(error: BaseException, proxy: Proxy | None, ssl_context: ssl.SSLContext | None) -> str:
    """Return the remedy, if one is known."""
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == 407 and proxy:
        return f": {_proxy_remedy(proxy)}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        code = getattr(error.certificate_error, "verify_code", 0)
        if code in _WRONG_TIME:
            return ": check this machine's clock"
        if code in _UNKNOWN_AUTHORITY:
            return f": {_authorities(ssl_context)}"
    if isinstance(error, aiohttp.ClientConnectorSSLError) and "WRONG_VERSION_NUMBER" in _reason(error):
        return ": the server does not use TLS; check whether the address should begin with http"
    return ""


def _authorities(ssl_context: ssl.SSLContext | None) -> str:
    """Return which certificates are trusted, and how to add another authority."""
    if ssl_context is not None:
        return "the transport's ssl_context does not trust its issuer"
    for name, exists in (("SSL_CERT_FILE", os.path.isfile), ("SSL_CERT_DIR", os.path.isdir)):
        path = os.environ.get(name)
        if path:
            what = "does not contain its issuer" if exists(path) else "does not exist"
            return f"{name}={path!r} {what}"
    return "set SSL_CERT_FILE to the certificate of a company's own authority"


def _proxy_remedy(proxy: Proxy) -> str:
    if "@" in proxy.url:
        return "it does not accept the user or the password"
    return "it requires a user and a password (http://user:password@host:port)"


shared = AiohttpTransport()
"""The transport that ``default_transport`` returns."""
