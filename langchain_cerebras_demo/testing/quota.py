"""The rate limits of an account: announced with its answers, and enforced when a request arrives.

It is not known which of two rules the service follows, so both are supported. A bucket refills continuously; a request
reserves its estimated prompt and ``max_completion_tokens`` when it is accepted, and unused tokens are released when its answer
ends (https://inference-docs.cerebras.ai/support/rate-limits). A calendar's window resets with the UTC minute, hour and day, and
counts the tokens used when an answer ends, as the answers of 2025 show.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_cerebras_demo.testing.models import prompt_tokens
from langchain_cerebras_demo.testing.refusals import RefusedError, quota_exceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_cerebras_demo.testing.http11 import ReceivedRequest
    from langchain_cerebras_demo.testing.models import LoopbackModel


DEFAULT_COMPLETION_TOKENS = 16_384  # as clients have measured for requests without a limit
SECONDS = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0}


def cost_of(body: Mapping[str, Any], model: LoopbackModel) -> int:
    """Return the tokens that a checked chat request reserves."""
    most = body.get("max_completion_tokens")
    most = body.get("max_tokens") if most is None else most
    return prompt_tokens(body, model) + (DEFAULT_COMPLETION_TOKENS if most is None or most < 0 else most)


@dataclass
class Admission:
    """One request that was accepted.

    Attributes:
        number: its number in the order of acceptance, from 1.
        time: when it was accepted, on the quota's clock.
        cost: the tokens reserved.
        request: the request itself.
        used_tokens: the tokens of its answer's usage; 0 until the answer was made.
        is_over: whether the answer has ended, and its unused tokens have been released.
    """

    number: int
    time: float
    cost: int
    request: ReceivedRequest | None = None
    used_tokens: int = 0
    is_over: bool = False


class Quota:
    """The limits of the one account that a loopback Cerebras serves; all its models share them.

    ``LoopbackCerebras(quota=Quota(tokens_minute=200_000))``. All members may be used from any thread. Limits that are ``None`` do
    not exist; all others are announced.

    Args:
        tokens_minute: tokens per minute.
        requests_minute: requests per minute.
        requests_day: requests per day.
        requests_hour: requests per hour.
        tokens_hour: tokens per hour.
        tokens_day: tokens per day.
        level: how full the windows of the minute are at the start, from 0.0 to 1.0.
        requests_burst: how many requests may arrive at once, refilled at the rate of ``requests_minute``: a limit per second,
            which is not announced.
        is_calendar: whether windows reset with the UTC minute, hour and day; otherwise, they are buckets.
        older_form: whether the headers are those of 2025: requests per day and tokens per minute, with resets.
        clock: returns the time in Unix seconds.
    """

    def __init__(
        self,
        tokens_minute: int = 200_000,
        requests_minute: int | None = None,
        requests_day: int = 1_440_000,
        *,
        requests_hour: int | None = None,
        tokens_hour: int | None = None,
        tokens_day: int | None = None,
        level: float = 1.0,
        requests_burst: int | None = None,
        is_calendar: bool = False,
        older_form: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tokens_minute = tokens_minute
        self.requests_minute = requests_minute
        self.requests_day = requests_day
        named = {
            ("requests", "minute"): requests_minute,
            ("requests", "hour"): requests_hour,
            ("requests", "day"): requests_day,
            ("tokens", "minute"): tokens_minute,
            ("tokens", "hour"): tokens_hour,
            ("tokens", "day"): tokens_day,
        }
        self._limits = {window: limit for window, limit in named.items() if limit is not None}
        self._left = {
            window: limit * (level if window[1] == "minute" else 1.0) for window, limit in self._limits.items()
        }
        self._most_at_once = requests_burst
        self._at_once = (requests_burst or 0) * level
        self._is_calendar = is_calendar
        self._older_form = older_form
        self._clock = clock
        self._filled = clock()
        self._admissions: list[Admission] = []
        self._refusals: list[float] = []
        self._lock = threading.Lock()

    @property
    def admitted(self) -> int:
        """The number of accepted requests."""
        with self._lock:
            return len(self._admissions)

    @property
    def refused(self) -> int:
        """The number of requests that got a 429."""
        with self._lock:
            return len(self._refusals)

    @property
    def used_tokens(self) -> int:
        """The tokens of all answers that were made."""
        with self._lock:
            return sum(admission.used_tokens for admission in self._admissions)

    @property
    def remaining_tokens(self) -> float:
        """The tokens of the minute that are left now."""
        with self._lock:
            self._refill()
            return self._left["tokens", "minute"]

    @property
    def admissions(self) -> list[Admission]:
        """The accepted requests in order; a copy of the list."""
        with self._lock:
            return list(self._admissions)

    @property
    def refusal_times(self) -> list[float]:
        """The times of the 429s, on the quota's clock; a copy of the list."""
        with self._lock:
            return list(self._refusals)

    def admit(self, cost: int, request: ReceivedRequest | None = None) -> Admission:
        """Accept a request and reserve ``cost`` tokens. Raises ``RefusedError`` with the service's 429, and reserves nothing."""
        with self._lock:
            now = self._refill()
            problem = self._problem(cost)
            if problem is not None:
                self._refusals.append(now)
                raise RefusedError(429, problem)
            for window in self._left:
                if window[0] == "requests":
                    self._left[window] -= 1
                elif not self._is_calendar:
                    self._left[window] -= cost
            self._at_once -= 1
            admission = Admission(len(self._admissions) + 1, now, cost, request)
            self._admissions.append(admission)
            return admission

    def end(self, admission: Admission) -> None:
        """End a request: a bucket releases unused tokens, a calendar counts used ones. Only the first call counts."""
        with self._lock:
            if admission.is_over:
                return
            admission.is_over = True
            self._refill()
            change = -admission.used_tokens if self._is_calendar else max(0, admission.cost - admission.used_tokens)
            for window, limit in self._limits.items():
                if window[0] == "tokens":
                    self._left[window] = min(limit, self._left[window] + change)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers of an answer: limit and remainder of each window; in the older form, of two, with resets."""
        older = {("requests", "day"), ("tokens", "minute")}
        with self._lock:
            now = self._refill()
            found = []
            for (unit, period), limit in self._limits.items():
                if self._older_form and (unit, period) not in older:
                    continue
                left = max(0, int(self._left[unit, period]))
                found += [
                    (f"x-ratelimit-limit-{unit}-{period}", str(limit)),
                    (f"x-ratelimit-remaining-{unit}-{period}", str(left)),
                ]
                if self._older_form:
                    reset = SECONDS[period] - now % SECONDS[period]
                    found.append((f"x-ratelimit-reset-{unit}-{period}", f"{reset:.6f}"))
            return tuple(found)

    def _problem(self, cost: int) -> dict[str, Any] | None:
        if self._most_at_once is not None and self._at_once < 1:
            return quota_exceeded("requests", "second")
        for (unit, period), left in self._left.items():
            if left < (1 if unit == "requests" else min(cost, self._limits[unit, period])):
                return quota_exceeded(unit, period)
        return None

    def _refill(self) -> float:
        before, now = self._filled, self._clock()
        passed, self._filled = max(0.0, now - before), now
        for window, limit in self._limits.items():
            seconds = SECONDS[window[1]]
            if not self._is_calendar:
                self._left[window] = min(limit, self._left[window] + passed * limit / seconds)
            elif now // seconds > before // seconds:
                self._left[window] = limit
        if self._most_at_once is not None and self.requests_minute is not None:
            self._at_once = min(self._most_at_once, self._at_once + passed * self.requests_minute / 60)
        return now
