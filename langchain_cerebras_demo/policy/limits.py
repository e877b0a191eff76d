"""The kinds of limit that a request waits for, one class each.

A **window** is a unit (requests or tokens) and a period (second, minute, hour, day); ``Limit`` names them.

* ``GivenWindow``: a number that the user gave, for any period of that length. Only an answer longer than estimated exceeds it.
* ``AnnouncedWindow``: a limit for which the service reports the remainder. Other processes use it, too.
* ``NamedRate``: a limit that only refusals name, without a number. Its rate is found by trial.
* ``Gate``: the pause after a refusal, and the slow start after it.

It is not known whether the service's windows refill continuously, as its documentation says, or reset with the UTC minute,
hour and day, as its answers of 2025 show. An announced window allows only what both allow, until ``remaining`` proves that it
refills.

Time is an argument, ``clock``: seconds that never go back.
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
    """Limits that apply in addition to those that the service announces; ``None`` means no additional limit.

    ``RateLimit()`` is the same as ``rate_limit="auto"``: only the limits that the service announces. Each number is a ceiling
    for any period of that length. Tokens are estimated when a request is sent and corrected when its answer ends, so a ceiling
    is exceeded only by what running answers use beyond their estimates. Limits per second and minute are spread evenly; those
    per hour and day may be used up at once.

    Args:
        requests_per_minute: the most requests in any minute.
        tokens_per_minute: the most tokens, of prompts and answers, in any minute.
        requests_per_day: the most requests in any 24 hours.
        requests_per_second: the most requests in any second.
        requests_per_hour: the most requests in any hour.
        tokens_per_second: the most tokens in any second.
        tokens_per_hour: the most tokens in any hour.
        tokens_per_day: the most tokens in any 24 hours.

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
        """Return a ``RateLimit`` from a ``RateLimit``, ``"auto"`` or a mapping of its fields; ``None`` switches pacing off.

        Raises:
            TypeError, ValueError: any other value; the message names it.
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
    """What one request has reserved, and the totals when it was sent.

    Attributes:
        number: the request's number, from 1.
        clock: when it was sent.
        cost: the tokens reserved: the estimated prompt and the longest possible answer.
        sent: the requests sent by then, including this one, without those that were refused.
        spent: the tokens reserved by then, less those that had been released, including this request's cost.
        in_flight: the tokens of all requests that had not ended then, including this one.
        beside: the number of other requests on their way to the service then.
        charge: the tokens that it was expected to use.
        is_settled: whether its unused tokens have been released.
        is_unheard: whether no answer to it or to a later request has arrived.
        is_in_flight: whether neither headers nor a refusal have arrived.
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
    """A number that the user gave: the most that is sent in any period of its length.

    The period is divided into slices. Nothing is sent that would raise what was sent in the slices of a period and one more
    above the number. Seconds and minutes are also spread evenly.

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
        """Return the seconds until ``amount`` may be sent. More than the number may be sent if nothing else was."""
        if clock >= self._ends:
            self._begin_slice(clock)
        seconds = 0.0
        if self._total + amount > self.number:
            seconds = self._time_until(amount, clock)
        if self._spacing:
            credit = self._credit + (clock - self._seen) * self._spacing
            # What may be caught up after a late wake-up: a fiftieth of the number; for requests, this may be less than one.
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
        """Release what a request that was ``sent`` at that time did not use; a negative amount is what it used in addition."""
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
    """A limit for which each answer of the service reports the remainder, ``remaining``.

    Two levels are kept, because either may be true: a bucket, which refills continuously, and a calendar, which is full again
    when the period ends. The smaller one is what may be sent; only the bucket counts once ``remaining`` has grown within a
    period.

    Processes share a limit without coordination. Each sends at a rate proportional to the level: at the refill rate with 30 % of
    a minute's limit left, at half that rate with 15 % left. So one process settles at 30 %, four at 7.5 %, each with a quarter of
    the limit, and the share of an idle process goes to the others. Of an hour's limit, only the last twentieth is shared like
    that, because the remainder is known early enough; a day's limit is not.

    Args:
        name: the limit.
        limit: requests or tokens per period.
        clock: the current time.
        ends: when the calendar's period ends.
        is_blind: whether ``remaining`` belongs to another bucket, so that only this process's own use is counted.
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

    # The fraction of the limit at which requests are sent at the refill rate.
    _SPANS: ClassVar = {1.0: 0.3, 60.0: 0.3, 3600.0: 0.05, 86_400.0: 0.0}
    # Tokens: above twice the refill rate, the whole bucket may be used within a second, one request after the other.
    _BURST_PACE = 2.0
    _BURST_RATE = 60.0
    # This fraction of the tokens, or one request's cost if that is more, is left for what others use before we know of it.
    _RESERVE = 0.05
    # The fraction of the remainder that may be sent before an answer arrives, so that four processes that start together do
    # not exceed the limit.
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
        self._calm_part = (
            0.2 if self.period > 60 else float("inf")
        )  # above this fraction of the limit, nothing is paced
        self.resize(limit)
        self._capacity = self._bucket = self._calendar = limit
        self._ends = ends
        self._seen = clock
        self._is_known = False  # the level; until an answer reports it, the window is assumed to be full
        self._others = 0.0  # what others use per second
        self._memory = 20.0  # seconds until their use is forgotten, unless seen again
        self._corrected_at = clock
        self._credit = 0.0
        self._slowness = 1.0
        self._cost = 1.0
        # An earlier answer: when its request was sent, `remaining`, the requests sent by then, how many were on their way.
        self._last: tuple[float, float, float, float] | None = None
        self._probe_at: float | None = None
        self._probes = 0

    def resize(self, limit: float) -> None:
        """Set the limit of a period."""
        self.limit = self._capacity = limit
        self._rate = limit / self.period
        self._span = self._SPANS[self.period] * limit
        self._calm = self._calm_part * limit

    def stay_calm(self) -> None:
        """Do not spread tokens while most of them are left, because another window spreads the requests."""
        self._calm_part = 0.7
        self._calm = self._calm_part * self.limit

    @property
    def level(self) -> float:
        """The estimated remainder, as of the last update."""
        return self._bucket if self.is_refilling else min(self._bucket, self._calendar)

    def wait(self, amount: float, clock: float, unheard: float) -> float:
        """Return an estimate of the seconds until a request of ``amount`` may be sent.

        Args:
            amount: one request, or its tokens.
            clock: the current time.
            unheard: what was just sent and may reach the service in a period that has just begun.
        """
        if self._bucket - amount > self._calm < self._calendar - amount:
            return 0.0  # plenty, even without what has been refilled since the last update
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
        return seconds if 0.001 < seconds < 1.0 else 0.001 if seconds < 1.0 else 1.0  # the pace changes: check again

    def seconds_left(self, clock: float) -> float:
        """Return the seconds until the calendar's period ends."""
        return self._ends - clock

    def trusts(self, amount: float) -> bool:
        """Return whether this amount may be on its way before an answer to it arrives."""
        return self.period > 60 or amount <= self._BLIND_SHARE * self.level

    def take(self, amount: float, charge: float) -> None:
        """Count a request that is sent now; ``charge`` is what it is expected to use."""
        if amount > self._capacity:  # it may be sent because the window is full: it cannot use more than that
            amount, charge = self._capacity, min(charge, self._capacity)
        if self._span and self._bucket <= self._calm:
            is_burst = self.is_tokens and self._share() >= self._BURST_PACE
            self._credit -= amount if is_burst else charge
        if self._probe_at is not None and self.level < amount:
            self._probes += 1
            self._set_probe(amount, self._seen)
            # The others wait for its answer, but not for ever.
            self._probe_at = max(self._probe_at, self._seen + _PROBE_SECONDS)
        self._bucket -= amount
        self._calendar -= amount

    def give_back(self, amount: float, earned: float) -> None:
        """Count what a request released; ``earned`` is how much less than expected it used."""
        capacity = self._capacity
        bucket, calendar = self._bucket + amount, self._calendar + amount
        self._bucket = min(capacity, bucket)
        self._calendar = min(capacity, calendar)
        if (
            self._span and bucket <= self._calm and self._share() < self._BURST_PACE
        ):  # in a burst, the credit was reduced by the actual amount
            self._earn(earned, self._pace())

    def correct(self, remaining: float, since: float, reservation: Reservation, clock: float) -> None:
        """Correct the level by the remainder that an answer reports.

        Args:
            remaining: the remainder when the service accepted the request.
            since: what this process has reserved since then.
            reservation: the request's reservation. A bucket has already reserved what was in flight with it; a calendar that
                counts used tokens has not.
            clock: the current time.
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
        if level >= self._cost:
            self._probe_at, self._probes = None, 0
        if level - in_flight > self._calm and is_of_this_period:
            self._bucket, self._calendar = level, level - in_flight
            self._seen = self._corrected_at = clock
            self._is_known = True
            return
        self._advance(clock)
        before, calendar_before = self._bucket, self._calendar
        bucket = level + (self._rate - self._others) * (clock - sent)
        if not self.is_tokens and before > bucket:  # the header's figure is rounded down: keep a known fraction
            bucket = min(before, bucket + 0.999)
        self._bucket = max(-self._capacity, min(self._capacity, bucket))
        if is_of_this_period:
            self._calendar = max(-self._capacity, level - in_flight)
        if self._is_known:
            self._see_others(before - self._bucket, calendar_before - self._calendar, clock)
        self._is_known, self._corrected_at = True, clock

    def end_at(self, clock: float) -> None:
        """Set when the calendar's period ends."""
        self._ends = clock

    def refuse(self, amount: float, clock: float) -> None:
        """Count a refusal that names this limit without a wait: there is too little left for ``amount``.

        It is tried again when a bucket would have refilled, at the latest when the calendar's period ends. After each try the
        wait doubles, until an answer reports enough.
        """
        self._advance(clock)
        rest = amount / 2 if self.is_tokens else 0.0
        self._bucket = min(self._bucket, rest)
        self._calendar = min(self._calendar, rest)
        self.is_refilling = False
        self._last = None
        self._set_probe(amount, clock)

    def ease(self, amount: float) -> None:
        """Count a refusal with a wait: after it, ``amount`` may be sent, and more at the refill rate."""
        most = max(amount, self._span)
        self._bucket = max(amount, min(self._bucket, most))
        self._calendar = max(amount, min(self._calendar, most))

    def slow_down(self) -> None:
        """Send more slowly for a while, because others use the limit faster than answers show."""
        # The bound keeps shares even: a process that comes late to an empty window must not be slowed down without end.
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

    def _prove(self, remaining: float, since: float, reservation: Reservation) -> None:
        """Check whether more is left than possible without a refill. Not for tokens, which are released in other ways, too.

        Requests that were on their way at the same time may have arrived in any order, so that as many may seem refilled.
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
        """Estimate what others use, from the drop since the last answer that our own requests do not explain."""
        if not self.is_refilling:  # the drop may be a bucket's missing growth instead
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
        """Return the pace that the level allows, as a multiple of the refill rate."""
        if not self.is_tokens:
            return self._bucket / self._span
        capacity = self._capacity
        reserve = max(self._cost, self._RESERVE * self.limit)
        span = min(self._span, capacity - reserve)
        return (
            (self._bucket - reserve) / span if span > 0 else 1.0
        )  # it needs the whole bucket, so it waits until that is full

    def _pace(self) -> float:
        """Return what may be sent per second."""
        share = self._share()
        if share >= self._BURST_PACE:
            if self.is_tokens:
                return self._rate * self._BURST_RATE * self._slowness
            # There is an unannounced limit per second: at most twice the mean rate, or one per second if that is more.
            least = 1.0 if self._others < 0.05 * self._rate else 0.0
            return max(least, self._BURST_PACE * self._rate) * self._slowness
        return self._rate * (max(self._SLOWEST, share)) * self._slowness


class NamedRate:
    """A limit of requests that only refusals name, without a number: its rate is found by trial.

    It uses additive increase and multiplicative decrease, by which several processes reach equal shares
    (https://doi.org/10.1016/0169-7552(89)90019-6). Far below the rate that was last refused, and before the second refusal, the
    rate doubles every five seconds: a single refusal may be due to a burst.

    Args:
        name: the limit.
        per_minute: requests per minute that were sent recently.
        clock: the current time.
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
        """Whether it has grown so far beyond the last refusal that it is no longer useful."""
        return self._per_minute > 100 * self._refused_at

    def wait(self, clock: float) -> float:
        """Return the seconds until the next request, or until a new check, because the rate grows in the meantime."""
        self._advance(clock)
        missing = 1.0 - self._credit
        return min(self._LOOK_SECONDS, missing * 60 / self._per_minute) if missing > 1e-9 else 0.0

    def take(self) -> None:
        """Count a request that is sent."""
        self._credit -= 1.0

    def refuse(self, clock: float, *, in_a_row: bool) -> None:
        """Count a refusal at this rate; ``in_a_row``: no request has been accepted since the last one."""
        self._advance(clock)
        self._is_first = False
        if in_a_row:  # it may be an outage: forget the rate before it slowly
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
    """The pause after a refusal, for all waiting requests, and the slow start after it.

    After the pause, at most ``width`` requests may be on their way; each answer adds one, so their number doubles with every round
    trip. Requests do not wait for a pause of more than two minutes; one request tries it from time to time.
    """

    __slots__ = ("_at", "_pauses", "_probe_at", "_probes", "_until", "_width", "name", "number")

    _LOOK_SECONDS = 0.25
    _LONGEST_PAUSE = 30.0
    _WIDE = 1024

    def __init__(self) -> None:
        self.name = Limit.UNKNOWN
        self.number = 0  # the newest reservation when it was closed
        self._at = 0  # how many later ones are on their way
        self._until = 0.0
        self._width: float | None = None
        self._pauses = 0
        self._probes = 0
        self._probe_at = 0.0

    def wait(self, clock: float) -> float:
        """Return the seconds until a request may pass, or until a new check."""
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
        """Count a request that is no longer on its way, answered or not."""
        if number <= self.number:
            return
        self._at = max(0, self._at - 1)
        if is_answer:
            self._until, self._pauses, self._probes = 0.0, 0, 0
            if self._width is not None:
                self._width = self._width + 1 if self._width < self._WIDE else None

    def close(self, name: Limit, seconds: float | None, width: float | None, clock: float, number: int) -> None:
        """Close it for ``seconds``; without a number, for a moment that doubles with each consecutive pause."""
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
