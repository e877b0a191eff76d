"""Records of calls and of an account's limits, for metrics, the debug log and ``response_metadata``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, NamedTuple


class Limit(str, Enum):
    """The limits that can delay or refuse a request. Each is equal to its name, for example ``"requests per minute"``.

    The first eight are windows: a unit and a period. ``QUEUE`` means that the service is busy, ``FIRST_ANSWER`` that the request
    waits for the first answer, which announces the limits, and ``UNKNOWN`` that a refusal does not name the limit.
    """

    REQUESTS_PER_SECOND = "requests per second"
    REQUESTS_PER_MINUTE = "requests per minute"
    REQUESTS_PER_HOUR = "requests per hour"
    REQUESTS_PER_DAY = "requests per day"
    TOKENS_PER_SECOND = "tokens per second"
    TOKENS_PER_MINUTE = "tokens per minute"
    TOKENS_PER_HOUR = "tokens per hour"
    TOKENS_PER_DAY = "tokens per day"
    QUEUE = "the service's queue"
    FIRST_ANSWER = "the first answer"
    UNKNOWN = "an unnamed limit"

    def __str__(self) -> str:
        """Return the name."""
        return self.value

    @property
    def unit(self) -> str | None:
        """``requests`` or ``tokens``; ``None`` if it is not a window."""
        return self.value.split(" per ")[0] if " per " in self.value else None

    @property
    def period(self) -> str | None:
        """``second``, ``minute``, ``hour`` or ``day``; ``None`` if it is not a window."""
        return self.value.split(" per ")[1] if " per " in self.value else None

    @property
    def seconds(self) -> float:
        """The length of the period; 0.0 if it is not a window."""
        return {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}.get(self.period or "", 0.0)


class AnnouncedLimit(NamedTuple):
    """One limit as an answer announces it; values that it does not announce are ``None``.

    Attributes:
        name: the limit.
        limit: requests or tokens per period.
        remaining: what is left. It may be more than ``limit``, because the service has been seen to announce the limit of
            uncached tokens together with the remaining number of all tokens.
        reset: seconds until the limit is fully available again.
    """

    name: Limit
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


@dataclass(frozen=True, slots=True)
class RateLimitSnapshot:
    """The limits that the service announced in one answer (``x-ratelimit-*`` headers).

    ``snapshot["requests per minute"]`` returns one of them, an ``AnnouncedLimit``. Limits belong to the account and the model, not
    to a connection.

    Attributes:
        windows: the announced limits.
        date: when the answer was sent, by the service's clock, in Unix seconds.
    """

    windows: tuple[AnnouncedLimit, ...] = ()
    date: float | None = field(default=None, compare=False)

    def __bool__(self) -> bool:
        """Return whether the answer announced any limit."""
        return bool(self.windows)

    def __getitem__(self, name: Limit | str) -> AnnouncedLimit:
        """Return a limit as announced; its values are ``None`` if it was not announced.

        Raises:
            ValueError: the name is not that of a limit.
        """
        limit = Limit(name)
        return next((window for window in self.windows if window.name is limit), AnnouncedLimit(limit))

    @property
    def limit_requests_day(self) -> int | None:
        """Requests per day."""
        return self[Limit.REQUESTS_PER_DAY].limit

    @property
    def remaining_requests_day(self) -> int | None:
        """The remaining requests of the day."""
        return self[Limit.REQUESTS_PER_DAY].remaining

    @property
    def reset_requests_day(self) -> float | None:
        """Seconds until the daily requests are fully available again."""
        return self[Limit.REQUESTS_PER_DAY].reset

    @property
    def limit_tokens_minute(self) -> int | None:
        """Tokens per minute."""
        return self[Limit.TOKENS_PER_MINUTE].limit

    @property
    def remaining_tokens_minute(self) -> int | None:
        """The remaining tokens of the minute."""
        return self[Limit.TOKENS_PER_MINUTE].remaining

    @property
    def reset_tokens_minute(self) -> float | None:
        """Seconds until the tokens per minute are fully available again."""
        return self[Limit.TOKENS_PER_MINUTE].reset


class Load(NamedTuple):
    """The current number of a client's calls.

    Attributes:
        in_flight: calls that do not wait for a slot or for a limit. A call that waits before a retry counts as in flight.
        queued: calls that wait for a slot (``max_concurrency``) or for a rate limit.
    """

    in_flight: int
    queued: int


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A failed attempt that was retried.

    Attributes:
        error: the name of the exception's class.
        status_code: the status of the service's answer; ``None`` without an answer.
        limit: the limit that a 429 names.
        waited: seconds from the failure until the next attempt was sent, or until the call ended.
        request_id: the service's id of the request.
        at: seconds from the beginning of the call to the failure.
    """

    error: str
    status_code: int | None = None
    limit: Limit | None = None
    waited: float = 0.0
    request_id: str | None = None
    at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class CallRecord:
    """The record of one call, from the moment the user made it to its end. All times are in seconds.

    Args:
        model: the model id, even if the request was refused before it was sent; empty for a list of models.
        outcome: ``answered``, ``failed``, or ``cancelled`` (left early, or interrupted).
        error: the name of the exception's class if the call failed.
        attempts: requests sent; 0 if the call ended before anything was sent.
        seconds: from the beginning of the call to its end, including all waits.
        paced: the part of ``seconds`` spent waiting for a rate limit before sending.
        backed_off: the part of ``seconds`` spent waiting between attempts.
        ttft: from sending the last attempt to the first event; ``None`` without an event or without streaming.
        tokens_per_second: completion tokens divided by the time from the first event to the end; ``None`` if unknown.
        prompt_tokens: prompt tokens, as counted by the service.
        completion_tokens: completion tokens, including reasoning.
        time_info: the service's own times (``queue_time``, ``prompt_time``, ``completion_time``, ``total_time``); ``None`` if it
            does not send them.
        estimated_cost_usd: the cost in US dollars at the catalogue's list price; ``None`` if the price or the usage is unknown.
        request_id: the service's id of the request.
        limits: the account's limits as last announced by the service.
        operation: ``chat``, or ``list_models``.
        is_stream: whether a stream was requested.
        address: where the request goes: scheme, host and port; ``local`` for ``base_url="local"``.
        started_at: when the call began, in Unix seconds.
        run_id: the id of the LangChain run that made the call; ``None`` outside LangChain, and for ``stream`` and ``astream``, where
            LangChain does not pass it on.
        queued: the part of ``seconds`` spent waiting for a slot (``max_concurrency``).
        streamed: from the first event of a stream to its end; ``None`` if ``ttft`` is.
        chunks: network reads that contained a part of a streamed answer; 0 without streaming.
        chunk_times: seconds between consecutive chunks, only for an observer with ``wants_chunk_times``; otherwise empty.
        status_code: the HTTP status of the last answer, or the status that an error event in a stream names; ``None`` without an
            answer.
        limit: the limit that a ``RateLimitError`` names, even if it was raised before sending.
        retry_after: the seconds to wait before a new call, according to the error.
        cached_tokens: the part of ``prompt_tokens`` that the service had in its cache.
        reasoning_tokens: the part of ``completion_tokens`` used for reasoning.
        finish_reasons: why the answer ended, one for each choice; empty if it did not end.
        response_model: the model named in the answer.
        response_id: the service's id of the answer.
        failures: the failed attempts that were retried, in order.
        answer: the text of the first choice, only for an observer with ``wants_messages``; otherwise ``None``.
    """

    model: str
    outcome: Literal["answered", "failed", "cancelled"]
    error: str | None = None
    attempts: int = 1
    seconds: float = 0.0
    paced: float = 0.0
    backed_off: float = 0.0
    ttft: float | None = None
    tokens_per_second: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    time_info: Mapping[str, Any] | None = field(default=None, hash=False)
    estimated_cost_usd: float | None = None
    request_id: str | None = None
    limits: RateLimitSnapshot | None = None
    operation: Literal["chat", "list_models"] = "chat"
    is_stream: bool = False
    address: str = ""
    started_at: float = 0.0
    run_id: str | None = None
    queued: float = 0.0
    streamed: float | None = None
    chunks: int = 0
    chunk_times: tuple[float, ...] = field(default=(), repr=False)
    status_code: int | None = None
    limit: Limit | None = None
    retry_after: float | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    finish_reasons: tuple[str, ...] = ()
    response_model: str | None = None
    response_id: str | None = None
    failures: tuple[FailedAttempt, ...] = ()
    answer: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Return one line for a log."""
        facts = [
            f"{self.outcome}{f' ({self.error})' if self.error else ''} in {self.seconds:.3f} s",
            f"{self.attempts} attempt{'' if self.attempts == 1 else 's'}",
            f"first event after {self.ttft:.3f} s" if self.ttft is not None else "",
            f"{self.prompt_tokens}+{self.completion_tokens} tokens" if self.prompt_tokens is not None else "",
            f"{self.tokens_per_second:.0f} tokens/s" if self.tokens_per_second is not None else "",
            f"waited {self.queued:.1f} s for a slot" if self.queued >= 0.1 else "",
            f"paced {self.paced:.1f} s" if self.paced >= 0.1 else "",
            f"backed off {self.backed_off:.1f} s" if self.backed_off else "",
            self.request_id or "",
        ]
        return f"{self.model or self.operation}: {', '.join(filter(None, facts))}"
