"""One conversation with the service: find the key, send, decode, and try again while nothing has been handed out."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timezone
from secrets import token_hex
from typing import Any, TypeVar

from langchain_cerebras_demo import catalog, local
from langchain_cerebras_demo._version import __version__
from langchain_cerebras_demo.client.attempt import Exchange, now
from langchain_cerebras_demo.client.call import Call, give_up, interrupted, refuse, with_record
from langchain_cerebras_demo.client.limiter import Ticket, process_limiter
from langchain_cerebras_demo.client.slots import Slots
from langchain_cerebras_demo.errors import (
    APIError,
    APIResponseValidationError,
    APITimeoutError,
    AuthenticationError,
    CerebrasError,
    MissingKeyError,
    NotFoundError,
)
from langchain_cerebras_demo.keys import (
    ChainKeyResolver,
    EnvKey,
    KeyResolver,
    Secret,
    refresh_secret,
    resolve_secret,
)
from langchain_cerebras_demo.keys.hiding import redact
from langchain_cerebras_demo.keys.hosts import check_key_host
from langchain_cerebras_demo.net.ending import in_thread
from langchain_cerebras_demo.net.endpoint import (
    check_headers,
    is_loopback,
    takes_demo_key,
    to_base_url,
)
from langchain_cerebras_demo.net.proxies import ARGUMENT, to_proxy
from langchain_cerebras_demo.net.transport import (
    HttpRequest,
    Transport,
    default_transport,
    timeout,
)
from langchain_cerebras_demo.policy import RateLimit, RetryPolicy, Timeout
from langchain_cerebras_demo.records import CallRecord, RateLimitSnapshot
from langchain_cerebras_demo.wire import failure
from langchain_cerebras_demo.wire.completion import CompletionDecoder, Event, with_whole_calls
from langchain_cerebras_demo.wire.cost import estimate_cost
from langchain_cerebras_demo.wire.headers import to_snapshot
from langchain_cerebras_demo.wire.request import ChatRequest, to_json

COMPRESS_FROM_BYTES = 8192
"""A body from this size on is zipped, for cerebras.ai (https://inference-docs.cerebras.ai, "payload optimization").

Measured on prose: 60 us for 8 KiB, to a third; that is won back on the wire at any speed up to 1 Gbit/s."""

_GZIP_LEVEL = 1  # a third of level 6's time for 15 % more bytes
_WARM_SECONDS = 5.0

_AUTO = RateLimit()

USER_AGENT = f"langchain-cerebras-demo/{__version__}"

T = TypeVar("T")

_warned: set[str] = set()


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
        rate_limit: what the account allows besides what the service announces; ``None`` sends at once, whatever it says.
        compress: whether large bodies are zipped; by default for cerebras.ai, which takes it.
        on_call: given a record of every call when it ends. It must be quick; what it raises is logged and forgotten.

    Raises:
        ValueError: a ``base_url`` without scheme or host, a header that is none, or a proxy that cannot be used.
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
        rate_limit: RateLimit | None = _AUTO,
        compress: bool | None = None,
        on_call: Callable[[CallRecord], None] | None = None,
    ) -> None:
        self.base_url = to_base_url(base_url)
        self.aliases = aliases if aliases is not None else catalog.AliasTable()
        self.keys = keys if isinstance(keys, ChainKeyResolver) else ChainKeyResolver([keys or EnvKey()])
        self._transport = transport or default_transport()
        self._timeout = timeout or Timeout()
        self._retry = retry or RetryPolicy()
        self._headers = {"User-Agent": user_agent or USER_AGENT, **check_headers(headers or {})}
        self._proxy = proxy
        del proxy  # a traceback that shows locals must not show a password
        to_proxy(self._proxy or "", ARGUMENT)
        self._slots = Slots(max_concurrency)
        self._rate_limit = rate_limit
        self._compresses = takes_demo_key(self.base_url) if compress is None else compress
        self._on_call = on_call
        self._asked: tuple[str, str] | None = None  # the account and the model

    @property
    def is_local(self) -> bool:
        """Whether the embedded model answers, and not Cerebras."""
        return local.is_local(self.base_url)

    def stream(self, request: ChatRequest) -> AsyncGenerator[list[Event | CallRecord], None]:
        """The answer as it comes: a list of events a network read, the last list being how it ended.

        An attempt that fails before its first event is made again as the retry policy says. Enter it with ``aclosing``:
        leaving early closes the connection.

        Raises:
            APIError: after the first event it carries ``partial``, the text that had come.
            MissingKeyError, KeyFormatError, KeyHostError, LocalServerError: before anything was sent.
        """
        return self._answer(request, stream=True)

    async def complete(self, request: ChatRequest) -> list[Event | CallRecord]:
        """The whole answer's events, asked for without streaming: the body counts as one event.

        Raises:
            As ``stream``.
        """
        async with aclosing(self._answer(request, stream=False)) as batches:
            # Some servers stream although nobody has asked for it.
            return with_whole_calls([event async for events in batches for event in events])

    async def _answer(self, request: ChatRequest, *, stream: bool) -> AsyncGenerator[list[Event | CallRecord], None]:
        async with self._slots.take():
            call = await self._prepare(request, stream=stream)
            with call.told(self._on_call):
                place = None
                while True:
                    ticket = await self._admit(call, place)
                    decoder = CompletionDecoder(
                        hide=call.hide,
                        salt=token_hex(8),
                        closing_tag_only=_has_closing_tag_only(call.model, request),
                    )
                    started = False
                    try:
                        async with aclosing(self._exchange(call, ticket).events(decoder)) as batches:
                            async for events in batches:
                                if not started:
                                    started = True
                                    call.progress.first_at = now()
                                yield with_record(events, call, decoder, ticket)
                    except APIError as error:
                        problem = error
                        refuse(ticket, error)
                    else:
                        return
                    finally:
                        ticket.close()
                    if started:
                        raise interrupted(redact(problem, call.key), decoder.text, call)
                    call, place = await self._next_attempt(call, problem), ticket.place

    async def list_models(self, *, public: bool = False) -> list[dict[str, Any]]:
        """The rows of the model list: of the key's own, or of the public catalogue, which needs no key.

        Raises:
            APIError, MissingKeyError: as ``complete``.
            APIResponseValidationError: the answer is no list of models.
        """
        async with self._slots.take():
            server = await self._local_server()
            base_url = server.base_url if server else self.base_url
            url = f"{base_url.removesuffix('/v1')}/public/v1/models" if public else f"{base_url}/models"
            request = HttpRequest(
                "GET", url, headers=self._headers, connect_timeout=self._timeout.connect, proxy=self._proxy
            )
            call = await self._begin(request, server, is_keyless=public)
            while True:
                try:
                    return _to_rows(await self._exchange(call).body())
                except APIError as error:
                    problem = error
                call = await self._next_attempt(call, problem)

    async def warm(self) -> None:
        """Opens the connection ahead of the first request, without a key; whatever goes wrong will be said by that request."""
        request = HttpRequest(
            "GET",
            f"{self.base_url}/tcp_warming",  # as Cerebras' own SDK does, which sends the key as well
            headers=self._headers,
            connect_timeout=self._timeout.connect,
            proxy=self._proxy,
        )
        if not self.is_local:
            with contextlib.suppress(APIError):
                bounds = replace(self._timeout, total=_WARM_SECONDS)
                deadline = now() + _WARM_SECONDS
                await Exchange(self._transport, request, is_stream=False, bounds=bounds, deadline=deadline).body()

    async def aclose(self) -> None:
        """Closes the connections of this loop, where the transport can."""
        close = getattr(self._transport, "aclose", None)
        if close is not None:
            await close()

    @property
    def limits(self) -> RateLimitSnapshot | None:
        """What the service last said of the account's limits for the model asked last; ``None`` before it has."""
        return process_limiter().snapshot(*self._asked) if self._asked else None

    def resolve_model(self, name: str) -> str:
        """The id that ``name`` stands for. A retired one goes through with one warning that names its replacement."""
        model = self.aliases.resolve(name)
        message = catalog.retirement_message(model, _today())
        if message and model not in _warned and not self.is_local:
            _warned.add(model)
            warnings.warn(message, catalog.RetiredModelWarning, stacklevel=2)
        return model

    async def _prepare(self, request: ChatRequest, *, stream: bool) -> Call:
        server = await self._local_server()
        base_url = server.base_url if server else self.base_url
        model = self.resolve_model(request.model)
        body = replace(request, model=model).to_body(stream=stream)
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream" if stream else "application/json",
            **self._headers,
            **request.to_headers(),
        }
        if server:
            body, model = local.to_local(body), local.LOCAL_MODEL
            headers.update(local.LOCAL_HEADERS)
        content = to_json(body)
        if self._compresses and len(content) >= COMPRESS_FROM_BYTES:
            content = gzip.compress(content, _GZIP_LEVEL, mtime=0)
            headers["Content-Encoding"] = "gzip"
        http = HttpRequest(
            "POST",
            f"{base_url}/chat/completions",
            headers=headers,
            body=content,
            connect_timeout=self._timeout.connect,
            proxy=self._proxy,
        )
        spec = catalog.find_spec(model)
        limit = None if server else self._rate_limit
        cost = estimate_cost(body, spec.max_output_tokens if spec else None) if limit else 0.0
        return await self._begin(http, server, is_stream=stream, model=model, cost_tokens=cost, limit=limit)

    async def _begin(
        self, request: HttpRequest, server: local.LocalServer | None, *, is_keyless: bool = False, **facts: Any
    ) -> Call:
        """The call with its key, if it needs one, and its deadline."""
        total = self._timeout.total
        deadline = None if total is None else now() + total
        if server:
            return Call(request, None, None, deadline, **facts).with_key(Secret(server.api_key, "the embedded server"))
        if is_keyless:
            return Call(request, None, None, deadline, **facts)
        key = await self._in_time(self._find_key(request.url), deadline)
        return Call(request, self.keys, None, deadline, **facts).with_key(key)

    async def _admit(self, call: Call, place: int | None) -> Ticket:
        """The leave to send, when the account's limits allow it."""
        account = f"{self.base_url} {call.key.fingerprint() if call.key else ''}"
        self._asked = (account, call.model)
        began = now()
        try:
            ticket = await process_limiter().acquire(
                account, call.model, call.cost_tokens, call.limit, call.deadline, place=place
            )
        except APIError as problem:
            call.progress.attempts -= 1  # the one that was not sent
            call.progress.paced += now() - began
            raise give_up(problem, call) from None
        call.progress.paced += ticket.waited
        call.progress.sent_at = now()
        return ticket

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
            return await in_thread(local.shared_server)
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

    def _exchange(self, call: Call, ticket: Ticket | None = None) -> Exchange:
        def on_headers(headers: Mapping[str, str]) -> None:
            limits = to_snapshot(headers)
            call.headers_came(headers, limits)
            if ticket is not None:
                ticket.observe(limits)

        return Exchange(
            self._transport,
            call.request,
            is_stream=call.is_stream,
            bounds=self._timeout,
            deadline=call.deadline,
            on_headers=on_headers,
            hide=call.hide,
        )

    async def _next_attempt(self, call: Call, problem: APIError) -> Call:
        """The call to make next; raises ``problem`` where there is none."""
        redact(problem, call.key)
        progress = call.progress
        if isinstance(problem, AuthenticationError) and call.resolver and call.key:
            fresh = await self._in_time(refresh_secret(call.resolver, call.key), call.deadline)
            if not fresh.matches(call.key):  # once: the next call carries no resolver
                check_key_host(fresh, call.request.url)
                return replace(call.with_key(fresh), resolver=None)
        wait = self._retry.wait(problem, progress.attempts, random.random())  # noqa: S311 - jitter, not a secret
        late = wait is not None and call.deadline is not None and now() + wait >= call.deadline
        if wait is None or late:
            give_up(problem, call)
            raise _with_nearest(problem, call.model) if isinstance(problem, NotFoundError) else problem
        await asyncio.sleep(wait)
        progress.backed_off += wait
        progress.attempts += 1
        return call


def _has_closing_tag_only(model: str, request: ChatRequest) -> bool:
    """Whether the answer's content begins with the reasoning: the model's way, unless another form was asked for."""
    spec = catalog.find_spec(model)
    form = {**request.parameters, **request.extra}.get("reasoning_format")
    return (
        form in {None, "none", "raw"}
        and spec is not None
        and spec.reasoning is not None
        and bool(spec.reasoning.closing_tag_only)
    )


def _to_rows(body: bytes) -> list[dict[str, Any]]:
    rows = failure.to_json_or_text(body)
    rows = rows.get("data") if isinstance(rows, dict) else None
    if not isinstance(rows, list):
        raise APIResponseValidationError("the answer is no list of models", status_code=200)
    return rows


def _with_nearest(problem: NotFoundError, model: str) -> NotFoundError:
    near = catalog.nearest_ids(model, _today())
    if near and (problem.param == "model" or problem.code == "model_not_found"):
        problem.args = CerebrasError(f"{problem} Known ids near {model!r}: {', '.join(near)}.").args  # bounded
    return problem


def _today() -> Any:
    return datetime.now(tz=timezone.utc).date()
