"""One call under way: what all its attempts share, and what is measured of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.client.attempt import now
from langchain_cerebras_demo.client.limiter import Ticket
from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    CerebrasError,
    RateLimitError,
    StreamInterruptedError,
)
from langchain_cerebras_demo.keys import KeyResolver, Secret
from langchain_cerebras_demo.net.transport import HttpRequest
from langchain_cerebras_demo.policy.rate_limit import RateLimit, to_limit
from langchain_cerebras_demo.records import CallRecord, RateLimitSnapshot
from langchain_cerebras_demo.wire.completion import CompletionDecoder, Event, Timing, Usage
from langchain_cerebras_demo.wire.headers import to_request_id

_log = logging.getLogger("langchain_cerebras_demo")


@dataclass
class Progress:
    """What is measured of a call. Times are those of the running loop, in seconds."""

    began: float
    attempts: int = 1
    paced: float = 0.0
    backed_off: float = 0.0
    sent_at: float = 0.0
    first_at: float | None = None
    usage: Usage | None = None
    time_info: Mapping[str, Any] | None = None
    request_id: str | None = None
    limits: RateLimitSnapshot | None = None

    @property
    def waited(self) -> float:
        """Seconds spent waiting to send."""
        return self.paced + self.backed_off


@dataclass(frozen=True)
class Call:
    """What all attempts of one call share.

    Args:
        request: what is sent.
        resolver: who is asked for a fresher key after a 401; ``None`` where nobody is.
        key: the key it is sent with.
        deadline: the running loop's time by which all has to be done.
        is_stream: whether events were asked for.
        model: the model's id.
        cost_tokens: what the service reserves of the account's tokens a minute.
        limit: what the account allows besides what the service announces; ``None`` sends at once.
        progress: what is measured.
    """

    request: HttpRequest
    resolver: KeyResolver | None
    key: Secret | None
    deadline: float | None
    is_stream: bool = False
    model: str = ""
    cost_tokens: float = 0.0
    limit: RateLimit | None = None
    progress: Progress = field(default_factory=lambda: Progress(now()))

    def with_key(self, key: Secret | None) -> Call:
        """The same call with this key."""
        return replace(self, key=key, request=replace(self.request, secret_headers=key.bearer if key else None))

    def hide(self, text: bytes) -> bytes:
        """``text`` without the key."""
        return self.key.hide(text) if self.key else text

    def record(
        self, outcome: Literal["answered", "failed", "cancelled"] = "answered", error: str | None = None
    ) -> CallRecord:
        """The call as it stands."""
        at, progress = now(), self.progress
        first = progress.first_at if self.is_stream else None
        usage, spec = progress.usage, catalog.find_spec(self.model)
        tokens = usage.completion_tokens if usage else None
        return CallRecord(
            model=self.model,
            outcome=outcome,
            error=error,
            attempts=progress.attempts,
            seconds=at - progress.began,
            paced=progress.paced,
            backed_off=progress.backed_off,
            ttft=None if first is None else first - progress.sent_at,
            tokens_per_second=tokens / (at - first) if tokens and first is not None and at > first else None,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=tokens,
            time_info=progress.time_info,
            estimated_cost_usd=spec.cost_usd(usage.prompt_tokens, usage.completion_tokens) if spec and usage else None,
            request_id=progress.request_id,
            limits=progress.limits,
        )

    def headers_came(self, headers: Mapping[str, str], limits: RateLimitSnapshot) -> None:
        """A 200 has come."""
        self.progress.limits = limits or self.progress.limits
        name = to_request_id(headers)
        self.progress.request_id = self.hide(name.encode()).decode() if name else None

    @contextmanager
    def told(self, on_call: Callable[[CallRecord], None] | None) -> Iterator[None]:
        """Tells how the call ended: one line of the debug log, and ``on_call``'s record."""
        outcome: Literal["answered", "failed", "cancelled"] = "answered"
        error: str | None = None
        try:
            yield
        except Exception as problem:
            outcome, error = "failed", type(problem).__name__
            raise
        except BaseException:  # a generator that is closed, a task that is cancelled, Ctrl-C
            outcome = "cancelled"
            raise
        finally:
            if on_call is not None or _log.isEnabledFor(logging.DEBUG):
                self._tell(outcome, error, on_call)

    def _tell(
        self,
        outcome: Literal["answered", "failed", "cancelled"],
        error: str | None,
        on_call: Callable[[CallRecord], None] | None,
    ) -> None:
        record = self.record(outcome, error)
        _log.debug("%s", record)
        if on_call is not None:
            try:
                on_call(record)
            except Exception as problem:  # noqa: BLE001 - a broken metric must not cost an answer
                _log.warning("on_call raised %s and is ignored", type(problem).__name__)


def give_up(problem: APIError, call: Call) -> APIError:
    """``problem`` with what was done about it: attempts, the time waited, the limit that was hit."""
    problem.attempts, problem.waited = call.progress.attempts, call.progress.waited
    facts = [f"{problem.attempts} attempts, {problem.waited:.1f} s waited"] if problem.attempts > 1 else []
    if isinstance(problem, RateLimitError):
        problem.limit = problem.limit or to_limit(problem)
        facts.append(f"limit: {problem.limit}")
        if problem.retry_after is not None:
            facts.append(f"retry after {problem.retry_after:g} s")
    if facts:
        problem.args = CerebrasError(f"{problem} ({'; '.join(facts)})").args  # bounded
    return problem


def interrupted(problem: APIError, text: str, call: Call) -> APIError:
    """The failure of an answer that had begun, with what had come."""
    if type(problem) is APIConnectionError:
        cause, problem = problem, StreamInterruptedError(f"the stream broke off: {problem}")
        problem.request_id, problem.usage = cause.request_id, cause.usage
    problem.partial = text
    return give_up(problem, call)


def refuse(ticket: Ticket, problem: APIError) -> None:
    """Tells the limiter of an answer whose status was an error: such an answer took nothing of the account's limits."""
    if isinstance(problem, APIStatusError) and problem.response is not None:
        ticket.refused(problem)


def with_record(
    events: list[Event], call: Call, decoder: CompletionDecoder, ticket: Ticket
) -> list[Event | CallRecord]:
    """The last events of an answer with the record of its call behind them; all others as they are."""
    if not decoder.ended:
        return events  # type: ignore[return-value]  # a list[Event] that nobody will add to
    call.progress.usage = decoder.usage
    call.progress.time_info = next((event.time_info for event in events if isinstance(event, Timing)), None)
    if decoder.usage is not None:
        ticket.settle(decoder.usage.total_tokens)
    return [*events, call.record()]
