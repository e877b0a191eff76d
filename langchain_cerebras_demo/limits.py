"""What the service last said of its rate limits, as a frozen record.

The header names and units are those of Cerebras' rate-limit page: requests a day and tokens a minute, each with a
limit, what is left of it and the seconds until it is whole again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimitSnapshot:
    """The six ``x-ratelimit-*`` figures of one answer; ``None`` where the service did not send a usable one.

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
