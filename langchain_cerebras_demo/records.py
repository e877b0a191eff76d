"""What is known of a call and of an account: for metrics, the debug log and ``response_metadata``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, NamedTuple


class Limit(str, Enum):
    """The limits that a request may wait for or be refused by. Each is also its name in words: ``"requests per minute"``.

    The first eight are windows: a unit and a period. ``QUEUE`` is a busy service, ``FIRST_ANSWER`` the wait for the first answer,
    which announces the limits, and ``UNKNOWN`` what a refusal does not name.
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
        """Return the name in words."""
        return self.value

    @property
    def unit(self) -> str | None:
        """``requests`` or ``tokens``; ``None`` for what is not a window."""
        return self.value.split(" per ")[0] if " per " in self.value else None

    @property
    def period(self) -> str | None:
        """``second``, ``minute``, ``hour`` or ``day``; ``None`` for what is not a window."""
        return self.value.split(" per ")[1] if " per " in self.value else None

    @property
    def seconds(self) -> float:
        """The length of the period; 0.0 for what is not a window."""
        return {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}.get(self.period or "", 0.0)


class AnnouncedLimit(NamedTuple):
    """What one answer says of one limit; ``None`` where it does not say it.

    Attributes:
        name: the limit.
        limit: requests or tokens a period.
        remaining: what is left. It may be more than ``limit``: the service has been seen to announce the limit of uncached tokens
            and what is left of all tokens.
        reset: seconds until the limit is whole again.
    """

    name: Limit
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


@dataclass(frozen=True, slots=True)
class RateLimitSnapshot:
    """What the service last said of its limits: the ``x-ratelimit-*`` figures of one answer.

    ``snapshot["requests per minute"]`` is one of them, an ``AnnouncedLimit``. Limits belong to the account and the model, not to
    a connection.

    Attributes:
        windows: the limits that the answer announces.
        date: when the answer was sent, by the service's clock: Unix seconds.
    """

    windows: tuple[AnnouncedLimit, ...] = ()
    date: float | None = field(default=None, compare=False)

    def __bool__(self) -> bool:
        """Return whether the service announced anything at all."""
        return bool(self.windows)

    def __getitem__(self, name: Limit | str) -> AnnouncedLimit:
        """Return what is announced of a limit, all ``None`` where nothing is.

        Raises:
            ValueError: there is no such limit.
        """
        limit = Limit(name)
        return next((window for window in self.windows if window.name is limit), AnnouncedLimit(limit))

    @property
    def limit_requests_day(self) -> int | None:
        """Requests a day."""
        return self[Limit.REQUESTS_PER_DAY].limit

    @property
    def remaining_requests_day(self) -> int | None:
        """What is left of the requests of the day."""
        return self[Limit.REQUESTS_PER_DAY].remaining

    @property
    def reset_requests_day(self) -> float | None:
        """Seconds until the requests of the day are whole again."""
        return self[Limit.REQUESTS_PER_DAY].reset

    @property
    def limit_tokens_minute(self) -> int | None:
        """Tokens a minute."""
        return self[Limit.TOKENS_PER_MINUTE].limit

    @property
    def remaining_tokens_minute(self) -> int | None:
        """What is left of the tokens of the minute."""
        return self[Limit.TOKENS_PER_MINUTE].remaining

    @property
    def reset_tokens_minute(self) -> float | None:
        """Seconds until the tokens of the minute are whole again."""
        return self[Limit.TOKENS_PER_MINUTE].reset


class Load(NamedTuple):
    """How many calls a client has under way at this moment.

    Attributes:
        in_flight: calls that are not waiting for a slot or for a limit; the wait between two attempts counts as in flight.
        queued: calls that wait for a slot (``max_concurrency``) or for a rate limit.
    """

    in_flight: int
    queued: int


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """Why an attempt failed that was made again.

    Attributes:
        error: the exception's class.
        status_code: the status that the service answered with, ``None`` where it did not answer.
        limit: the limit that a 429 names.
        waited: seconds from the failure until the next attempt was sent, or until the call ended.
        request_id: the service's name for the request.
        at: seconds from the call's beginning to the failure.
    """

    error: str
    status_code: int | None = None
    limit: Limit | None = None
    waited: float = 0.0
    request_id: str | None = None
    at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call, from the moment that the user made it to its end. All times are seconds.

    Args:
        model: the model id that was asked, also where the request was refused before sending; for a list of models it is empty.
        outcome: ``answered``, ``failed``, or ``cancelled`` (left early, or interrupted).
        error: the exception's class where it failed.
        attempts: requests that were sent; 0 if the call ended before anything was sent.
        seconds: from the call's beginning to its end, all waits included.
        paced: of these, waiting for a rate limit before sending.
        backed_off: of these, waiting between attempts.
        ttft: from the last attempt's sending to the first event, ``None`` where none came or nothing was streamed.
        tokens_per_second: completion tokens over the time from the first event to the end; ``None`` where unknown.
        prompt_tokens: as the service counts them.
        completion_tokens: reasoning included.
        time_info: the service's own times: ``queue_time``, ``prompt_time``, ``completion_time``, ``total_time``; ``None`` where
            it does not announce them.
        estimated_cost_usd: US dollars at the catalogue's list price; ``None`` where no price or no usage is known.
        request_id: the service's name for the request.
        limits: what the service last said of the account's limits.
        operation: ``chat``, or ``list_models``.
        is_stream: whether a stream was asked for.
        address: where the request goes: scheme, host and port; ``local`` for ``base_url="local"``.
        started_at: when the call began: Unix seconds.
        run_id: LangChain's id of the run that made the call; ``None`` outside LangChain, and for ``stream`` and ``astream``, where
            LangChain does not pass it on.
        queued: of ``seconds``, waiting for a slot (``max_concurrency``).
        streamed: from the first event of a stream to its end; ``None`` where ``ttft`` is.
        chunks: network reads that brought a part of a streamed answer; 0 for one that was not streamed.
        chunk_times: seconds between each of these and the one before, for an observer with ``wants_chunk_times`` alone; otherwise
            empty.
        status_code: the status of the last answer: the HTTP status, or what an error event in a stream names; ``None`` where
            nothing was answered.
        limit: the limit that a ``RateLimitError`` names, also one that was raised before sending.
        retry_after: the seconds after which it says to come back.
        cached_tokens: of ``prompt_tokens``, those that the service had in its cache.
        reasoning_tokens: of ``completion_tokens``, those of the reasoning.
        finish_reasons: why the answer ended, one for each choice; empty where it did not end.
        response_model: the model that answered, as it names itself.
        response_id: the service's id of the answer.
        failures: why each attempt failed that was made again, in order.
        answer: the text of the first choice, for an observer with ``wants_messages`` alone; otherwise ``None``.
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
        """One line for a log."""
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
