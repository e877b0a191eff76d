"""When the next request may go, so that the account's limits are used and not run into.

One ``Pacer`` knows one account and model. It keeps

* what the user gave as numbers (``~langchain_cerebras_demo.policy.rate_limit.RateLimit``): plain buckets, evenly spent;
* the tokens a minute that the service announces (``~langchain_cerebras_demo.policy.sharing.SharedTokens``), which
  other processes spend as well;
* the requests a day that it announces;
* a rate of requests that is guessed (``~langchain_cerebras_demo.policy.guess.Guess``) where a 429 names a limit without a figure: the service announces no
  requests a minute (https://inference-docs.cerebras.ai/support/rate-limits).

Pure: the time comes in as ``now``, seconds of a clock of the caller's choice. A clock that jumps back stands still.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from langchain_cerebras_demo.policy.guess import Guess
from langchain_cerebras_demo.policy.rate_limit import (
    REQUESTS_A_DAY,
    REQUESTS_A_MINUTE,
    RETRY_AFTER,
    TOKENS_A_MINUTE,
    RateLimit,
)
from langchain_cerebras_demo.policy.retry import LONGEST_WISH
from langchain_cerebras_demo.policy.sharing import BLIND_SECONDS, Bucket, Reservation, SharedTokens
from langchain_cerebras_demo.records import RateLimitSnapshot

FIRST_ANSWER = "the first answer, which names the limits"

DAY_SECONDS = 86_400.0

# Of a number that was given, this part is spent: the service's clock and ours, and the way between, are not the same.
_GIVEN_SHARE = 0.975
# A given number's burst, in seconds of its rate: it makes up for a late wake-up; the service's own may be as small as 1 s.
_BURST_SECONDS = 0.5

# Where the wait is final, one request goes in so many seconds: headers may lie, and limits may be raised.
_LOOK_SECONDS = 60.0

_FIRST_LOOK_SECONDS = 0.25
_LONGEST_BACKOFF = 30.0
_LONGEST_JUMP = 1e9  # seconds between two looks at a clock; above it the clock is broken


class Wait(NamedTuple):
    """How long a request has to wait.

    Attributes:
        seconds: 0.0 = it may go now. An estimate: ask again when they are over, or when anything was heard.
        limit: which limit it waits for, ``""`` for none.
        is_final: the wait is too long to be waited for: raise, and say when to come back.
    """

    seconds: float
    limit: str = ""
    is_final: bool = False


_GO = Wait(0.0)


@dataclass(slots=True)
class _Day:
    """What the service said of the day: requests left, and until when."""

    left: float
    ends: float


class Pacer:
    """The state of one account and model. Not thread-safe: the limiter holds a lock around it.

    Args:
        given: the numbers that the user gave.
    """

    def __init__(self, given: RateLimit | None = None) -> None:
        self.snapshot: RateLimitSnapshot | None = None
        self._now: float | None = None
        self._clock = 0.0  # time that has passed; it never goes back
        self._given = _to_buckets(given or RateLimit())
        self._tokens: SharedTokens | None = None
        self._day: _Day | None = None
        self._guess: Guess | None = None
        self._gate = 0.0  # closed until then
        self._gate_number = 0  # the newest reservation when it was closed
        self._looked = 0.0  # when the last request went
        self._refusals = 0
        self._number = 0
        self._heard = 0  # the newest reservation whose answer has come
        self._blamed = 0  # the newest reservation when the pace was last cut
        self._began: float | None = None
        self._recent = 0.0  # requests of about the last minute
        self._unheard: deque[Reservation] = deque()  # young ones of which the service has said nothing
        self._unheard_count = 0
        self._unheard_cost = 0.0

    def wait(self, cost: float, now: float) -> Wait:
        """How long a request of ``cost`` tokens (estimated prompt and the most the answer may have) has to wait.

        A cost above the whole of a bucket may go when the bucket is full.
        """
        self._advance(now)
        seconds = self._gate - self._clock
        if seconds > 0 and not (seconds > LONGEST_WISH and self._clock - self._looked >= _LOOK_SECONDS):
            return Wait(seconds, RETRY_AFTER, seconds > LONGEST_WISH)
        waits = [self._day_wait(), self._given_wait(cost), self._first_wait(), self._token_wait(cost)]
        if self._guess is not None:
            waits.append(Wait(self._guess.time_until(), REQUESTS_A_MINUTE))
        return max(waits, key=lambda wait: (wait.is_final, wait.seconds))

    def take(self, cost: float, now: float) -> Reservation:
        """The request goes now: what it reserves, to be handed back to the other methods."""
        self._advance(now)
        self._number += 1
        reservation = Reservation(self._number, self._clock, cost)
        self._began = self._clock if self._began is None else self._began
        self._recent += 1
        for name, bucket in self._given:
            bucket.take(cost if name == TOKENS_A_MINUTE else 1.0)
        if self._tokens is not None:
            self._tokens.take(reservation)
        if self._guess is not None:
            self._guess.take()
        if self._day is not None:
            self._day.left -= 1
        self._looked = self._clock
        if self._tokens is not None or not self._heard:
            reservation.is_unheard = True
            self._unheard.append(reservation)
            self._unheard_count += 1
            self._unheard_cost += cost
        return reservation

    def observe(self, reservation: Reservation, snapshot: RateLimitSnapshot, now: float) -> None:
        """An answer has come, with these headers: ``remaining`` is what the service had left when it let the request in."""
        self._advance(now)
        self._learn(reservation, snapshot)
        if reservation.number > self._gate_number:
            self._gate = 0.0
        if reservation.number > self._blamed:
            self._refusals = 0

    def settle(self, reservation: Reservation, used_tokens: float, now: float) -> None:
        """The request is over and has used ``used_tokens``: the service gives the rest back. Only the first time counts."""
        self._advance(now)
        if reservation.is_settled:
            return
        reservation.is_settled = True
        unused = reservation.cost - min(max(0.0, used_tokens), reservation.cost)
        for name, bucket in self._given:
            if name == TOKENS_A_MINUTE:
                bucket.give_back(unused)
        if self._tokens is not None:
            self._tokens.settle(reservation, unused)
        self._hear(reservation)
        self._drop_heard()

    def refused(
        self,
        reservation: Reservation,
        limit: str,
        retry_after: float | None,
        now: float,
        snapshot: RateLimitSnapshot | None = None,
    ) -> None:
        """A 429 has come: the service has taken nothing. ``limit`` is what ``rate_limit.to_limit`` makes of it.

        Where the announced tokens explain it, they are corrected and the pace is cut; else a rate of requests is
        guessed, and without a ``retry_after`` all wait for a moment that doubles. What was sent before the last cut does
        not cut again.
        """
        self.settle(reservation, 0.0, now)
        if self._tokens is not None:
            self._tokens.forget(reservation)
        self._learn(reservation, snapshot or RateLimitSnapshot())
        is_news = reservation.number > self._blamed
        if is_news:
            self._blamed = self._number
            self._refusals += 1
        if retry_after is not None:
            self._close_gate(min(max(0.0, retry_after), DAY_SECONDS))
        if not is_news or (limit == REQUESTS_A_DAY and self._day is not None and self._day.left < 1):
            return
        if limit == TOKENS_A_MINUTE and self._tokens is not None and self._tokens.explains(reservation.cost):
            self._tokens.slow_down()
            return
        if self._guess is None:
            self._guess = Guess(self._recent)
        else:
            self._guess.refuse(in_a_row=self._refusals > 1)
        if retry_after is None:
            self._close_gate(min(_LONGEST_BACKOFF, 0.25 * 2.0 ** min(self._refusals, 16)))

    def _close_gate(self, seconds: float) -> None:
        self._gate = max(self._gate, self._clock + seconds)
        self._gate_number = self._number

    # -- time

    def _advance(self, now: float) -> None:
        passed = 0.0 if self._now is None else now - self._now
        self._now = now
        if not 0 < passed < _LONGEST_JUMP:  # back, or absurd: then no time has passed
            return
        self._clock += passed
        self._recent *= max(0.0, 1 - passed / 60)
        for _, bucket in self._given:
            bucket.advance(passed)
        if self._tokens is not None:
            self._tokens.advance(passed)
        if self._guess is not None:
            self._guess.advance(passed)
            if self._guess.is_worn_out:
                self._guess = None
        self._drop_heard()

    def _hear(self, reservation: Reservation) -> None:
        if reservation.is_unheard:
            reservation.is_unheard = False
            self._unheard_count -= 1
            self._unheard_cost -= reservation.cost

    def _drop_heard(self) -> None:
        """Forget, oldest first, what the service has seen by now: its answer or a later one's has come, or it is old."""
        seen = self._clock - BLIND_SECONDS
        while self._unheard:
            oldest = self._unheard[0]
            is_seen = bool(self._heard) and (oldest.number <= self._heard or oldest.clock <= seen)
            if oldest.is_unheard and not is_seen:
                return
            self._hear(self._unheard.popleft())

    # -- the limits, one by one

    def _given_wait(self, cost: float) -> Wait:
        longest = _GO
        for name, bucket in self._given:
            seconds = bucket.time_until(cost if name == TOKENS_A_MINUTE else 1.0)
            if seconds > longest.seconds:
                longest = Wait(seconds, name, name == REQUESTS_A_DAY and seconds > LONGEST_WISH)
        return longest

    def _first_wait(self) -> Wait:
        """Before anything was heard one request goes, twice as many a second later, after 3 s eight more each second.

        Answers may be slow, and on those that are not streamed the headers come with the end.
        """
        if self._heard or self._began is None or not self._unheard_count:
            return _GO
        passed = self._clock - self._began
        most = 2.0**passed if passed < 3 else 8.0 * (passed - 2)
        return _GO if self._unheard_count < most else Wait(_FIRST_LOOK_SECONDS, FIRST_ANSWER)

    def _token_wait(self, cost: float) -> Wait:
        if self._tokens is None:
            return _GO
        seconds = self._tokens.time_until(cost)
        if self._unheard_count and not self._tokens.trusts(cost + self._unheard_cost):
            seconds = max(seconds, self._unheard[0].clock + BLIND_SECONDS - self._clock)
        return Wait(seconds, TOKENS_A_MINUTE) if seconds > 0 else _GO

    def _day_wait(self) -> Wait:
        day = self._day
        if day is None or day.left >= 1 or self._clock - self._looked >= _LOOK_SECONDS:
            return _GO
        seconds = day.ends - self._clock
        return Wait(seconds, REQUESTS_A_DAY, seconds > LONGEST_WISH) if seconds > 0 else _GO

    def _learn(self, reservation: Reservation, snapshot: RateLimitSnapshot) -> None:
        if snapshot:
            self.snapshot = snapshot
        self._learn_tokens(reservation, snapshot)
        self._learn_day(reservation, snapshot)
        self._heard = max(self._heard, reservation.number)
        self._drop_heard()

    def _learn_tokens(self, reservation: Reservation, snapshot: RateLimitSnapshot) -> None:
        limit, remaining = snapshot.limit_tokens_minute, snapshot.remaining_tokens_minute
        if limit:
            if self._tokens is None:
                self._tokens = SharedTokens(limit)
                for sent in self._unheard:
                    self._tokens.take(sent)
            self._tokens.resize(limit)
        if self._tokens is not None and remaining is not None and reservation.number > self._heard:
            self._tokens.correct(reservation, remaining, self._clock - reservation.clock)

    def _learn_day(self, reservation: Reservation, snapshot: RateLimitSnapshot) -> None:
        left, reset = snapshot.remaining_requests_day, snapshot.reset_requests_day
        if not snapshot.limit_requests_day or left is None or reset is None:
            return
        if reservation.number > self._heard or left < 1:
            unseen = self._number - reservation.number
            self._day = _Day(left - unseen, self._clock + min(reset, DAY_SECONDS))


def _to_buckets(given: RateLimit) -> list[tuple[str, Bucket]]:
    buckets = []
    if given.requests_per_minute is not None:
        rate = given.requests_per_minute * _GIVEN_SHARE / 60
        buckets.append((REQUESTS_A_MINUTE, Bucket(max(1.0, rate * _BURST_SECONDS), rate)))
    if given.tokens_per_minute is not None:
        rate = given.tokens_per_minute * _GIVEN_SHARE / 60
        buckets.append((TOKENS_A_MINUTE, Bucket(given.tokens_per_minute / 2, rate)))
    if given.requests_per_day is not None:
        buckets.append((REQUESTS_A_DAY, Bucket(max(1.0, given.requests_per_day), given.requests_per_day / DAY_SECONDS)))
    return buckets
