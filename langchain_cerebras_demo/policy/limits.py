"""The kinds of limit that a request waits for, one class each.

A **window** is a unit (requests or tokens) and a period (second, minute, hour, day); ``Limit`` names them.

* ``GivenWindow``: a number that the user gave. It is never exceeded, in any period of that length.
* ``AnnouncedWindow``: a limit of which the service says what is left. Other processes use it up as well.
* ``NamedRate``: a limit that only refusals name, without a figure. Its rate is found by trial.
* ``Gate``: the pause after a refusal, and the careful beginning after it.

Whether the service's windows refill continuously, as its documentation says, or begin anew with the UTC minute, hour and day, as
its answers of 2025 show, is not known. An announced window keeps to what both allow, until ``remaining`` proves that it refills.

Pure: time comes in as ``clock``, seconds that never go back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar

from langchain_cerebras_demo.errors import LONGEST_WAIT
from langchain_cerebras_demo.records import Limit

BLIND_SECONDS = 3.0
"""A request older than this, in seconds, has reached the service, whether its answer has come or not."""

_PROBE_SECONDS = 60.0
_LONGEST_PROBE = 3600.0


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limits that the user gives, on top of those the service announces; ``None`` where there is none.

    ``RateLimit()`` is ``rate_limit="auto"``: what the service announces, and nothing else. Requests a second and a minute are spread
    evenly; hours and days may be used up in one go. Each number is a ceiling for any period of that length.

    Args:
        requests_per_minute: requests in any minute.
        tokens_per_minute: tokens of prompts and answers in any minute.
        requests_per_day: requests in any 24 hours.
        requests_per_second: requests in any second.
        requests_per_hour: requests in any hour.
        tokens_per_second: tokens in any second.
        tokens_per_hour: tokens in any hour.
        tokens_per_day: tokens in any 24 hours.

    Raises:
        TypeError, ValueError: a limit that is not a positive, finite number; the message names it.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    requests_per_day: float | None = None
    _: KW_ONLY
    requests_per_second: float | None = None
    requests_per_hour: float | None = None
    tokens_per_second: float | None = None
    tokens_per_hour: float | None = None
    tokens_per_day: float | None = None

    def __post_init__(self) -> None:
        for limit in fields(self):
            _check(f"rate_limit.{limit.name}", getattr(self, limit.name))

    def numbers(self) -> dict[Limit, float]:
        """Return the limits that were given."""
        given = ((limit, getattr(self, limit.name.lower())) for limit in Limit if limit.unit)
        return {limit: number for limit, number in given if number is not None}

    @classmethod
    def from_value(cls, value: RateLimit | str | Mapping[str, Any] | None) -> RateLimit | None:
        """Return a ``RateLimit`` from what users give: one, ``"auto"``, or a mapping of its fields; ``None`` switches pacing off.

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
                raise ValueError(f"rate_limit[{name!r}] is not a limit: the limits are {', '.join(names)}")
        return cls(**value)


def _check(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is not a number: give a positive number, or None for no limit")
    if not 0 < value <= 1e15:  # neither NaN nor an int that no float can hold
        raise ValueError(f"{name}={value!r}: give a positive, finite number, or None for no limit")


@dataclass(slots=True, eq=False)
class Reservation:
    """What one request has reserved, and what had been taken when it was sent.

    Attributes:
        number: requests count from 1.
        clock: when it was sent.
        cost: the tokens reserved: the estimated prompt and the most that the answer may have.
        sent: all requests that had been sent by then, this one included, without those that were refused.
        spent: all tokens taken less all that had come back by then, this request's cost included.
        in_flight: tokens of all requests that were not over then, this one included.
        beside: how many others were on their way to the service then.
        charge: the tokens that it was expected to use.
        is_settled: its unused tokens have come back.
        is_unheard: the service has said nothing of it or of a later one.
        is_in_flight: neither headers nor a refusal have come.
    """

    number: int
    clock: float
    cost: float
    sent: float = 0.0
    spent: float = 0.0
    in_flight: float = 0.0
    beside: int = 0
    charge: float = 0.0
    is_settled: bool = False
    is_unheard: bool = False
    is_in_flight: bool = True


class GivenWindow:
    """A number that the user gave: in no period of its length is more sent.

    The period is cut into slices; what was sent in as many of them as make the period, and one more, stays below the number. Within
    a second and a minute it is spread evenly besides.

    Args:
        name: the limit.
        number: requests or tokens in the period.
    """

    __slots__ = (
        "_credit",
        "_ends",
        "_seen",
        "_slice",
        "_slices",
        "_spacing",
        "_total",
        "is_tokens",
        "name",
        "number",
        "period",
    )

    _SLICES = 40

    def __init__(self, name: Limit, number: float) -> None:
        self.name = name
        self.is_tokens = name.unit == "tokens"
        self.period = name.seconds
        self.number = number
        self._slice = self.period / self._SLICES
        self._slices: dict[int, float] = {0: 0.0}  # what was sent, by number of the slice; the last one is now
        self._ends = self._slice
        self._total = 0.0
        # A little less than allowed: the service's clock and ours, and the way between, are not the same.
        self._spacing = 0.975 * number / self.period if self.period <= 60 else 0.0
        self._credit = 0.0
        self._seen = 0.0

    def wait(self, amount: float, clock: float) -> float:
        """Return the seconds until ``amount`` may be sent; more than the number may go when nothing else was sent."""
        if clock >= self._ends:
            self._begin_slice(clock)
        seconds = 0.0
        if self._total + amount > self.number:
            seconds = self._time_until(amount, clock)
        if self._spacing:
            credit = self._credit + (clock - self._seen) * self._spacing
            # What may be caught up after a late wake-up: a fiftieth of the number, for requests less than one.
            most = 0.02 * self.number
            self._credit = credit = min(most, credit)
            self._seen = clock
            if credit < 0:
                return max(seconds, -credit / self._spacing)
        return seconds

    def left(self, clock: float) -> float:
        """Return what may be sent at once."""
        if clock >= self._ends:
            self._begin_slice(clock)
        return self.number - self._total

    def take(self, amount: float, clock: float) -> None:
        """Count what is sent now."""
        if clock >= self._ends:
            self._begin_slice(clock)
        position = int(clock / self._slice)
        self._slices[position] = self._slices.get(position, 0.0) + amount
        self._total += amount
        self._credit -= amount

    def give_back(self, amount: float, sent: float) -> None:
        """Take back what a request that was ``sent`` then did not use."""
        position = int(sent / self._slice)
        if position in self._slices:
            self._slices[position] -= amount
            self._total -= amount
            self._credit += amount

    def _time_until(self, amount: float, clock: float) -> float:
        over = self._total + min(amount, self.number) - self.number
        error = 1e-9 * self.number
        for position, spent in self._slices.items():
            if over <= error:
                break
            over -= spent
            if over <= error:
                return (position + self._SLICES + 1) * self._slice - clock + 1e-6
        return 0.0

    def _begin_slice(self, clock: float) -> None:
        position = int(clock / self._slice)
        self._slices.setdefault(position, 0.0)
        self._ends = (position + 1) * self._slice
        self._slices = {then: spent for then, spent in self._slices.items() if then >= position - self._SLICES}
        self._total = sum(self._slices.values())


class AnnouncedWindow:
    """A limit of which the service says what is left: ``remaining``, on each answer.

    Two levels are kept, one for each truth: a bucket, which grows all the time, and a calendar, which is full again when the
    period ends. What may be sent is the smaller one; it is the bucket alone once ``remaining`` has grown within a period.

    Nobody asks for a share. Every process sends at a rate in proportion to the level: with three tenths of a minute's limit left
    as fast as it refills, with half of that half as fast. So one process comes to rest at that level, four at a quarter of it,
    each with a quarter of the limit, and an idle one leaves its part to the others. Of an hour, only the last twentieth is shared
    like that, since what is left is known long before; of a day nothing.

    Args:
        name: the limit.
        limit: requests or tokens a period.
        clock: now.
        ends: when the calendar's period ends.
        is_blind: whether ``remaining`` speaks of another bucket, so that only what is sent here is counted.
    """

    __slots__ = (
        "_bucket",
        "_calendar",
        "_calm",
        "_calm_part",
        "_capacity",
        "_corrected_at",
        "_cost",
        "_credit",
        "_ends",
        "_is_known",
        "_last",
        "_memory",
        "_others",
        "_probe_at",
        "_probes",
        "_rate",
        "_seen",
        "_slowness",
        "_span",
        "is_blind",
        "is_refilling",
        "is_tokens",
        "limit",
        "name",
        "period",
    )

    # The part of the limit at which the pace is that of the refill.
    _SPANS: ClassVar = {1.0: 0.3, 60.0: 0.3, 3600.0: 0.05, 86_400.0: 0.0}
    # Tokens: from twice the refill's pace on, the whole bucket may go within a second, in single file.
    _BURST_PACE = 2.0
    _BURST_RATE = 60.0
    # This part of the tokens always stays, or one request's cost if that is more: what others take before we hear of it.
    _RESERVE = 0.05
    # The part of what is left that may be sent before the service is heard of: four that start together do not overdraw.
    _BLIND_SHARE = 0.25
    _SLOWEST = 0.005
    _CATCH_UP_SECONDS = 0.05
    _OTHERS_SECONDS = 5.0

    def __init__(self, name: Limit, limit: float, clock: float, ends: float, *, is_blind: bool = False) -> None:
        self.name = name
        self.is_tokens = name.unit == "tokens"
        self.period = name.seconds
        self.is_blind = is_blind
        self.is_refilling = False  # proven
        self._calm_part = 0.2 if self.period > 60 else float("inf")  # above this part of the limit nothing is paced
        self.resize(limit)
        self._capacity = self._bucket = self._calendar = limit
        self._ends = ends
        self._seen = clock
        self._is_known = False  # the level; until the service has said it, it is taken to be full
        self._others = 0.0  # what others take, a second
        self._memory = 20.0  # seconds until they are forgotten, unless seen again
        self._corrected_at = clock
        self._credit = 0.0
        self._slowness = 1.0
        self._cost = 1.0
        # An earlier answer: when its request was sent, remaining, what had been taken, how many others were on their way.
        self._last: tuple[float, float, float, float] | None = None
        self._probe_at: float | None = None
        self._probes = 0

    def resize(self, limit: float) -> None:
        """Learn that this much is allowed in a period."""
        self.limit = self._capacity = limit
        self._rate = limit / self.period
        self._span = self._SPANS[self.period] * limit
        self._calm = self._calm_part * limit

    def stay_calm(self) -> None:
        """Let tokens go without spreading them while most of them are left: another window spreads the requests."""
        self._calm_part = 0.7
        self._calm = self._calm_part * self.limit

    @property
    def level(self) -> float:
        """What is believed to be left, as of the last look."""
        return self._bucket if self.is_refilling else min(self._bucket, self._calendar)

    def wait(self, amount: float, clock: float, unheard: float) -> float:
        """Return the seconds until a request of ``amount`` may be sent, as far as can be said.

        Args:
            amount: one request, or its tokens.
            clock: now.
            unheard: what was sent just now and may come to the service in a period that has just begun.
        """
        if self._bucket - amount > self._calm < self._calendar - amount:
            return 0.0  # plenty, whatever has come since the last look
        self._advance(clock)
        if clock >= self._ends:
            self._begin_period(clock, unheard)
        capacity = self._capacity
        need = self._cost = min(capacity, amount)
        level = self._bucket
        if not self.is_refilling and self._calendar < level:
            level = self._calendar
        error = 1e-9 * capacity
        if level < need - error:
            return self._time_until(need, clock)
        if self.is_tokens and self._span and level < self._RESERVE * self.limit - error:
            return self._time_until(self._RESERVE * self.limit, clock)
        self._probe_at = None
        if self._credit >= 0 or not self._span:
            return 0.0
        seconds = -self._credit / self._pace()
        return seconds if 0.001 < seconds < 1.0 else 0.001 if seconds < 1.0 else 1.0  # the pace changes: look again

    def seconds_left(self, clock: float) -> float:
        """Return the seconds until the calendar's period ends."""
        return self._ends - clock

    def trusts(self, amount: float) -> bool:
        """Return whether so much may be on its way before the service has said anything of it."""
        return self.period > 60 or amount <= self._BLIND_SHARE * self.level

    def take(self, amount: float, charge: float) -> None:
        """Count a request that is sent now; ``charge`` is what it is expected to use."""
        if amount > self._capacity:  # it goes because the window is full: more than that it cannot take
            amount, charge = self._capacity, min(charge, self._capacity)
        if self._bucket <= self._calm:
            if self._span:
                is_burst = self.is_tokens and self._share() >= self._BURST_PACE
                self._credit -= amount if is_burst else charge
            if self._probe_at is not None:
                self._probe_at = (
                    None if self.level >= amount else float("inf")
                )  # the others wait for the probe's answer
        self._bucket -= amount
        self._calendar -= amount

    def give_back(self, amount: float, earned: float) -> None:
        """Count what a request gave back; ``earned`` is by how much it used less than expected."""
        capacity = self._capacity
        bucket, calendar = self._bucket + amount, self._calendar + amount
        self._bucket = min(capacity, bucket)
        self._calendar = min(capacity, calendar)
        if (
            self._span and bucket <= self._calm and self._share() < self._BURST_PACE
        ):  # debts of a burst are paid at once
            self._earn(earned, self._pace())

    def correct(self, remaining: float, since: float, reservation: Reservation, clock: float) -> None:
        """Believe what an answer says is left.

        Args:
            remaining: what the service had left when it let the request in.
            since: what has been taken here since then.
            reservation: the request's. What was in flight with it, a bucket has taken; a calendar that counts what was used has not.
            clock: now.
        """
        sent = reservation.clock
        in_flight = reservation.in_flight if self.is_tokens else 0.0
        if clock >= self._ends:
            self._begin_period(clock, since)
        if not self.is_refilling and not self.is_tokens:
            self._prove(remaining, since, reservation)
        self._capacity = max(self.limit, remaining)
        is_of_this_period = sent >= self._ends - self.period
        level = remaining - since
        if level - in_flight > self._calm and is_of_this_period:
            self._bucket, self._calendar = level, level - in_flight
            self._seen = self._corrected_at = clock
            self._is_known = True
            return
        self._advance(clock)
        before, calendar_before = self._bucket, self._calendar
        bucket = level + (self._rate - self._others) * (clock - sent)
        if (
            not self.is_tokens and before > bucket
        ):  # the header's figure is rounded down: a fraction that is known is kept
            bucket = min(before, bucket + 0.999)
        self._bucket = max(-self._capacity, min(self._capacity, bucket))
        if is_of_this_period:
            self._calendar = max(-self._capacity, level - in_flight)
        if self._is_known:
            self._see_others(before - self._bucket, calendar_before - self._calendar, clock)
        self._is_known, self._corrected_at = True, clock
        if level >= self._cost:
            self._probe_at, self._probes = None, 0

    def end_at(self, clock: float) -> None:
        """Learn when the calendar's period ends."""
        self._ends = clock

    def refuse(self, amount: float, clock: float) -> None:
        """Count a refusal that names this limit without saying how long to wait: too little is left for ``amount``.

        It is tried again when a bucket would have refilled, and after each further refusal when twice as much time has passed; at
        the latest when the calendar's period is over.
        """
        self._advance(clock)
        rest = amount / 2 if self.is_tokens else 0.0
        self._bucket = min(self._bucket, rest)
        self._calendar = min(self._calendar, rest)
        self.is_refilling = False
        self._last = None
        self._set_probe(amount, clock)

    def ease(self, amount: float) -> None:
        """Count a refusal that says how long to wait: after that ``amount`` may be sent, and what follows at the refill's pace."""
        most = max(amount, self._span)
        self._bucket = max(amount, min(self._bucket, most))
        self._calendar = max(amount, min(self._calendar, most))

    def slow_down(self) -> None:
        """Send more slowly for a while: others are faster than can be seen."""
        # Few requests are shared unevenly if who comes late to an empty window is slowed down for it without end.
        self._slowness = max(0.05 if self.is_tokens else 0.3, self._slowness * 0.7)

    def _time_until(self, need: float, clock: float) -> float:
        seconds = max(0.0, (need - self._bucket) / self._rate)
        if not self.is_refilling and self._calendar < need:
            seconds = max(seconds, self._ends - clock)
        if seconds > LONGEST_WAIT and self.period > 3600 and self._probe_at is None:
            self._set_probe(need, clock)
        if self._probe_at is not None and (self.period <= 3600 or clock >= self._probe_at):
            seconds = min(seconds, max(0.0, self._probe_at - clock))
        return seconds

    def _set_probe(self, amount: float, clock: float) -> None:
        pause = min(amount, self.limit) / self._rate
        if self.period > 3600:
            pause = max(_PROBE_SECONDS, pause)
        self._probe_at = clock + min(pause * 2.0 ** min(self._probes, 16), max(pause, _LONGEST_PROBE))
        self._probes += 1

    def _prove(self, remaining: float, since: float, reservation: Reservation) -> None:
        """See whether more is left than could be without a refill. Of tokens this proves nothing: they come back in other ways too.

        Requests that were on their way together may have come in any order, so that many may seem to have come back.
        """
        sent, margin = reservation.clock, reservation.beside + since
        begins = self._ends - self.period
        if self._last is not None:
            then, left, before, margin_then = self._last
            is_one_period = then > begins + 2 and sent < self._ends - 2
            self.is_refilling = is_one_period and remaining > left - (reservation.sent - before) + margin + margin_then
            if is_one_period and sent - then < 0.1 * self.period:
                return
        self._last = (sent, remaining, reservation.sent, margin)

    def _see_others(self, missing: float, missing_of_period: float, clock: float) -> None:
        """Estimate what others take, from what is missing since the last answer besides our own."""
        if not self.is_refilling:  # then a bucket's growth may be missing for no fault of others
            if self._corrected_at < self._ends - self.period:
                return
            missing = missing_of_period
        gap = max(self._OTHERS_SECONDS, clock - self._corrected_at)
        self._others = max(0.0, min(0.9 * self._rate, self._others + missing / gap))
        self._memory = max(20.0, 3 * gap)

    def _begin_period(self, clock: float, unheard: float) -> None:
        self._calendar = self._capacity - max(0.0, unheard)
        self._ends += self.period * (1 + (clock - self._ends) // self.period)

    def _advance(self, clock: float) -> None:
        passed = clock - self._seen
        if passed <= 0:
            return
        self._seen = clock
        if self._span:
            if self._slowness < 1:
                self._slowness = min(1.0, self._slowness + 0.01 * min(1.0, self._rate) * passed)
            pace = self._pace()
            self._earn(pace * passed, pace)
        if self._others:
            taken = self._others * passed
            self._bucket -= taken
            self._calendar -= taken
            self._others *= max(0.0, 1 - passed / self._memory)  # unless seen again
        bucket = self._bucket + self._rate * passed
        self._bucket = min(self._capacity, bucket)

    def _earn(self, amount: float, pace: float) -> None:
        most = (min(self._rate, pace)) * self._CATCH_UP_SECONDS
        credit = self._credit + amount
        self._credit = min(most, credit)

    def _share(self) -> float:
        """Return the pace that the level allows, 1.0 being that of the refill."""
        if not self.is_tokens:
            return self._bucket / self._span
        capacity = self._capacity
        reserve = max(self._cost, self._RESERVE * self.limit)
        span = min(self._span, capacity - reserve)
        return (self._bucket - reserve) / span if span > 0 else 1.0  # it needs the whole bucket: whenever that is full

    def _pace(self) -> float:
        """Return what may be sent in a second."""
        share = self._share()
        if share >= self._BURST_PACE:
            if self.is_tokens:
                return self._rate * self._BURST_RATE * self._slowness
            # A limit a second exists that is not announced: at most twice the mean rate, or one a second if that is more.
            least = 1.0 if self._others < 0.05 * self._rate else 0.0
            return max(least, self._BURST_PACE * self._rate) * self._slowness
        return self._rate * (max(self._SLOWEST, share)) * self._slowness


class NamedRate:
    """A limit of requests that only refusals name, without a figure: its rate is found by trial.

    Additive increase and multiplicative decrease: several processes that do so come to equal shares
    (https://doi.org/10.1016/0169-7552(89)90019-6). Far below the rate that was last refused it doubles every five
    seconds, and so it does before the second refusal: the first may have been that of a mere burst.

    Args:
        name: the limit.
        per_minute: requests a minute that were sent lately.
        clock: now.
    """

    __slots__ = ("_credit", "_is_first", "_per_minute", "_refused_at", "_seen", "name")

    _LOOK_SECONDS = 5.0
    _BURST_SECONDS = 0.5

    def __init__(self, name: Limit, per_minute: float, clock: float) -> None:
        self.name = name
        self._per_minute = self._refused_at = max(30.0, per_minute)
        self._is_first = True
        self._credit = 1.0
        self._seen = clock

    @property
    def is_worn_out(self) -> bool:
        """Whether it has grown so far beyond the last refusal that it says nothing any more."""
        return self._per_minute > 100 * self._refused_at

    def wait(self, clock: float) -> float:
        """Return the seconds until the next request, or until it is worth asking again: the rate grows meanwhile."""
        self._advance(clock)
        missing = 1.0 - self._credit
        return min(self._LOOK_SECONDS, missing * 60 / self._per_minute) if missing > 1e-9 else 0.0

    def take(self) -> None:
        """Count a request that is sent."""
        self._credit -= 1.0

    def refuse(self, clock: float, *, in_a_row: bool) -> None:
        """Count a refusal at this rate; ``in_a_row``: nothing has been let in since the last one."""
        self._advance(clock)
        self._is_first = False
        if in_a_row:  # it may be an outage: what was possible before it is forgotten slowly
            self._refused_at *= 0.85
            self._per_minute *= 0.5
        else:
            self._refused_at = self._per_minute
            self._per_minute *= 0.85
        self._per_minute = max(2.0, self._per_minute)

    def _advance(self, clock: float) -> None:
        passed, self._seen = min(clock - self._seen, 60.0), clock
        if self._is_first or self._per_minute < 0.8 * self._refused_at:
            self._per_minute *= 2.0 ** (passed / 5)
        else:
            self._per_minute += self._refused_at * 0.003 * passed
        rate = self._per_minute / 60
        self._credit = min(max(1.0, rate * self._BURST_SECONDS), self._credit + rate * passed)


class Gate:
    """The pause after a refusal, for all who wait, and the careful beginning after it.

    After the pause only so many may be on their way as ``width`` says; each answer lets one more go, so twice as many a round trip.
    A pause of more than two minutes is not waited for; one request tries it now and then.
    """

    __slots__ = ("_at", "_pauses", "_probe_at", "_probes", "_until", "_width", "name", "number")

    _LOOK_SECONDS = 0.25
    _LONGEST_PAUSE = 30.0
    _WIDE = 1024

    def __init__(self) -> None:
        self.name = Limit.UNKNOWN
        self.number = 0  # the newest reservation when it was closed
        self._at = 0  # of these later ones, so many are on their way
        self._until = 0.0
        self._width: float | None = None
        self._pauses = 0
        self._probes = 0
        self._probe_at = 0.0

    def wait(self, clock: float) -> float:
        """Return the seconds until a request may pass, or look again."""
        seconds = self._until - clock
        if seconds > LONGEST_WAIT and clock >= self._probe_at:
            return 0.0
        if seconds > 0:
            return seconds
        return self._LOOK_SECONDS if self._width is not None and self._at >= self._width else 0.0

    def take(self, clock: float) -> None:
        """Count a request that is sent."""
        self._at += 1
        if self._until - clock > LONGEST_WAIT:
            self._set_probe(clock)

    def hear(self, number: int, *, is_answer: bool) -> None:
        """Count a request that is not on its way any more, whether it was answered or not."""
        if number <= self.number:
            return
        self._at = max(0, self._at - 1)
        if is_answer:
            self._until, self._pauses, self._probes = 0.0, 0, 0
            if self._width is not None:
                self._width = self._width + 1 if self._width < self._WIDE else None

    def close(self, name: Limit, seconds: float | None, width: float | None, clock: float, number: int) -> None:
        """Close it for so many seconds; without a number for a moment that doubles with each pause in a row."""
        if seconds is None:
            self._pauses += 1
            seconds = min(self._LONGEST_PAUSE, 0.25 * 2.0 ** min(self._pauses, 16))
        if clock + seconds >= self._until:
            self._until, self.name = clock + seconds, name
        if seconds > LONGEST_WAIT and number != self.number:
            self._set_probe(clock)
        self._width = width
        self.number, self._at = number, 0

    def _set_probe(self, clock: float) -> None:
        self._probe_at = clock + min(_LONGEST_PROBE, _PROBE_SECONDS * 2.0 ** min(self._probes, 8))
        self._probes += 1
