"""One conversation with the service: find the key, send, decode, and try again while nothing has been handed out."""

from __future__ import annotations

import asyncio
import random
import warnings
import weakref
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, TypeVar

from langchain_cerebras_demo import catalog, local
from langchain_cerebras_demo._version import __version__
from langchain_cerebras_demo.endpoint import check_headers, check_key_host, is_loopback, redact, to_base_url
from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APITimeoutError,
    AuthenticationError,
    CerebrasError,
    MissingKeyError,
    NotFoundError,
    StreamInterruptedError,
)
from langchain_cerebras_demo.exchange import Exchange, now
from langchain_cerebras_demo.keys import (
    ChainKeyResolver,
    EnvKey,
    KeyResolver,
    Secret,
    refresh_secret,
    resolve_secret,
)
from langchain_cerebras_demo.policy import RetryPolicy, Timeout
from langchain_cerebras_demo.transport import (
    HttpRequest,
    Transport,
    default_transport,
    timeout,
)
from langchain_cerebras_demo.wire import failure
from langchain_cerebras_demo.wire.completion import CompletionDecoder, Event
from langchain_cerebras_demo.wire.request import ChatRequest, to_json

USER_AGENT = f"langchain-cerebras-demo/{__version__}"

T = TypeVar("T")

_warned: set[str] = set()


@dataclass(frozen=True)
class _Call:
    """What all attempts of one call share."""

    request: HttpRequest
    resolver: KeyResolver | None
    key: Secret | None
    deadline: float | None
    is_stream: bool = False


class Client:
    """Sends chat requests and gives back typed events.

    Args:
        base_url: ends in ``/v1``; ``"local"`` is the embedded server; ``None`` asks ``CEREBRAS_BASE_URL``, else it is Cerebras.
        keys: where the key comes from; by default the environment.
        transport: what carries the bytes; by default the one that the process shares.
        timeout: the bounds of one call.
        retry: when a failed attempt is made again.
        aliases: names for models.
        headers: sent with every request.
        user_agent: instead of our own.
        proxy: instead of the environment's.
        max_concurrency: requests of this client that may run at once in one loop; the others wait their turn, and their
            time-outs start then. A stream holds its place until it is read to its end or closed.

    Raises:
        ValueError: a ``base_url`` without scheme or host, or a header that is none.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        keys: KeyResolver | None = None,
        transport: Transport | None = None,
        timeout: Timeout | None = None,
        retry: RetryPolicy | None = None,
        aliases: catalog.AliasTable | None = None,
        headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        proxy: str | None = None,
        max_concurrency: int | None = None,
    ) -> None:
        self.base_url = to_base_url(base_url)
        self.aliases = aliases if aliases is not None else catalog.AliasTable()
        self.keys = keys if isinstance(keys, ChainKeyResolver) else ChainKeyResolver([keys or EnvKey()])
        self._transport = transport or default_transport()
        self._timeout = timeout or Timeout()
        self._retry = retry or RetryPolicy()
        self._headers = {"User-Agent": user_agent or USER_AGENT, **check_headers(headers or {})}
        self._proxy = proxy
        self._max_concurrency = max_concurrency
        self._slots: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def is_local(self) -> bool:
        """Whether the embedded model answers, and not Cerebras."""
        return self.base_url == "local" or local.find_server(self.base_url) is not None

    async def stream(self, request: ChatRequest) -> AsyncGenerator[list[Event], None]:
        """The answer as it comes: a list of events a network read, the last list being how it ended.

        An attempt that fails before its first event is made again as the retry policy says. Enter it with ``aclosing``:
        leaving early closes the connection.

        Raises:
            APIError: after the first event it carries ``partial``, the text that had come.
            MissingKeyError, KeyFormatError, KeyHostError, LocalServerError: before anything was sent.
        """
        async with self._slot():
            call = await self._prepare(request, stream=True)
            attempt = 1
            while True:
                decoder = CompletionDecoder()
                started = False
                try:
                    async with aclosing(self._exchange(call).events(decoder)) as batches:
                        async for events in batches:
                            started = True
                            yield events
                except APIError as error:
                    problem = error
                else:
                    return
                if started:
                    raise _interrupted(redact(problem, call.key), decoder.text, attempt)
                call, attempt = await self._next_attempt(call, problem, attempt, request.model)

    async def complete(self, request: ChatRequest) -> list[Event]:
        """The whole answer's events, asked for without streaming: the body counts as one event.

        Raises:
            As ``stream``.
        """
        async with self._slot():
            call = await self._prepare(request, stream=False)
            attempt = 1
            while True:
                try:
                    async with aclosing(self._exchange(call).events(CompletionDecoder())) as batches:
                        return [event async for events in batches for event in events]
                except APIError as error:
                    problem = error
                call, attempt = await self._next_attempt(call, problem, attempt, request.model)

    async def list_models(self, *, public: bool = False) -> list[dict[str, Any]]:
        """The rows of the model list: of the key's own, or of the public catalogue, which needs no key.

        Raises:
            APIError, MissingKeyError: as ``complete``.
            APIResponseValidationError: the answer is no list of models.
        """
        async with self._slot():
            server = await self._local_server()
            base_url = server.base_url if server else self.base_url
            url = f"{base_url.removesuffix('/v1')}/public/v1/models" if public else f"{base_url}/models"
            request = HttpRequest(
                "GET", url, headers=self._headers, connect_timeout=self._timeout.connect, proxy=self._proxy
            )
            call = await self._with_source(request, server, is_keyless=public)
            attempt = 1
            while True:
                try:
                    return _to_rows(await self._exchange(call).body())
                except APIError as error:
                    problem = error
                call, attempt = await self._next_attempt(call, problem, attempt, "")

    def resolve_model(self, name: str) -> str:
        """The id that ``name`` stands for. A retired one goes through with one warning that names its replacement."""
        model = self.aliases.resolve(name)
        message = catalog.retirement_message(model, _today())
        if message and model not in _warned and not self.is_local:
            _warned.add(model)
            warnings.warn(message, catalog.RetiredModelWarning, stacklevel=2)
        return model

    async def _prepare(self, request: ChatRequest, *, stream: bool) -> _Call:
        server = await self._local_server()
        base_url = server.base_url if server else self.base_url
        body = replace(request, model=self.resolve_model(request.model)).to_body(stream=stream)
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream" if stream else "application/json",
            **self._headers,
            **request.to_headers(),
        }
        if server:
            body = local.to_local(body)
            headers.update(local.LOCAL_HEADERS)
        http = HttpRequest(
            "POST",
            f"{base_url}/chat/completions",
            headers=headers,
            body=to_json(body),
            connect_timeout=self._timeout.connect,
            proxy=self._proxy,
        )
        return replace(await self._with_source(http, server), is_stream=stream)

    async def _with_source(
        self, request: HttpRequest, server: local.LocalServer | None, *, is_keyless: bool = False
    ) -> _Call:
        """The call with its key, if it needs one, and its deadline."""
        total = self._timeout.total
        call = _Call(request, self.keys, None, None if total is None else now() + total)
        if server:
            return replace(_with_key(call, Secret(server.api_key, "the embedded server")), resolver=None)
        if is_keyless:
            return call
        return _with_key(call, await self._in_time(self._find_key(request.url), call.deadline))

    async def _in_time(self, finding: Awaitable[T], deadline: float | None) -> T:
        """What ``finding`` a key gives, in time: a source may be a slow network, or code that never answers."""
        left, stage = self._timeout.first_event, "first_event"
        if deadline is not None and (left is None or deadline - now() < left):
            left, stage = deadline - now(), "total"
        try:
            async with timeout(left):
                return await finding
        except APITimeoutError:  # the source's own
            raise
        except asyncio.TimeoutError:
            pass
        raise APITimeoutError(f"no key within {getattr(self._timeout, stage):g} s (timeout.{stage})")

    async def _local_server(self) -> local.LocalServer | None:
        """The embedded server behind ``base_url``, started if need be; ``None`` where it is somebody else's."""
        if self.base_url == "local":
            return await asyncio.to_thread(local.shared_server)
        return local.find_server(self.base_url)

    async def _find_key(self, url: str) -> Secret | None:
        try:
            key = await resolve_secret(self.keys)
        except MissingKeyError:
            if is_loopback(url):
                return None
            raise
        check_key_host(key, url)
        return key

    def _exchange(self, call: _Call) -> Exchange:
        return Exchange(
            self._transport, call.request, is_stream=call.is_stream, bounds=self._timeout, deadline=call.deadline
        )

    async def _next_attempt(self, call: _Call, problem: APIError, attempt: int, model: str) -> tuple[_Call, int]:
        """The call to make next and its number; raises ``problem`` where there is none."""
        redact(problem, call.key).attempts = attempt
        if isinstance(problem, AuthenticationError) and call.resolver and call.key:
            fresh = await self._in_time(refresh_secret(call.resolver, call.key), call.deadline)
            if not fresh.matches(call.key):  # once: the next call carries no resolver
                check_key_host(fresh, call.request.url)
                return replace(_with_key(call, fresh), resolver=None), attempt
        wait = self._retry.wait(problem, attempt, random.random())  # noqa: S311 - jitter, not a secret
        late = wait is not None and call.deadline is not None and now() + wait >= call.deadline
        if wait is None or late:
            raise _with_nearest(problem, model) if isinstance(problem, NotFoundError) else problem
        await asyncio.sleep(wait)
        return call, attempt + 1

    def _slot(self) -> Any:
        if self._max_concurrency is None:
            return nullcontext()
        loop = asyncio.get_running_loop()
        if loop not in self._slots:
            for other in [other for other in self._slots if other.is_closed()]:
                del self._slots[other]  # a semaphore that somebody waited for holds its loop, and so its own entry
            self._slots[loop] = asyncio.Semaphore(self._max_concurrency)
        return self._slots[loop]


def _to_rows(body: bytes) -> list[dict[str, Any]]:
    rows = failure.to_json_or_text(body)
    rows = rows.get("data") if isinstance(rows, dict) else None
    if not isinstance(rows, list):
        raise APIResponseValidationError("the answer is no list of models", status_code=200)
    return rows


def _with_key(call: _Call, key: Secret | None) -> _Call:
    return replace(call, key=key, request=replace(call.request, secret_headers=key.bearer if key else None))


def _interrupted(problem: APIError, text: str, attempt: int) -> APIError:
    """The failure of an answer that had begun, with what had come."""
    if type(problem) is APIConnectionError:
        problem = StreamInterruptedError(f"the stream broke off: {problem}")
    problem.partial, problem.attempts = text, attempt
    return problem


def _with_nearest(problem: NotFoundError, model: str) -> NotFoundError:
    near = catalog.nearest_ids(model, _today())
    if near and (problem.param == "model" or problem.code == "model_not_found"):
        problem.args = CerebrasError(f"{problem} Known ids near {model!r}: {', '.join(near)}.").args  # bounded
    return problem


def _today() -> Any:
    return datetime.now(tz=timezone.utc).date()
