"""The limits there are: as users give them, and as a refusal names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from langchain_cerebras_demo.errors import RateLimitError

TOKENS_A_MINUTE = "tokens a minute"
REQUESTS_A_MINUTE = "requests a minute"
REQUESTS_A_DAY = "requests a day"
RETRY_AFTER = "retry-after"
QUEUE = "the service's queue"
UNKNOWN = "an unnamed limit"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limits that the user gives, on top of those the service announces; ``None`` where there is none.

    ``RateLimit()`` is ``rate_limit="auto"``: what the service announces, and nothing else.

    Args:
        requests_per_minute: evenly spent: the service does not announce this one.
        tokens_per_minute: of prompt and answer together.
        requests_per_day: of the last 24 hours.

    Raises:
        TypeError, ValueError: a limit that is no positive, finite number; the message names it.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    requests_per_day: float | None = None

    def __post_init__(self) -> None:
        for limit in fields(self):
            _check(f"rate_limit.{limit.name}", getattr(self, limit.name))

    @classmethod
    def from_value(cls, value: RateLimit | str | Mapping[str, Any] | None) -> RateLimit | None:
        """A ``RateLimit`` from what users give: one, ``"auto"``, a mapping of its fields; ``None`` is no pacing at all.

        Raises:
            TypeError, ValueError: anything else; the message names it.
        """
        if value is None or isinstance(value, RateLimit):
            return value
        if value == "auto":
            return cls()
        names = [limit.name for limit in fields(cls)]
        if not isinstance(value, Mapping):
            raise TypeError(f'rate_limit={value!r}: give "auto", None, a RateLimit or a mapping of {", ".join(names)}')
        for name in value:
            if name not in names:
                raise ValueError(f"rate_limit[{name!r}] is no limit: the limits are {', '.join(names)}")
        return cls(**value)


def _check(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is no number: give a positive number, or None for no limit")
    if not 0 < value <= 1e15:  # neither NaN nor an int that is no float
        raise ValueError(f"{name}={value!r}: give a positive, finite number, or None for no limit")


def to_limit(error: RateLimitError) -> str:
    """Which limit a 429 names, as one of this module's names.

    "Requests per minute limit exceeded - …" and "Tokens per minute limit exceeded - …" are the recorded messages; the
    codes ``request_quota_exceeded`` and ``token_quota_exceeded`` do not say of what time. A busy service
    (``queue_exceeded``) has a limit of its own.
    """
    words = str(error).lower()
    if error.code == "queue_exceeded" or "high traffic" in words:
        return QUEUE
    if "per day" in words:
        return REQUESTS_A_DAY if "requests" in words else UNKNOWN
    if "per hour" in words:
        return UNKNOWN
    if error.code == "token_quota_exceeded" or "tokens per minute" in words:
        return TOKENS_A_MINUTE
    if error.code == "request_quota_exceeded" or "requests per minute" in words:
        return REQUESTS_A_MINUTE
    return UNKNOWN
