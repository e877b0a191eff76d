"""What is known of a call and of an account: for metrics, the debug log and ``response_metadata``.

The names and units of the limits are those of Cerebras' rate-limit page: requests a day and tokens a minute, each with a limit,
what is left of it and the seconds until it is whole again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class RateLimitSnapshot:
    """What the service last said of its limits: the six ``x-ratelimit-*`` figures of one answer; ``None`` where the service did not send a usable one.

    Limits belong to the account and the model, not to a connection. Times are seconds from the answer, as a float.
    """

    limit_requests_day: int | None = None
    remaining_requests_day: int | None = None
    reset_requests_day: float | None = None
    limit_tokens_minute: int | None = None
    remaining_tokens_minute: int | None = None
    reset_tokens_minute: float | None = None

    def __bool__(self) -> bool:
        """Whether the service announced anything at all."""
        return self != RateLimitSnapshot()


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call, from its first attempt to its end. All times are seconds.

    Args:
        model: the model id that was asked.
        outcome: ``answered``, ``failed``, or ``cancelled`` (left early, or interrupted).
        error: the exception's class where it failed.
        attempts: requests that were sent.
        seconds: from the call's beginning to its end, waits included.
        paced: of these, waiting for a rate limit before sending.
        backed_off: of these, waiting between attempts.
        ttft: from the last attempt's sending to the first event, ``None`` where none came or nothing was streamed.
        tokens_per_second: completion tokens over the time from the first event to the end; ``None`` where unknown.
        prompt_tokens: as the service counts them.
        completion_tokens: reasoning included.
        time_info: the server's own times as it tells them; ``None`` where it does not.
        estimated_cost_usd: US dollars at the catalogue's list price; ``None`` where no price or no usage is known.
        request_id: the service's name for the request.
        limits: what the service last said of the account's limits.
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

    def __str__(self) -> str:
        """One line for a log."""
        facts = [
            f"{self.outcome}{f' ({self.error})' if self.error else ''} in {self.seconds:.3f} s",
            f"{self.attempts} attempt{'s' if self.attempts > 1 else ''}",
            f"first event after {self.ttft:.3f} s" if self.ttft is not None else "",
            f"{self.prompt_tokens}+{self.completion_tokens} tokens" if self.prompt_tokens is not None else "",
            f"{self.tokens_per_second:.0f} tokens/s" if self.tokens_per_second is not None else "",
            f"paced {self.paced:.1f} s" if self.paced >= 0.1 else "",
            f"backed off {self.backed_off:.1f} s" if self.backed_off else "",
            self.request_id or "",
        ]
        return f"{self.model}: {', '.join(filter(None, facts))}"
