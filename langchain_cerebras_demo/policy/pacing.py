"""Decides when the next request may be sent, so that the account's limits are used fully but not exceeded.

A ``Pacer`` belongs to one account and model. It asks each of its limits (``policy.limits``) how long a request has to wait, and
the longest wait counts.

Time is an argument, ``now``: seconds of any clock. If the clock jumps back, no time passes.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from langchain_cerebras_demo.errors import LONGEST_WAIT
from langchain_cerebras_demo.policy.limits import (
    BLIND_SECONDS,
    AnnouncedWindow,
    Gate,
    GivenWindow,
    NamedRate,
    RateLimit,
    Reservation,
)
from langchain_cerebras_demo.records import AnnouncedLimit, Limit, RateLimitSnapshot

_DAY_SECONDS = 86_400.0
_LONGEST_JUMP = 1e9  # seconds between two looks at a clock; above it the clock is broken

# Before the first answer, one more request is sent in this interval, because answers that are not streamed arrive late.
_FIRST_SECONDS = 2.0
_FIRST_LOOK_SECONDS = 0.25

# The ``date`` of an answer has whole seconds and is some time old when it arrives: a smaller difference is ignored.
_DATE_SECONDS = 2.0

_LOOK_SECONDS = 1.0
_LEAST_SECONDS = 1e-4  # a shorter wait, left by rounding errors, would not end


class Wait(NamedTuple):
    """How long a request has to wait.

    Attributes:
        seconds: 0.0 if it may be sent now. It is an estimate: ask again after that time, or when an answer arrives.
        limit: the limit that it waits for, or ``None``.
        is_final: whether the wait is too long, so that an error has to be raised that says when to try again.
    """

    seconds: float
    limit: Limit | None = None
    is_final: bool = False


_GO = Wait(0.0)


class Pacer:
    """The limits of one account and model. Not thread-safe: the limiter holds a lock around it.

    Args:
        given: the numbers that the user gave.
        utc: the Unix time now, for the service's calendar; the ``date`` of answers corrects it.
    """

    def __init__(self, given: RateLimit | None = None, utc: float = 0.0) -> None:
        self.snapshot: RateLimitSnapshot | None = None
        self._now: float | None = None
        self._clock = 0.0  # the time that has passed; it never goes back
        self._epoch = utc  # the service's Unix time when the clock was 0
        self._is_dated = False
        self._given = [GivenWindow(name, number) for name, number in (given or RateLimit()).numbers().items()]
        self._announced: dict[Limit, AnnouncedWindow] = {}
        self._uncached: dict[Limit, AnnouncedWindow] = {}
        self._windows: list[AnnouncedWindow] = []  # both of these
        self._rates: dict[Limit, NamedRate] = {}
        self._gate = Gate()
        self._refusals = 0
        self._number = 0
        self._heard = 0  # the newest reservation whose answer has come
        self._blamed = 0  # the newest reservation when a refusal last counted
        self._began: float | None = None
        self._recent = 0.0  # requests of about the last minute
        self._sent = 0.0  # requests, without those that were refused
        self._spent = 0.0  # tokens, without those that came back
        self._reserved = 0.0  # tokens of requests that are not over
        self._usage = 1.0  # the part of its reservation that a request uses in the end, smoothed
        self._unheard: deque[Reservation] = deque()  # recent ones without an answer to them or to a later one
        self._unheard_count = 0
        self._unheard_cost = 0.0

    def wait(self, cost: float, now: float) -> Wait:
        """Return how long a request has to wait.

        Args:
            cost: the estimated prompt and the longest possible answer, in tokens. More than a whole window may be sent if the
                window is full.
            now: the current time.
        """
        self._advance(now)
        clock = self._clock
        seconds = self._gate.wait(clock)
        if seconds > 0:
            return Wait(max(_LEAST_SECONDS, seconds), self._gate.name, seconds > LONGEST_WAIT)
        longest = self._first_wait()
        unheard, unheard_cost = self._unheard_count, self._unheard_cost
        for window in self._windows:
            amount, blind = (cost, unheard_cost) if window.is_tokens else (1.0, unheard)
            seconds = window.wait(amount, clock, blind)
            if unheard and not window.trusts((amount + blind) * self._usage if window.is_tokens else amount + blind):
                seconds = max(seconds, self._unheard[0].clock + BLIND_SECONDS - clock)
            if seconds > 0:
                longest = _longer(longest, self._to_wait(window, amount, seconds))
        for given in self._given:
            seconds = given.wait(cost if given.is_tokens else 1.0, clock)
            if seconds > 0:
                longest = _longer(longest, Wait(seconds, given.name, given.period > 3600 and seconds > LONGEST_WAIT))
        for rate in self._rates.values():
            longest = _longer(longest, Wait(rate.wait(clock), rate.name))
        return (
            longest
            if longest.seconds == 0 or longest.seconds >= _LEAST_SECONDS
            else longest._replace(seconds=_LEAST_SECONDS)
        )

    def left_today(self, now: float) -> int | None:
        """Return how many requests the day has left; ``None`` if there is no daily limit, or a new day is near."""
        self._advance(now)
        counts = [
            int(window.level)
            for window in self._windows
            if window.name is Limit.REQUESTS_PER_DAY
            and not window.is_refilling
            and window.seconds_left(self._clock) > LONGEST_WAIT
        ]
        counts += [int(given.left(self._clock)) for given in self._given if given.name is Limit.REQUESTS_PER_DAY]
        return max(0, min(counts)) if counts else None

    def day_ends_in(self, now: float) -> float:
        """Return the seconds until the daily limit of requests is restored."""
        self._advance(now)
        ends = [window.seconds_left(self._clock) for window in self._windows if window.name is Limit.REQUESTS_PER_DAY]
        given = [
            window.wait(window.number, self._clock) for window in self._given if window.name is Limit.REQUESTS_PER_DAY
        ]
        return max(ends + given, default=0.0)

    def take(self, cost: float, now: float) -> Reservation:
        """Count a request that is sent now; return its reservation, which the other methods need."""
        self._advance(now)
        clock = self._clock
        self._number += 1
        self._began = clock if self._began is None else self._began
        self._recent += 1
        self._sent += 1
        self._spent += cost
        self._reserved += cost
        reservation = Reservation(
            self._number,
            clock,
            cost,
            self._sent,
            self._spent,
            self._reserved,
            self._unheard_count,
            cost * self._usage,
        )
        for window in self._windows:
            if window.is_tokens:
                window.take(cost, reservation.charge)
            else:
                window.take(1.0, 1.0)
        for given in self._given:
            given.take(cost if given.is_tokens else 1.0, clock)
        for rate in self._rates.values():
            rate.take()
        self._gate.take(clock)
        if self._windows or not self._heard:
            reservation.is_unheard = True
            self._unheard.append(reservation)
            self._unheard_count += 1
            self._unheard_cost += cost
        return reservation

    def observe(self, reservation: Reservation, snapshot: RateLimitSnapshot, now: float) -> None:
        """Learn from the headers of an answer: ``remaining`` is the remainder when the service accepted the request."""
        self._advance(now)
        self._learn(reservation, snapshot)
        self._arrive(reservation, is_answer=True)
        if reservation.number > self._blamed:
            self._refusals = 0

    def settle(self, reservation: Reservation, used_tokens: float, now: float, cached_tokens: float = 0.0) -> None:
        """Count what a request has used instead of its estimated cost: the service releases the rest. Only the first call counts.

        Args:
            reservation: the request's reservation.
            used_tokens: the tokens of its usage, including the prompt's.
            now: the current time.
            cached_tokens: those of ``used_tokens`` that the service had in its cache. They count only against a limit of all
                tokens, and are released in a separate limit of uncached tokens.
        """
        self._advance(now)
        if reservation.is_settled:
            return
        reservation.is_settled = True
        cost = reservation.cost
        used = max(0.0, used_tokens)  # more than the cost if the estimate was too low
        unused = cost - used
        cached = min(max(0.0, cached_tokens), used)
        self._spent -= unused
        self._reserved -= cost
        for window in self._windows:
            if window.is_tokens:
                fresh = used - cached if window.is_blind else used
                window.give_back(cost - fresh, reservation.charge - fresh)
        for given in self._given:
            if given.is_tokens:
                given.give_back(unused, reservation.clock)
        if used > 0 and cost > 0:
            self._usage += (max(0.01, min(1.0, used / cost)) - self._usage) * 0.1
        self._arrive(reservation, is_answer=False)
        self._hear(reservation)
        self._drop_heard()

    def refused(
        self,
        reservation: Reservation,
        limit: Limit,
        retry_after: float | None,
        now: float,
        snapshot: RateLimitSnapshot | None = None,
        *,
        is_uncached: bool = False,
    ) -> None:
        """Learn from a 429, for which the service has reserved nothing.

        A ``retry_after`` stops all requests for that time. Without one, an announced window counts as used up; a rate that is not
        announced is estimated; anything else stops all requests for a moment that doubles, with a slow start after it. Refusals
        of requests that were sent before the last refusal that counted do not count again.

        Args:
            reservation: the request's reservation.
            limit: the limit that the refusal names.
            retry_after: the seconds that it names.
            now: the current time.
            snapshot: the limits that it reports.
            is_uncached: whether it names uncached tokens, which the service then counts separately.
        """
        in_flight = self._unheard_count
        self.settle(reservation, 0.0, now)
        self._sent -= 1
        reservation.sent -= 1
        reservation.spent -= reservation.cost
        reservation.in_flight -= reservation.cost
        for window in self._windows:  # not for given numbers, which count all requests sent
            if not window.is_tokens:
                window.give_back(1.0, 0.0)
        self._learn(reservation, snapshot or RateLimitSnapshot())
        if is_uncached and limit in self._announced and limit not in self._uncached:
            self._uncached[limit] = self._add(limit, self._announced[limit].limit, is_blind=True)
        is_news = reservation.number > self._blamed
        if is_news:
            self._blamed = self._number
            self._refusals += 1
        windows = [window for window in self._windows if window.name is limit and (window.is_blind or not is_uncached)]
        is_contradicted = (
            is_news and retry_after is None and any(window.level > 0.5 * window.limit for window in windows)
        )
        if windows:
            is_explained = snapshot is not None and snapshot[limit].remaining is not None
            self._use_up(windows, reservation, retry_after, is_news=is_news, is_explained=is_explained)
        if (is_contradicted if windows else is_news) and limit in {
            Limit.REQUESTS_PER_SECOND,
            Limit.REQUESTS_PER_MINUTE,
        }:
            self._guess(limit, retry_after)  # it is not announced, or lower than announced
        if retry_after is not None:
            width = None if windows else max(1.0, in_flight)
            self._close(limit, min(max(0.0, retry_after), _DAY_SECONDS), width)
        elif is_news and not windows:
            self._close(limit, self._pause(limit), None if limit in self._rates else 1.0)

    def _pause(self, limit: Limit) -> float | None:
        """Return the pause for a limit of which only the name is known; ``None`` for a moment that doubles.

        A daily limit ends with the day. A second refusal by a limit per minute or hour, before any limit was announced, pauses for
        the rest of the minute, because the retries would be used up within seconds.
        """
        if limit.period == "day":
            return self._ends_at(_DAY_SECONDS) - self._clock
        if limit.period in {"minute", "hour"} and self._refusals > 1 and not self._windows:
            return self._ends_at(60.0) - self._clock
        return None

    def _use_up(
        self,
        windows: list[AnnouncedWindow],
        reservation: Reservation,
        retry_after: float | None,
        *,
        is_news: bool,
        is_explained: bool,
    ) -> None:
        """Mark the windows that a refusal names as used up, unless it reports their remainder itself."""
        for window in windows:
            amount = reservation.cost if window.is_tokens else 1.0
            if retry_after is not None:
                window.ease(amount)
            elif is_news and not (is_explained and window.level < amount):
                window.refuse(amount, self._clock)
            if is_news:
                window.slow_down()

    def _guess(self, limit: Limit, retry_after: float | None) -> None:
        """Start to find the rate by trial, unless the refusal of a limit per minute says how long to wait."""
        if limit in self._rates:
            self._rates[limit].refuse(self._clock, in_a_row=self._refusals > 1)
        elif retry_after is None or limit is Limit.REQUESTS_PER_SECOND:
            self._rates[limit] = NamedRate(limit, self._recent, self._clock)

    def _close(self, limit: Limit, seconds: float | None, width: float | None) -> None:
        self._gate.close(limit, seconds, width, self._clock, self._number)

    # -- time

    def _advance(self, now: float) -> None:
        passed = 0.0 if self._now is None else now - self._now
        self._now = now
        if not 0 < passed < _LONGEST_JUMP:  # the clock jumped: no time has passed
            return
        self._clock += passed
        self._recent *= max(0.0, 1 - passed / 60)
        if self._rates:
            self._rates = {name: rate for name, rate in self._rates.items() if not rate.is_worn_out}
        if self._unheard:
            self._drop_heard()

    def _ends_at(self, period: float) -> float:
        """Return when the calendar's current period ends."""
        return self._clock + period - (self._clock + self._epoch) % period

    def _learn_date(self, date: float) -> None:
        """Set the service's clock by the ``date`` of an answer, which is already some time old."""
        epoch = date - self._clock
        if self._is_dated and self._epoch - _DATE_SECONDS < epoch <= self._epoch:
            return
        is_far = not self._is_dated or abs(epoch - self._epoch) > 0.05
        self._epoch, self._is_dated = epoch, True
        if is_far:
            for window in self._windows:
                window.end_at(self._ends_at(window.period))

    # -- what is on its way

    def _arrive(self, reservation: Reservation, *, is_answer: bool) -> None:
        if reservation.is_in_flight:
            reservation.is_in_flight = False
            self._gate.hear(reservation.number, is_answer=is_answer)

    def _hear(self, reservation: Reservation) -> None:
        if reservation.is_unheard:
            reservation.is_unheard = False
            self._unheard_count -= 1
            self._unheard_cost -= reservation.cost

    def _drop_heard(self) -> None:
        """Forget, oldest first, requests that the service has seen: an answer to them or to a later one has come, or they are old."""
        seen = self._clock - BLIND_SECONDS
        while self._unheard:
            oldest = self._unheard[0]
            is_seen = bool(self._heard) and (oldest.number <= self._heard or oldest.clock <= seen)
            if oldest.is_unheard and not is_seen:
                return
            self._hear(self._unheard.popleft())

    def _first_wait(self) -> Wait:
        """Return the wait before the first answer: one request is sent, and one more every two seconds."""
        if self._heard or self._began is None or not self._unheard_count:
            return _GO
        most = 1 + (self._clock - self._began) // _FIRST_SECONDS
        return _GO if self._unheard_count < most else Wait(_FIRST_LOOK_SECONDS, Limit.FIRST_ANSWER)

    def _to_wait(self, window: AnnouncedWindow, amount: float, seconds: float) -> Wait:
        """Return the wait. A used-up daily limit is final, unless running requests may release enough tokens."""
        is_final = window.period > 3600 and seconds > LONGEST_WAIT
        if is_final and window.is_tokens and window.level + self._reserved >= amount:
            return Wait(_LOOK_SECONDS, window.name)
        return Wait(seconds, window.name, is_final)

    # -- what answers report

    def _learn(self, reservation: Reservation, snapshot: RateLimitSnapshot) -> None:
        if snapshot:
            self.snapshot = snapshot
        if snapshot.date is not None:
            self._learn_date(snapshot.date)
        is_newest = reservation.number > self._heard
        for announced in snapshot.windows:
            self._learn_window(reservation, announced, is_newest)
        if is_newest:
            self._heard = reservation.number
        if self._unheard:
            self._drop_heard()

    def _learn_window(self, reservation: Reservation, announced: AnnouncedLimit, is_newest: bool) -> None:
        name, limit, remaining, reset = announced
        window = self._announced.get(name)
        if window is None:
            if not limit:
                return
            window = self._announced[name] = self._add(name, limit)
        elif limit and limit != window.limit:
            window.resize(limit)
            if name in self._uncached:  # it belonged to the old limit
                self._windows.remove(self._uncached.pop(name))
        if reset is not None and is_newest:
            window.end_at(self._clock + min(reset, window.period))
        if remaining is None or not (is_newest or remaining < 1):
            return
        if window.is_tokens:
            if remaining > window.limit and name not in self._uncached:
                self._uncached[name] = self._add(name, window.limit, is_blind=True)
            since = self._spent - reservation.spent
        else:
            since = self._sent - reservation.sent
        was_refilling = window.is_refilling
        window.correct(remaining, since, reservation, self._clock)
        if window.is_refilling and not was_refilling:  # assumed for all windows, until a refusal shows otherwise
            for other in self._windows:
                other.is_refilling = True

    def _add(self, name: Limit, limit: float, *, is_blind: bool = False) -> AnnouncedWindow:
        """Add a window that an answer announces for the first time, and count the requests on their way."""
        window = AnnouncedWindow(name, limit, self._clock, self._ends_at(name.seconds), is_blind=is_blind)
        window.is_refilling = any(other.is_refilling for other in self._windows)
        window.take(
            *((self._unheard_cost,) * 2 if window.is_tokens else (self._unheard_count,) * 2),
        )
        self._windows.append(window)
        self._rates.pop(name, None)  # there is no need to guess
        if Limit.REQUESTS_PER_MINUTE in self._announced or name is Limit.REQUESTS_PER_MINUTE:
            for other in self._windows:
                if other.name is Limit.TOKENS_PER_MINUTE:
                    other.stay_calm()
        return window


def _longer(one: Wait, other: Wait) -> Wait:
    return other if (other.is_final, other.seconds) > (one.is_final, one.seconds) else one
