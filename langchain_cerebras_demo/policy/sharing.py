"""A bucket that several spend who know nothing of each other, kept from what the service says is left in it.

The service's bucket refills continuously; a request takes its estimated prompt and ``max_completion_tokens`` when it is
let in, and what it did not use comes back with its answer (https://inference-docs.cerebras.ai/support/rate-limits).

Nobody asks for a share. Everybody spends in proportion to what is left above a reserve: at ``_FULL_PACE`` of the bucket as
fast as it refills, at half of that half as fast. One process finds its balance at that level, four at a quarter of it, each
with a quarter of the tokens; who falls idle leaves the level, and so the pace, to the others.
"""

from __future__ import annotations

from dataclasses import dataclass

BLIND_SECONDS = 3.0
"""A request older than this, in seconds, has reached the service, whether its answer has come or not."""

# The part of the bucket above the reserve at which the pace is that of the refill.
_FULL_PACE = 0.3
# From so many times that on, a burst is served: the whole bucket within a second, in single file, so that the requests
# come to the service in their order.
_BURST_PACE = 2.0
_BURST_RATE = 60.0
# So much always stays, or one request's cost if it is more: the tokens that others take before we hear of it.
_RESERVE = 0.05
# The part of what is left that may go out before the service is heard of: four that start together do not overdraw.
_BLIND_SHARE = 0.25
_SLOWEST = 0.005
_CATCH_UP_SECONDS = 0.05
_OTHERS_SECONDS = 5.0
"""How fast the estimate of what others spend follows, in seconds."""


class Bucket:
    """A bucket that refills continuously.

    Args:
        capacity: the most it holds.
        refill: what comes in a second.
        level: what it holds now; full by default. Below zero is debt.
    """

    __slots__ = ("capacity", "level", "refill")

    def __init__(self, capacity: float, refill: float, level: float | None = None) -> None:
        self.capacity = capacity
        self.refill = refill
        self.level = capacity if level is None else level

    def advance(self, seconds: float, drain: float = 0.0) -> None:
        """Let time pass; others take ``drain`` a second."""
        self.correct(self.level + (self.refill - drain) * seconds)

    def time_until(self, cost: float) -> float:
        """Seconds until ``cost`` is there; for more than it ever holds, until it is full."""
        missing = min(cost, self.capacity) - self.level
        return missing / self.refill if missing > 1e-9 * self.capacity else 0.0

    def take(self, cost: float) -> None:
        """Take ``cost``, into debt if need be."""
        self.level -= cost

    def give_back(self, tokens: float) -> None:
        """Put back what was not used."""
        self.correct(self.level + tokens)

    def correct(self, level: float) -> None:
        """Set the level, within a whole bucket of debt and the capacity."""
        self.level = max(-self.capacity, min(self.capacity, level))


@dataclass(slots=True, eq=False)
class Reservation:
    """What one request has reserved, and what had been taken when it went.

    Attributes:
        number: requests count from 1.
        clock: when it went, on the pacer's own clock.
        cost: tokens reserved.
        spent: all that had been taken less all that had come back, this request's cost included.
        charge: the tokens it was expected to use.
        is_settled: its unused tokens have come back.
        is_unheard: the service has said nothing of it or of a later one.
    """

    number: int
    clock: float
    cost: float
    spent: float = 0.0
    charge: float = 0.0
    is_settled: bool = False
    is_unheard: bool = False


class SharedTokens:
    """The tokens a minute of an account and model, as one of those sees them who spend them.

    Args:
        limit: tokens a minute.
    """

    def __init__(self, limit: float) -> None:
        self._bucket = Bucket(limit, limit / 60)
        self._is_known = False  # the level; until it was said, it is taken to be full
        self._others = 0.0  # tokens a second
        self._spent = 0.0
        self._credit = 0.0
        self._slowness = 1.0
        self._usage = 1.0  # the part of a reservation that is used in the end, smoothed
        self._cost = 0.0

    @property
    def level(self) -> float:
        """The tokens that are believed to be left."""
        return self._bucket.level

    def resize(self, limit: float) -> None:
        """The service says that this many tokens a minute are allowed."""
        self._bucket.capacity, self._bucket.refill = limit, limit / 60

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        rate = self._rate(self._cost)
        self._bucket.advance(seconds, self._others)
        self._others *= max(0.0, 1 - seconds / 20)  # unless heard of again
        self._slowness = min(1.0, self._slowness + 0.01 * seconds)
        self._earn(rate * seconds)

    def time_until(self, cost: float) -> float:
        """Seconds until a request of ``cost`` may go, as far as can be said."""
        self._cost = min(cost, self._bucket.capacity)
        missing = self._bucket.time_until(self._reserve(cost))
        if missing > 0 or self._credit >= 0:
            return missing
        return max(0.001, min(1.0, -self._credit / self._rate(cost)))  # the rate changes: look again

    def trusts(self, blind_cost: float) -> bool:
        """Whether requests of this cost together may be on their way, the service having said nothing of them."""
        return blind_cost * self._usage <= _BLIND_SHARE * self._bucket.level

    def take(self, reservation: Reservation) -> None:
        """A request goes."""
        reservation.charge = reservation.cost * self._usage
        self._credit -= reservation.cost if self._pace(reservation.cost) >= _BURST_PACE else reservation.charge
        self._bucket.take(reservation.cost)
        self._spent += reservation.cost
        reservation.spent = self._spent

    def settle(self, reservation: Reservation, unused: float) -> None:
        """A request is over; ``unused`` of its tokens have come back."""
        self._bucket.give_back(unused)
        self._spent -= unused
        used = reservation.cost - unused
        if self._pace(reservation.cost) < _BURST_PACE:  # debts of a burst are paid at once
            self._earn(reservation.charge - used)
        if used > 0:
            self._usage += (max(0.01, used / reservation.cost) - self._usage) * 0.1

    def forget(self, reservation: Reservation) -> None:
        """A request was refused: what the service says is left has never been without its cost."""
        reservation.spent -= reservation.cost

    def correct(self, reservation: Reservation, remaining: float, age: float) -> None:
        """The service had ``remaining`` left when it let in this request, ``age`` seconds ago.

        It had seen what had been taken until then. Whatever is missing besides, others have taken.
        """
        bucket = self._bucket
        since = self._spent - reservation.spent
        before = bucket.level
        bucket.correct(min(remaining, bucket.capacity) + (bucket.refill - self._others) * age - since)
        if self._is_known:
            others = self._others + (before - bucket.level) / _OTHERS_SECONDS
            self._others = max(0.0, min(0.9 * bucket.refill, others))
        self._is_known = True

    def explains(self, cost: float) -> bool:
        """Whether too little is left for ``cost``, as far as is known."""
        return self._bucket.level < cost

    def slow_down(self) -> None:
        """A request was refused for want of tokens: the others are faster than can be seen."""
        self._slowness = max(0.05, self._slowness * 0.7)

    def _earn(self, tokens: float) -> None:
        most = min(self._rate(self._cost), self._bucket.refill) * _CATCH_UP_SECONDS
        self._credit = min(self._credit + tokens, most)

    def _reserve(self, cost: float) -> float:
        return max(min(cost, self._bucket.capacity), _RESERVE * self._bucket.capacity)

    def _pace(self, cost: float) -> float:
        """The pace that the level allows, 1.0 being that of the refill."""
        capacity, reserve = self._bucket.capacity, self._reserve(cost)
        span = min(_FULL_PACE * capacity, capacity - reserve)
        if span <= 0:  # it needs the whole bucket: whenever that is full
            return 1.0
        return (self._bucket.level - reserve) / span

    def _rate(self, cost: float) -> float:
        """Tokens a second that may be spent."""
        pace = self._pace(cost)
        return self._bucket.refill * self._slowness * (_BURST_RATE if pace >= _BURST_PACE else max(_SLOWEST, pace))
