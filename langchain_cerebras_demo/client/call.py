"""One call, from its key to its end. It owns its attempts: what is sent, when, and whether it is sent again."""

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

from langchain_cerebras_demo import catalog, local
from langchain_cerebras_demo.client.attempt import Attempt, now
from langchain_cerebras_demo.client.limiter import Ticket, process_limiter
from langchain_cerebras_demo.client.observers import Listener
from langchain_cerebras_demo.client.report import Operation, Report
from langchain_cerebras_demo.client.slots import Slot, Slots
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
from langchain_cerebras_demo.wire.completion import CompletionDecoder, Event
from langchain_cerebras_demo.wire.cost import DEFAULT_IMAGE_TOKENS, estimate_cost
from langchain_cerebras_demo.wire.headers import to_request_id, to_snapshot
from langchain_cerebras_demo.wire.request import ChatRequest, to_json, to_parameters

COMPRESS_FROM_BYTES = 8192
"""A body from this size on is zipped, for cerebras.ai (https://inference-docs.cerebras.ai, "payload optimization").

Measured on prose: 60 us for 8 KiB, to a third; that is won back on the wire at any speed up to 1 Gbit/s."""

_GZIP_LEVEL = 1  # a third of level 6's time for 15 % more bytes

_log = logging.getLogger("langchain_cerebras_demo")
_warned: set[str] = set()

T = TypeVar("T")


@dataclass
class Sends:
    """The requests sent inside ``waiting_out_refusals``.

    Attributes:
        total: all of them.
        refused: those answered with a 429.
    """

    total: int = 0
    refused: int = 0


_row_sends: ContextVar[Sends | None] = ContextVar("row_sends", default=None)


@contextlib.contextmanager
def waiting_out_refusals() -> Iterator[Sends]:
    """Let calls wait for a rate limit instead of failing, for batch work that has the time; count what they send.

    Inside, a 429 uses up no retries: the request goes back to its place in the queue, until the calls have been refused
    ``RetryPolicy.max_refusals`` times in all. Being a context variable, it also reaches the calls that a LangChain runnable
    makes in tasks and threads of its own.
    """
    sends = Sends()
    token = _row_sends.set(sends)
    try:
        yield sends
    finally:
        _row_sends.reset(token)


@dataclass(frozen=True)
class Settings:
    """What all calls of one client share; ``Client`` says what each of them means."""

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
        """The id that ``name`` stands for. A retired one goes through with one warning that names its replacement."""
        model = self.aliases.resolve(name)
        spec = catalog.find_spec(model)
        if spec is None or spec.retired_on is None or model in _warned or local.is_local(self.base_url):
            return model
        if message := catalog.retirement_message(model, today()):
            _warned.add(model)
            warnings.warn(message, catalog.RetiredModelWarning, stacklevel=2)
        return model

    def name_of(self, model: Any) -> str:
        """What observers are told of the model that a call asks, also where the call is about to be refused."""
        if local.is_local(self.base_url):
            return local.LOCAL_MODEL
        try:
            return self.aliases.resolve(model)
        except (TypeError, ValueError):
            return str(model)

    def request(self, method: str, url: str, **fields: Any) -> HttpRequest:
        """A request with what every request of the client has."""
        headers = {**fields.pop("headers", {}), **self.headers}
        timeout, proxy = self.timeout.connect, self.proxy
        return HttpRequest(method, url, headers=headers, connect_timeout=timeout, proxy=proxy, owner=self, **fields)


class Call:
    """One call. ``events``, ``answer`` or ``models`` is used once.

    Args:
        settings: those of its client.
        operation: what it is for.
        run_id: LangChain's id of the run that makes it.
    """

    def __init__(self, settings: Settings, operation: Operation = "chat", run_id: object = None) -> None:
        self.model = ""
        self.account = ""
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
        self._free_sends = 0  # those that do not count against max_retries

    # -- the kinds of call

    async def events(self, request: ChatRequest) -> AsyncGenerator[list[Event | CallRecord], None]:
        """Ask for a streamed completion and yield its events, a list a network read; the last list holds the call's record.

        Raises:
            APIError: after the first event it carries ``partial``, the text that had come.
            MissingKeyError, KeyFormatError, KeyHostError, LocalServerError: before anything was sent.
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
                    ticket = await self._turn(slot, place)
                    decoder, answer = self._new_reader(request)
                    try:
                        async with aclosing(self._attempt(http, ticket).events(decoder)) as batches:
                            async for events in batches:
                                if report.first_at is None:
                                    report.first_at = now()
                                if answer:
                                    events = answer.read(events)  # noqa: PLW2901 - the same events, read further
                                slot.pause()
                                if decoder.ended:
                                    yield self._with_record(events, decoder, ticket)
                                else:
                                    report.arrived()
                                    yield events  # type: ignore[misc]  # a list[Event] that nobody will add to
                                slot.resume()
                    except APIError as error:
                        problem = error
                        self._refuse(ticket, error)
                    except Exception as error:
                        redact(error, self._key)  # a bug, perhaps a transport's: its frames hold the key or the answer
                        raise
                    else:
                        return
                    finally:
                        ticket.close()
                        events = []  # what arrived is not for the variables of a traceback
                    if report.first_at is not None:
                        raise self._interrupted(problem, answer.text if answer else decoder.text)
                    http, place = await self._again(http, problem), ticket.place

    async def answer(self, request: ChatRequest) -> list[Event | CallRecord]:
        """Ask for a whole completion; return its events, the call's record being the last one.

        The whole body counts as one event. Some servers stream although the request does not ask for it.

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
        """Return the rows of the model list: of the key's own, or of the public catalogue, which needs no key.

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
        """Send the request until ``read`` has read its answer, as often as the retry policy allows."""
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

    def _slot(self, idle: float | None = None) -> Slot:
        """Return the slot to wait for; rows of batch work, which has the time, may wait in any number."""
        settings, is_bounded = self._settings, self._row_sends is None
        slot = self._report.slot = settings.slots.take(settings.max_wait, idle, is_bounded=is_bounded)
        return slot

    def _start_clock(self) -> None:
        """The time-outs of a call begin when it has its slot."""
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
        self.model, self._spec = model, spec
        several = request.extra.get("n", parameters.get("n", 1))
        if is_stream and several > 1:
            raise InvalidRequestError(
                f"n={several}: several answers cannot be streamed as one; leave n out, or ask without streaming"
            )
        return ChatRequest(model, request.messages, parameters, request.extra, request.check)

    def _new_reader(self, request: ChatRequest) -> tuple[CompletionDecoder, AnswerCall | None]:
        """Return what reads the answer of one attempt: the decoder, and what turns the call of the answer's tool into text."""
        closing_tag_only = _has_closing_tag_only(self._spec, request)
        decoder = CompletionDecoder(hide=self._hide, salt=token_hex(8), closing_tag_only=closing_tag_only)
        answer = AnswerCall(self._answer_tool) if self._answer_tool else None
        self._report.reading = answer or decoder
        return decoder, answer

    async def _local_server(self) -> local.LocalServer | None:
        """The embedded server behind ``base_url``, started if need be; ``None`` where it is somebody else's."""
        if self._settings.base_url == "local":
            return await in_thread(local.shared_server)
        return local.find_server(self._settings.base_url)

    async def _prepare(self, request: ChatRequest, *, is_stream: bool) -> HttpRequest:
        """Return the HTTP request, with the key that it needs."""
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
            body, self.model = local.to_local(body), local.LOCAL_MODEL
            self._report.model = self.model
            headers.update(local.LOCAL_HEADERS)
        else:
            self._limit = settings.rate_limit
        content = to_json(body)
        if settings.compresses and len(content) >= COMPRESS_FROM_BYTES:
            content = gzip.compress(content, _GZIP_LEVEL, mtime=0)
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
        """Find the key that a request to ``url`` goes out with, if it needs one, and with it the account."""
        if server:
            self._key = Secret(server.api_key, "the embedded server")
        else:
            self._key = peek_secret(self._settings.keys) or await self._in_time(self._ask_for_key(url))
            self._may_refresh = True
            if self._key:
                check_key_host(self._key, url)
        self.account = f"{self._settings.base_url} {self._key.fingerprint() if self._key else ''}"

    async def _ask_for_key(self, url: str) -> Secret | None:
        try:
            return await resolve_secret(self._settings.keys)
        except MissingKeyError:
            if is_loopback(url):
                return None
            raise

    async def _in_time(self, finding: Awaitable[T]) -> T:
        """What ``finding`` a key gives, in time: a source may be a slow network, or code that never answers."""
        bounds = self._settings.timeout
        left, stage = bounds.first_event, "first_event"
        if self._deadline is not None and (left is None or self._deadline - now() < left):
            left, stage = self._deadline - now(), "total"
        try:
            async with timeout(left):
                return await finding
        except APITimeoutError:  # the source's own
            raise
        except asyncio.TimeoutError:
            pass
        raise APITimeoutError(f"no key within {getattr(bounds, stage):g} s (timeout.{stage})")

    def _hide(self, text: bytes) -> bytes:
        return self._key.hide(text) if self._key else text

    # -- its turn and its attempts

    async def _turn(self, slot: Slot, place: int | None) -> Ticket:
        """Wait until the account's limits allow the next send, or for what ``max_wait`` leaves after the wait for a slot."""
        report, began = self._report, now()
        try:
            ticket = await process_limiter().acquire(
                self.account,
                self.model,
                self._cost_tokens,
                self._limit,
                self._deadline,
                place=place,
                max_wait=self._left_of_max_wait(),
                queueing=slot.queueing,
            )
        except BaseException as problem:  # a cancelled call has waited, too
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
        """The request to send next, once it is time for it; raises ``problem`` where nothing is sent again."""
        report = self._report
        report.failed(redact(problem, self._key))
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
            raise _with_hint(problem, self.model, self._settings.keys.dropped)
        report.repeats(problem, wait)
        began, is_over = now(), False
        try:
            await asyncio.sleep(wait)
            is_over = True
        finally:
            report.backed_off += wait if is_over else now() - began
        return http if http.fresh_connection else replace(http, fresh_connection=_was_stale(problem))

    def _is_too_long(self, wait: float, problem: APIError) -> bool:
        """Whether the time is up before the next attempt could be made: that of the call, or that of its waits for a limit."""
        if self._deadline is not None and now() + wait >= self._deadline:
            return True
        left = self._left_of_max_wait() if isinstance(problem, RateLimitError) else None
        return left is not None and wait > left

    def _refuse(self, ticket: Ticket, problem: APIError) -> None:
        """Tell the limiter of an answer whose status was an error: it took nothing of the account's limits."""
        if isinstance(problem, APIStatusError) and problem.response is not None:
            ticket.refused(problem)

    def _give_up(self, problem: APIError) -> APIError:
        """``problem`` with what was done about it: attempts, the time waited, the limit that was hit."""
        problem.attempts, problem.waited = self._report.sends, self._report.paced + self._report.backed_off
        facts = [f"{problem.attempts} attempts, {problem.waited:.1f} s waited"] if problem.attempts > 1 else []
        if isinstance(problem, RateLimitError):
            if problem.limit is not None:
                facts.append(f"limit: {problem.limit}")
            if problem.retry_after is not None:
                facts.append(f"retry after {problem.retry_after:g} s")
        if facts:
            problem.args = CerebrasError(f"{problem} ({'; '.join(facts)})").args  # bounded
        return problem

    def _interrupted(self, problem: APIError, text: str) -> APIError:
        """The failure of an answer that had begun, with what had come."""
        self._report.failed(redact(problem, self._key))
        if type(problem) is APIConnectionError:
            cause, problem = problem, StreamInterruptedError(f"the stream broke off: {problem}")
            problem.request_id, problem.usage = cause.request_id, cause.usage
            problem.__cause__, problem.__traceback__ = cause.__cause__, cause.__traceback__
        problem.partial = text
        return self._give_up(problem)

    def _with_record(self, events: list[Event], decoder: CompletionDecoder, ticket: Ticket) -> list[Event | CallRecord]:
        """The last events of an answer, with the record of the call behind them."""
        usage = decoder.usage
        if usage is not None:
            ticket.settle(usage.total_tokens, usage.cached_tokens or 0)
        return [*events, self._report.completed(events, usage)]


def today() -> Any:
    """The date by which a model is retired or not."""
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
    """Return whether the answer's content begins with the reasoning: the model's way, unless another form was asked for."""
    if spec is None or spec.reasoning is None or not spec.reasoning.closing_tag_only:
        return False
    return {**request.parameters, **request.extra}.get("reasoning_format") in {None, "none", "raw"}


def _with_hint(problem: APIError, model: str, dropped: Sequence[str]) -> APIError:
    """Return the error with a sentence on what to do: about a model that is not served, or a key that a pickle had to drop."""
    hint = ""
    if isinstance(problem, NotFoundError):
        if problem.param == "model" or problem.code in {"model_not_found", "model_archived"}:
            hint = catalog.unknown_model_hint(model, today())
    elif isinstance(problem, AuthenticationError) and dropped:
        names = " and ".join(dropped)
        hint = f"({names} was dropped when the model was pickled or saved: keys and cookies never are. Set it again.)"
    problem.args = CerebrasError(f"{problem} {hint}".rstrip()).args  # bounded
    return problem
