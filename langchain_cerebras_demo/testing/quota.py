"""The limits of an account, as the service keeps them: announced on every answer, and refused at admission.

A token bucket that refills continuously. A request takes its estimated prompt and ``max_completion_tokens`` when it is let
in; what it did not use comes back when its answer is over (https://inference-docs.cerebras.ai/support/rate-limits).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_cerebras_demo.testing.models import prompt_tokens
from langchain_cerebras_demo.testing.refusals import REQUESTS_EXCEEDED, TOKENS_EXCEEDED, RefusedError, flat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_cerebras_demo.testing.http11 import ReceivedRequest
    from langchain_cerebras_demo.testing.models import LoopbackModel


DEFAULT_COMPLETION_TOKENS = 16_384  # what clients have measured where the request names no number
DAY_SECONDS = 86_400.0

DAY_EXCEEDED = flat(
    "Requests per day limit exceeded - too many requests sent.",
    "too_many_requests_error",
    "quota",
    "request_quota_exceeded",
)
"""A 429 for too many requests a day; not recorded, worded after that for a minute."""


def cost_of(body: Mapping[str, Any], model: LoopbackModel) -> int:
    """What a checked chat request takes at admission, in tokens."""
    most = body.get("max_completion_tokens")
    most = body.get("max_tokens") if most is None else most
    return prompt_tokens(body, model) + (DEFAULT_COMPLETION_TOKENS if most is None or most < 0 else most)


@dataclass
class Admission:
    """One request that was let in.

    Attributes:
        number: in the order of admission, from 1.
        time: when, on the quota's clock.
        cost: tokens taken.
        request: the request itself.
        used_tokens: of its answer's usage; 0 until the answer was made.
        is_over: the answer has gone, and what it did not use has come back.
    """

    number: int
    time: float
    cost: int
    request: ReceivedRequest | None = None
    used_tokens: int = 0
    is_over: bool = False


class Quota:
    """The limits of the one account that a loopback Cerebras serves; all its models share them.

    ``LoopbackCerebras(quota=Quota(tokens_minute=200_000))``. All members may be used from any thread.

    Args:
        tokens_minute: announced, and the capacity of the bucket.
        requests_minute: refused by and, as by the service, not announced; ``None`` = no such limit.
        requests_day: announced.
        level: how full the buckets of the minute are at first, from 0.0 to 1.0.
        requests_burst: how many requests may come at once; ``None`` = those of a minute.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        tokens_minute: int = 200_000,
        requests_minute: int | None = None,
        requests_day: int = 1_440_000,
        *,
        level: float = 1.0,
        requests_burst: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tokens_minute = tokens_minute
        self.requests_minute = requests_minute
        self.requests_day = requests_day
        self._most_requests = requests_burst or requests_minute or 0
        self._tokens = tokens_minute * level
        self._requests = self._most_requests * level
        self._today = 0
        self._clock = clock
        self._began = self._filled = clock()
        self._admissions: list[Admission] = []
        self._refusals: list[float] = []
        self._lock = threading.Lock()

    @property
    def admitted(self) -> int:
        """How many requests were let in."""
        with self._lock:
            return len(self._admissions)

    @property
    def refused(self) -> int:
        """How many requests got a 429."""
        with self._lock:
            return len(self._refusals)

    @property
    def used_tokens(self) -> int:
        """The tokens of all answers that were made."""
        with self._lock:
            return sum(admission.used_tokens for admission in self._admissions)

    @property
    def remaining_tokens(self) -> float:
        """What is in the bucket now."""
        with self._lock:
            self._refill()
            return self._tokens

    @property
    def admissions(self) -> list[Admission]:
        """Everything that was let in, in order; a copy of the list."""
        with self._lock:
            return list(self._admissions)

    @property
    def refusal_times(self) -> list[float]:
        """When a 429 was given, on the quota's clock; a copy."""
        with self._lock:
            return list(self._refusals)

    def admit(self, cost: int, request: ReceivedRequest | None = None) -> Admission:
        """Let a request in that takes ``cost`` tokens. Raises ``RefusedError`` with the service's 429, and takes nothing."""
        with self._lock:
            now = self._refill()
            problem = self._problem(cost)
            if problem is not None:
                self._refusals.append(now)
                raise RefusedError(429, problem)
            self._today += 1
            self._requests -= 1
            self._tokens -= cost
            admission = Admission(len(self._admissions) + 1, now, cost, request)
            self._admissions.append(admission)
            return admission

    def end(self, admission: Admission) -> None:
        """The answer is over: what it did not use comes back. Only the first time counts."""
        with self._lock:
            if not admission.is_over:
                admission.is_over = True
                self._refill()
                self._tokens = min(self.tokens_minute, self._tokens + max(0, admission.cost - admission.used_tokens))

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The six headers as they stand now. Resets count to the end of the day and of the minute, as in the documented example."""
        with self._lock:
            passed = self._refill() - self._began
            return (
                ("x-ratelimit-limit-requests-day", str(self.requests_day)),
                ("x-ratelimit-limit-tokens-minute", str(self.tokens_minute)),
                ("x-ratelimit-remaining-requests-day", str(max(0, self.requests_day - self._today))),
                ("x-ratelimit-remaining-tokens-minute", str(max(0, int(self._tokens)))),
                ("x-ratelimit-reset-requests-day", f"{DAY_SECONDS - passed % DAY_SECONDS:.6f}"),
                ("x-ratelimit-reset-tokens-minute", f"{60 - passed % 60:.6f}"),
            )

    def _problem(self, cost: int) -> dict[str, Any] | None:
        if self._today >= self.requests_day:
            return DAY_EXCEEDED
        if self.requests_minute is not None and self._requests < 1:
            return REQUESTS_EXCEEDED
        if self._tokens < min(cost, self.tokens_minute):
            return TOKENS_EXCEEDED
        return None

    def _refill(self) -> float:
        now = self._clock()
        passed = now - self._filled
        if (now - self._began) // DAY_SECONDS > (self._filled - self._began) // DAY_SECONDS:
            self._today = 0
        self._filled = now
        self._tokens = min(self.tokens_minute, self._tokens + passed * self.tokens_minute / 60)
        if self.requests_minute is not None:
            self._requests = min(self._most_requests, self._requests + passed * self.requests_minute / 60)
        return now
