"""One call, from finding the key to the end of the answer. It decides what is sent, when, and whether it is retried."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import random
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from secrets import token_hex
from typing import Any, TypeVar
from urllib.parse import urlsplit

from langchain_cerebras_demo import catalog, local
from langchain_cerebras_demo.client.attempt import Attempt, now
from langchain_cerebras_demo.client.limiter import Ticket, process_limiter
from langchain_cerebras_demo.client.observers import Listener
from langchain_cerebras_demo.client.report import Operation, Report
from langchain_cerebras_demo.client.slots import Slot, Slots
from langchain_cerebras_demo.client.user_code import user_stacklevel
from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    CerebrasError,
    InvalidRequestError,
    MissingKeyError,
    NotFoundError,
    RateLimitError,
    StreamInterruptedError,
    to_refusal,
)
from langchain_cerebras_demo.keys import ChainKeyResolver, Secret, peek_secret, refresh_secret, resolve_secret
from langchain_cerebras_demo.keys.hosts import check_key_host
from langchain_cerebras_demo.keys.redaction import redact
from langchain_cerebras_demo.net.endpoint import is_loopback
from langchain_cerebras_demo.net.shutdown import in_thread
from langchain_cerebras_demo.net.transport import HttpRequest, Transport, timeout
from langchain_cerebras_demo.policy import RateLimit, RetryPolicy, Timeout, abilities
from langchain_cerebras_demo.records import CallRecord
from langchain_cerebras_demo.wire import failure
from langchain_cerebras_demo.wire.answer_call import AnswerCall, to_call
from langchain_cerebras_demo.wire.completion import CompletionDecoder, Event, Usage
from langchain_cerebras_demo.wire.cost import DEFAULT_IMAGE_TOKENS, estimate_cost
from langchain_cerebras_demo.wire.headers import to_request_id, to_snapshot
from langchain_cerebras_demo.wire.request import ChatRequest, to_json, to_parameters

COMPRESS_FROM_BYTES = 8192
"""Bodies of at least this size are compressed for cerebras.ai (https://inference-docs.cerebras.ai, "payload optimization").

Measured on prose: 8 KiB take 60 us and shrink to a third; this saves time on any connection up to 1 Gbit/s."""

_GZIP_LEVEL = 1  # compared to level 6: a third of the time, 15 % more bytes

# Larger bodies are compressed in a thread: 256 KiB of images take 8 ms, 10 MB a third of a second.
_THREAD_FROM_BYTES = 256 * 1024

_log = logging.getLogger("langchain_cerebras_demo")
_warned: set[str] = set()

T = TypeVar("T")


@dataclass
class Sends:
    """The requests sent inside ``waiting_out_refusals``, and what they used.

    Attributes:
        total: all requests.
        refused: the requests answered with a 429.
        prompt_tokens, completion_tokens, total_tokens: as counted by the service, also for answers that were cut off.
        usd: the cost of these tokens in US dollars at the catalogue's list prices; 0.0 for models without a price.
    """

    total: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    usd: float = 0.0

    def count(self, usage: Usage, spec: catalog.ModelSpec | None) -> None:
        """Add the tokens of an answer of this model."""
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.total_tokens += usage.total_tokens
        if spec is not None:
            self.usd += spec.cost_usd(usage.prompt_tokens, usage.completion_tokens) or 0.0


_row_sends: ContextVar[Sends | None] = ContextVar("row_sends", default=None)


@contextlib.contextmanager
def waiting_out_refusals() -> Iterator[Sends]:
    """Let calls of batch work wait for a rate limit instead of failing, and count the requests they send and their tokens.

    Inside, a 429 does not use up retries: the request returns to its place in the queue, until the calls have been refused
    ``RetryPolicy.max_refusals`` times in total. This is a context variable, so it also applies to calls that a LangChain
    runnable makes in its own tasks and threads.
    """
    sends = Sends()
    token = _row_sends.set(sends)
    try:
        yield sends
    finally:
        _row_sends.reset(token)


@dataclass(frozen=True)
class Settings:
    """The settings that all calls of a client share; ``Client`` documents them."""

    base_url: str
    aliases: catalog.AliasTable
    keys: ChainKeyResolver
    transport: Transport
    timeout: Timeout
    retry: RetryPolicy
    headers: Mapping[str, str]
    proxy: str | None = field(repr=False)  # may hold a password
    slots: Slots
    rate_limit: RateLimit | None
    max_wait: float | None
    compresses: bool
    listeners: tuple[Listener, ...]
    address: str

    def resolve_model(self, name: str) -> str:
        """Return the model id for ``name``, which may be an alias. Warn once about a retired model; the warning names its replacement.

        Raises:
            InvalidRequestError: no model can have this name.
        """
        try:
            model = self.aliases.resolve(name)
        except (TypeError, ValueError) as error:
            raise to_refusal(error) from None
        spec = catalog.find_spec(model)
        if spec is None or spec.retired_on is None or model in _warned or local.is_local(self.base_url):
            return model
        if message := catalog.retirement_message(model, today()):
            _warned.add(model)
            warnings.warn(message, catalog.RetiredModelWarning, stacklevel=user_stacklevel())
        return model

    def name_of(self, model: Any) -> str:
        """Return the model id for observers, even if the call is about to be refused."""
        if local.is_local(self.base_url):
            return local.LOCAL_MODEL
        try:
            return self.aliases.resolve(model)
        except (TypeError, ValueError):
            return str(model)

    def request(self, method: str, url: str, **fields: Any) -> HttpRequest:
        """Return a request with the headers, proxy and timeout that all requests of the client have."""
        headers = {**fields.pop("headers", {}), **self.headers}
        timeout, proxy = self.timeout.connect, self.proxy
        return HttpRequest(method, url, headers=headers, connect_timeout=timeout, proxy=proxy, owner=self, **fields)


@dataclass(slots=True)
class Account:
    """The account and the model of a call, to which its limits belong.

    Attributes:
        name: the address and the key's fingerprint; empty until the key is found.
        model: the model id.
    """

    name: str = ""
    model: str = ""


class Call:
    """One call. Use one of ``events``, ``answer`` and ``models``, once.

    Args:
        settings: the client's settings.
        operation: the kind of call.
        run_id: the id of the LangChain run that makes the call.

    Attributes:
        account: the account and the model, filled in as they are found.
    """

    def __init__(self, settings: Settings, operation: Operation = "chat", run_id: object = None) -> None:
        self.account = Account()
        self._settings = settings
        self._report = Report(operation, settings.address, settings.listeners, run_id)
        self._deadline: float | None = None
        self._key: Secret | None = None
        self._may_refresh = False
        self._answer_tool = ""
        self._spec: catalog.ModelSpec | None = None
        self._is_stream = False
        self._cost_tokens = 0.0
        self._limit: RateLimit | None = None
        self._row_sends = _row_sends.get()
        self._free_sends = 0  # requests that do not count against max_retries

    # -- the kinds of call

    async def events(self, request: ChatRequest) -> AsyncGenerator[list[Event | CallRecord], None]:
        """Request a streamed completion and yield its events, one list per network read; the last list contains the call's record.

        Raises:
            APIError: the call failed; after the first event, ``partial`` holds the text received so far.
            MissingKeyError, KeyFormatError, KeyHostError, LocalServerError: before anything is sent.
            InvalidRequestError: the API or the model does not support the request; nothing was sent.
        """
        report = self._report
        with report.begin(self._settings.name_of(request.model), request, is_stream=True):
            request = self._fitted(request, is_stream=True)
            async with self._slot(self._settings.timeout.idle) as slot:
                self._start_clock()
                http = await self._prepare(request, is_stream=True)
                place: int | None = None
                while True:
                    decoder, answer = self._new_reader(request)
                    ticket = await self._turn(slot, place)
                    try:
                        async with aclosing(self._attempt(http, ticket).events(decoder)) as batches:
                            async for events in batches:
                                if report.first_at is None:
                                    report.first_at = now()
                                if answer:
                                    events = answer.read(events)  # noqa: PLW2901 - the same events, processed further
                                slot.pause()
                                if decoder.ended:
                                    yield self._with_record(events, decoder, ticket)
                                else:
                                    report.arrived()
                                    yield events  # type: ignore[misc]  # a list[Event] that is not modified any more
                                slot.resume()
                    except APIError as error:
                        problem = error
                        self._refuse(ticket, error)
                    except Exception as error:
                        redact(error, self._key)  # a bug, perhaps of a transport: its frames hold the key or the answer
                        raise
                    else:
                        return
                    finally:
                        ticket.close()
                        events = []  # a traceback that shows locals must not show the answer
                    if report.first_at is not None:
                        raise self._interrupted(problem, answer.text if answer else decoder.text)
                    http, place = await self._again(http, problem), ticket.place
                    del problem  # its traceback refers to this frame

    async def answer(self, request: ChatRequest) -> list[Event | CallRecord]:
        """Request a completion without streaming; return its events and, as the last one, the call's record.

        For timeouts, the whole body counts as one event. Servers that stream anyway are supported.

        Raises:
            As ``events``.
        """
        with self._report.begin(self._settings.name_of(request.model), request):
            request = self._fitted(request, is_stream=False)
            async with self._slot() as slot:
                self._start_clock()
                http = await self._prepare(request, is_stream=False)

                async def read(attempt: Attempt, ticket: Ticket) -> list[Event | CallRecord]:
                    decoder, answer = self._new_reader(request)
                    try:
                        await attempt.answer(decoder)
                    finally:
                        if answer:
                            attempt.arrived = answer.read(attempt.arrived)
                    return self._with_record(attempt.arrived, decoder, ticket)

                return await self._repeat(http, slot, read)

    async def models(self, *, is_public: bool) -> list[dict[str, Any]]:
        """Return the rows of the model list: the models of the key, or the public list, which needs no key.

        Raises:
            APIError, MissingKeyError: as ``events``.
            APIResponseValidationError: the answer is not a list of models.
        """
        with self._report.begin(""):
            async with self._slot() as slot:
                self._start_clock()
                server = await self._local_server()
                base_url = server.base_url if server else self._settings.base_url
                url = f"{base_url.removesuffix('/v1')}/public/v1/models" if is_public else f"{base_url}/models"
                if not is_public:
                    await self._find_key(url, server)
                http = self._settings.request("GET", url, secret_headers=self._key.bearer if self._key else None)
                return _to_rows(await self._repeat(http, slot, lambda attempt, _: attempt.body()))

    async def _repeat(self, http: HttpRequest, slot: Slot, read: Callable[[Attempt, Ticket], Awaitable[T]]) -> T:
        """Send the request, as often as the retry policy allows, and return what ``read`` makes of the answer."""
        place: int | None = None
        while True:
            ticket = await self._turn(slot, place)
            attempt = self._attempt(http, ticket)
            try:
                return await read(attempt, ticket)
            except APIError as error:
                problem = error
                self._refuse(ticket, error)
            except Exception as error:
                redact(error, self._key)  # as in `events`
                raise
            finally:
                ticket.close()
            if attempt.arrived:
                reading = self._report.reading
                raise self._interrupted(problem, reading.text if reading else "")
            http, place = await self._again(http, problem), ticket.place
            del problem  # as in `events`

    def _slot(self, idle: float | None = None) -> Slot:
        """Return the slot to wait for. ``max_queue`` does not apply to the rows of batch work."""
        settings, is_bounded = self._settings, self._row_sends is None
        slot = self._report.slot = settings.slots.take(settings.max_wait, idle, is_bounded=is_bounded)
        return slot

    def _start_clock(self) -> None:
        """Start the total timeout, when the call has its slot."""
        total = self._settings.timeout.total
        self._deadline = None if total is None else now() + total

    # -- the request and its key

    def _fitted(self, request: ChatRequest, *, is_stream: bool) -> ChatRequest:
        """Return the request with its model resolved and its parameters checked and fitted to that model."""
        model = self._settings.resolve_model(request.model)
        spec = None if local.is_local(self._settings.base_url) else catalog.find_spec(model)
        parameters = to_parameters(request.parameters, check=request.check)
        if request.check and abilities.answers_by_call(parameters, spec):
            parameters, self._answer_tool = to_call(parameters, model)
        parameters = abilities.fit(parameters, spec, check=request.check)
        if request.check:
            abilities.check_images(request.messages, spec)
        self.account.model, self._spec = model, spec
        several = request.extra.get("n", parameters.get("n", 1))
        if is_stream and isinstance(several, int) and several > 1:
            raise InvalidRequestError(
                f"n={several} cannot be streamed: leave n out, or call the model without streaming"
            )
        return ChatRequest(model, request.messages, parameters, request.extra, request.check)

    def _new_reader(self, request: ChatRequest) -> tuple[CompletionDecoder, AnswerCall | None]:
        """Return the decoder for one attempt, and the converter of the answer tool's call into text if there is one."""
        closing_tag_only = _has_closing_tag_only(self._spec, request)
        decoder = CompletionDecoder(hide=self._hide, salt=token_hex(8), closing_tag_only=closing_tag_only)
        answer = AnswerCall(self._answer_tool) if self._answer_tool else None
        self._report.reading = answer or decoder
        return decoder, answer

    async def _local_server(self) -> local.LocalServer | None:
        """Return the embedded server at ``base_url``, started if necessary; ``None`` if ``base_url`` is another server."""
        if self._settings.base_url == "local":
            return await in_thread(local.shared_server)
        return local.find_server(self._settings.base_url)

    async def _prepare(self, request: ChatRequest, *, is_stream: bool) -> HttpRequest:
        """Return the HTTP request, including the key if it needs one."""
        settings = self._settings
        server = await self._local_server()
        self._is_stream = is_stream
        body = request.to_body(stream=is_stream)
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream" if is_stream else "application/json",
            **settings.headers,
            **request.to_headers(),
        }
        if server:
            try:
                body = local.to_local(body)
            except (TypeError, ValueError) as error:
                raise to_refusal(error) from None
            self.account.model = self._report.model = local.LOCAL_MODEL
            headers.update(local.LOCAL_HEADERS)
        else:
            self._limit = settings.rate_limit
        content = to_json(body)
        if settings.compresses and len(content) >= COMPRESS_FROM_BYTES:
            is_large = len(content) >= _THREAD_FROM_BYTES
            content = await in_thread(_compress, content) if is_large else _compress(content)
            headers["Content-Encoding"] = "gzip"
        if self._limit:
            spec = self._spec
            image_tokens = (spec.image_tokens if spec else None) or DEFAULT_IMAGE_TOKENS
            self._cost_tokens = estimate_cost(body, spec.max_output_tokens if spec else None, image_tokens)
        base_url = server.base_url if server else settings.base_url
        url = f"{base_url}/chat/completions"
        await self._find_key(url, server)
        return HttpRequest(
            "POST",
            url,
            headers=headers,
            secret_headers=self._key.bearer if self._key else None,
            body=content,
            connect_timeout=settings.timeout.connect,
            proxy=settings.proxy,
            owner=settings,
        )

    async def _find_key(self, url: str, server: local.LocalServer | None) -> None:
        """Find the key for a request to ``url``, if it needs one, and the account."""
        if server:
            self._key = Secret(server.api_key, "the embedded server")
        else:
            self._key = peek_secret(self._settings.keys) or await self._in_time(self._ask_for_key(url))
            self._may_refresh = True
            if self._key:
                check_key_host(self._key, url)
        self.account.name = f"{self._settings.base_url} {self._key.fingerprint() if self._key else ''}"

    async def _ask_for_key(self, url: str) -> Secret | None:
        try:
            return await resolve_secret(self._settings.keys)
        except MissingKeyError:
            if is_loopback(url):
                return None
            raise

    async def _in_time(self, finding: Awaitable[T]) -> T:
        """Return the result of ``finding`` a key within the call's timeouts: a source may use a slow network, or never return."""
        bounds = self._settings.timeout
        left, stage = bounds.first_event, "first_event"
        if self._deadline is not None and (left is None or self._deadline - now() < left):
            left, stage = self._deadline - now(), "total"
        problem: Exception
        try:
            async with timeout(left):
                try:
                    return await finding
                except asyncio.TimeoutError as error:  # the source's own
                    problem = error
        except asyncio.TimeoutError:
            problem = APITimeoutError(f"no key within {getattr(bounds, stage):g} s (timeout.{stage})")
        raise problem

    @property
    def _hide(self) -> Callable[[bytes], bytes]:
        """The function that removes the key from a text. It does not refer to the call, so a finished call is freed at once."""
        return self._key.hide if self._key else bytes

    # -- its turn and its attempts

    async def _turn(self, slot: Slot, place: int | None) -> Ticket:
        """Wait until the account's limits allow the next request, at most for what is left of ``max_wait``."""
        report, began = self._report, now()
        try:
            ticket = await process_limiter().acquire(
                self.account.name,
                self.account.model,
                self._cost_tokens,
                self._limit,
                self._deadline,
                place=place,
                max_wait=self._left_of_max_wait(),
                queueing=slot.queueing,
            )
        except BaseException as problem:  # also a cancellation: the call has waited
            report.paced += now() - began
            if isinstance(problem, APIError):
                raise self._give_up(problem) from None
            raise
        report.paced += ticket.waited
        slot.was_admitted = True
        report.sent()
        if self._row_sends is not None:
            self._row_sends.total += 1
        return ticket

    def _left_of_max_wait(self) -> float | None:
        max_wait = self._settings.max_wait
        return None if max_wait is None else max_wait - self._report.waited

    def _attempt(self, http: HttpRequest, ticket: Ticket) -> Attempt:
        def on_headers(headers: Mapping[str, str]) -> None:
            limits, name = to_snapshot(headers), to_request_id(headers)
            self._report.answered_with(200, limits, self._hide(name.encode()).decode() if name else None)
            ticket.observe(limits)

        return Attempt(
            self._settings.transport,
            http,
            is_stream=self._is_stream,
            bounds=self._settings.timeout,
            deadline=self._deadline,
            on_headers=on_headers,
            hide=self._hide,
        )

    async def _again(self, http: HttpRequest, problem: APIError) -> HttpRequest:
        """Return the next request when it is time to send it; raise ``problem`` if there is no retry."""
        report = self._report
        report.failed(redact(problem, self._key))
        self._count(problem.usage)
        if isinstance(problem, AuthenticationError) and self._may_refresh and self._key:
            fresh = await self._in_time(refresh_secret(self._settings.keys, self._key))
            if not fresh.matches(self._key):
                check_key_host(fresh, http.url)
                self._key, self._may_refresh = fresh, False
                self._free_sends += 1
                report.repeats(problem, 0.0)
                return replace(http, secret_headers=fresh.bearer)
        refusals = None
        if self._row_sends is not None and isinstance(problem, RateLimitError):
            self._free_sends += 1
            self._row_sends.refused += 1
            refusals = self._row_sends.refused
        sends = report.sends - self._free_sends
        wait = self._settings.retry.wait(problem, sends, random.random(), refusals=refusals)  # noqa: S311 - jitter, not a secret
        if wait is None or self._is_too_long(wait, problem):
            self._give_up(problem)
            if self._key is None and isinstance(problem, AuthenticationError):
                problem.args = (_no_key_sent(http.url),)
            raise _with_hint(problem, self.account.model, self._settings.keys.dropped)
        report.repeats(problem, wait)
        began, is_over = now(), False
        try:
            await asyncio.sleep(wait)
            is_over = True
        finally:
            report.backed_off += wait if is_over else now() - began
        return http if http.fresh_connection else replace(http, fresh_connection=_was_stale(problem))

    def _is_too_long(self, wait: float, problem: APIError) -> bool:
        """Return whether the wait would exceed the call's deadline or, for a rate limit, ``max_wait``."""
        if self._deadline is not None and now() + wait >= self._deadline:
            return True
        left = self._left_of_max_wait() if isinstance(problem, RateLimitError) else None
        return left is not None and wait > left

    def _refuse(self, ticket: Ticket, problem: APIError) -> None:
        """Report an answer with an error status to the limiter: it used up none of the account's limits."""
        if isinstance(problem, APIStatusError) and problem.response is not None:
            ticket.refused(problem)

    def _give_up(self, problem: APIError) -> APIError:
        """Return ``problem`` with the time waited; its message gets the number of attempts and the limit."""
        sends, problem.waited = self._report.sends, self._report.paced + self._report.backed_off
        facts = [f"{sends} attempts, {problem.waited:.1f} s waited"] if sends > 1 else []
        if isinstance(problem, RateLimitError):
            if problem.limit is not None:
                facts.append(f"limit: {problem.limit}")
            if problem.retry_after is not None:
                facts.append(f"retry after {problem.retry_after:g} s")
        if facts:
            problem.args = CerebrasError(f"{problem} ({'; '.join(facts)})").args  # its length is limited
        return problem

    def _interrupted(self, problem: APIError, text: str) -> APIError:
        """Return the error of an answer that broke off, with the text received so far."""
        self._report.failed(redact(problem, self._key))
        self._count(problem.usage)
        if type(problem) is APIConnectionError:
            cause, problem = problem, StreamInterruptedError(f"the stream broke off: {problem}")
            problem.request_id, problem.usage = cause.request_id, cause.usage
            problem.__cause__, problem.__traceback__ = cause.__cause__, cause.__traceback__
        problem.partial = text
        return self._give_up(problem)

    def _with_record(self, events: list[Event], decoder: CompletionDecoder, ticket: Ticket) -> list[Event | CallRecord]:
        """Return the last events of an answer, followed by the call's record."""
        usage = decoder.usage
        if usage is not None:
            ticket.settle(usage.total_tokens, usage.cached_tokens or 0)
        self._count(usage)
        return [*events, self._report.completed(events, usage)]

    def _count(self, usage: Usage | None) -> None:
        """Count the tokens of an attempt for the row of batch work that the call belongs to."""
        if usage is not None and self._row_sends is not None:
            self._row_sends.count(usage, self._spec)


def _compress(body: bytes) -> bytes:
    return gzip.compress(body, _GZIP_LEVEL, mtime=0)


def today() -> Any:
    """Return today's date (UTC), which decides whether a model is retired."""
    return datetime.now(tz=timezone.utc).date()


def _to_rows(body: bytes) -> list[dict[str, Any]]:
    listed = failure.to_json_or_text(body)
    rows = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(rows, list):
        raise APIResponseValidationError("the answer is not a list of models", status_code=200)
    return rows


def _was_stale(problem: APIError) -> bool:
    return isinstance(problem, APIConnectionError) and problem.on_reused_connection


def _has_closing_tag_only(spec: catalog.ModelSpec | None, request: ChatRequest) -> bool:
    """Return whether the content begins with the reasoning: some models do so unless another format was requested."""
    if spec is None or spec.reasoning is None or not spec.reasoning.closing_tag_only:
        return False
    reasoning_format = {**request.parameters, **request.extra}.get("reasoning_format")
    return reasoning_format in (None, "none", "raw")  # a tuple, because it may be a list


def _no_key_sent(url: str) -> str:
    return f"401: the server at {urlsplit(url).netloc} wants a key, and none was sent: set CEREBRAS_API_KEY."


def _with_hint(problem: APIError, model: str, dropped: Sequence[str]) -> APIError:
    """Return the error with a remedy added, for a model that is not served or a key that was dropped from a pickle."""
    hint = ""
    if isinstance(problem, NotFoundError):
        if problem.param == "model" or problem.code in {"model_not_found", "model_archived"}:
            hint = catalog.unknown_model_hint(model, today())
    elif isinstance(problem, AuthenticationError) and dropped:
        names = " and ".join(dropped)
        hint = f"({names} was dropped when the model was pickled or saved: keys and cookies never are. Set it again.)"
    problem.args = CerebrasError(f"{problem} {hint}".rstrip()).args  # its length is limited
    return problem
