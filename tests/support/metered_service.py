"""Cerebras as its users describe it, in virtual time, behind a transport: what it counts, announces and refuses.

Nobody outside knows whether the windows are buckets that refill, with the estimate reserved at admission (its documentation), or
counters that begin anew with the UTC minute, hour and day and count what was used (its answers of 2025). Both are here.
"""

from __future__ import annotations

import asyncio
import collections
import json
import math
import random
from dataclasses import dataclass, field
from email.utils import formatdate

from tests.support.scripted import json_answer

SECONDS = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0}
FREE = {
    "requests": {"minute": 5, "hour": 150, "day": 2_400},
    "tokens": {"minute": 30_000, "hour": 1_000_000, "day": 1_000_000},
}
PAID = {
    "requests": {"minute": 450, "hour": 27_000, "day": 648_000},
    "tokens": {"minute": 150_000, "hour": 9_000_000, "day": 216_000_000},
}
TEN_O_CLOCK = 10 * 3600.0 + 12.0
"""Seconds into a UTC day: twelve seconds past ten."""


@dataclass
class MeteredService:
    """An account of the service; it satisfies ``Transport``.

    Args:
        limits: the account's, by unit and period.
        is_bucket: which of the two truths holds.
        names_wait: whether a refusal has a ``retry-after``.
        start: the time of day at the loop's 0 seconds.
        used: what was used before, by unit and period.
        older_form: six headers with resets, as in 2025.
        tells_date: whether an answer has a ``date``.
        latency: of an answer, in seconds.
    """

    limits: dict
    is_bucket: bool = True
    names_wait: bool = False
    start: float = TEN_O_CLOCK
    used: dict = field(default_factory=dict)
    older_form: bool = False
    tells_date: bool = False
    latency: tuple = (0.3, 1.2)
    prompt_tokens: int = 60
    answer_tokens: int = 100
    seed: int = 1

    def __post_init__(self):
        self.chance = random.Random(self.seed)
        self.left = {(unit, period): float(n) for unit, ns in self.limits.items() for period, n in ns.items()}
        for window, amount in self.used.items():
            self.left[window] -= amount
        self.seen = dict.fromkeys(self.left, self.start)
        self.admitted, self.refused = [], []
        self.refusals = collections.Counter()

    def now(self):
        """The time of day."""
        return self.start + asyncio.get_running_loop().time()

    def refill(self):
        now = self.now()
        for (unit, period), left in self.left.items():
            limit, seconds, then = self.limits[unit][period], SECONDS[period], self.seen[unit, period]
            if self.is_bucket:
                self.left[unit, period] = min(limit, left + (now - then) * limit / seconds)
            elif now // seconds > then // seconds:
                self.left[unit, period] = limit
            self.seen[unit, period] = now

    def headers(self):
        announced = {}
        for (unit, period), left in self.left.items():
            if self.older_form and (unit, period) not in {("requests", "day"), ("tokens", "minute")}:
                continue
            announced[f"x-ratelimit-limit-{unit}-{period}"] = str(self.limits[unit][period])
            announced[f"x-ratelimit-remaining-{unit}-{period}"] = str(max(0, int(left)))
            if self.older_form:
                announced[f"x-ratelimit-reset-{unit}-{period}"] = str(SECONDS[period] - self.now() % SECONDS[period])
        if self.tells_date:
            announced["date"] = formatdate(self.now(), usegmt=True)
        return announced

    def short_of(self, cost):
        """The first window that has too little left."""
        for period in SECONDS:
            for unit, need in (("requests", 1), ("tokens", cost)):
                if self.left[unit, period] < need:
                    return unit, period, need
        return None

    def refuse(self, unit, period, need):
        self.refused.append(asyncio.get_running_loop().time())
        self.refusals[unit, period] += 1
        seconds, limit = SECONDS[period], self.limits[unit][period]
        wait = (need - self.left[unit, period]) * seconds / limit if self.is_bucket else seconds - self.now() % seconds
        what = "too many requests sent" if unit == "requests" else "too many tokens processed"
        body = {
            "message": f"{unit.title()} per {period} limit exceeded - {what}.",
            "type": f"too_many_{unit}_error",
            "param": "quota",
            "code": f"{unit[:-1]}_quota_exceeded",
        }
        return json_answer(body, 429, **({"retry_after": str(math.ceil(wait))} if self.names_wait else {}))

    async def send(self, request):
        """Let a request in, or refuse it."""
        body = json.loads(request.body)
        await asyncio.sleep(0.02)
        self.refill()
        most = body.get("max_completion_tokens")
        cost = self.prompt_tokens + min(16_384, most or 16_384)
        short = self.short_of(cost)
        if short:
            return self.refuse(*short)
        used = self.prompt_tokens + min(self.answer_tokens, most or 10**9)
        for period in SECONDS:
            self.left["requests", period] -= 1
            if self.is_bucket:
                self.left["tokens", period] -= cost
        self.admitted.append(asyncio.get_running_loop().time())
        headers = self.headers()
        await asyncio.sleep(self.chance.uniform(*self.latency))
        self.refill()
        for period in SECONDS:
            if self.is_bucket:
                left = self.left["tokens", period] + cost - used
                self.left["tokens", period] = min(self.limits["tokens"][period], left)
            else:
                self.left["tokens", period] -= used
        answer = json_answer(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}],
                "usage": {
                    "prompt_tokens": self.prompt_tokens,
                    "completion_tokens": used - self.prompt_tokens,
                    "total_tokens": used,
                },
            }
        )
        answer.headers = {**answer.headers, **headers}
        return answer
