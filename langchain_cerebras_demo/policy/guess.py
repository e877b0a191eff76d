"""A limit of requests that the service does not announce, found by running into it."""

from __future__ import annotations

from langchain_cerebras_demo.policy.sharing import Bucket

# The burst that is made up for after a late wake-up, in seconds of the rate.
_BURST_SECONDS = 0.5

_LOOK_SECONDS = 5.0


class Guess:
    """A rate of requests, found by trial: cut by a refusal, raised while there is none.

    Additive increase and multiplicative decrease: several processes that do so come to equal shares
    (https://doi.org/10.1016/0169-7552(89)90019-6). Far below the rate that was last refused it doubles every five
    seconds; so it does before the second refusal, for the first may have come of a mere burst.
    """

    def __init__(self, per_minute: float) -> None:
        self._per_minute = max(30.0, per_minute)
        self._refused_at = self._per_minute
        self._is_first = True
        self._bucket = Bucket(1.0, self._per_minute / 60)

    @property
    def is_worn_out(self) -> bool:
        """Whether it has grown so far beyond the last refusal that it says nothing any more."""
        return self._per_minute > 100 * self._refused_at

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        seconds = min(seconds, 60.0)
        if self._is_first or self._per_minute < 0.8 * self._refused_at:
            self._per_minute *= 2.0 ** (seconds / 5)
        else:
            self._per_minute += self._refused_at * 0.003 * seconds
        self._bucket.refill = self._per_minute / 60
        self._bucket.capacity = max(1.0, self._bucket.refill * _BURST_SECONDS)
        self._bucket.advance(seconds)

    def refuse(self, *, in_a_row: bool) -> None:
        """A request that went at this rate was refused; ``in_a_row``: and none has been let in since the last refusal."""
        self._is_first = False
        if in_a_row:  # it may be an outage: what was possible before it is forgotten slowly
            self._refused_at *= 0.85
            self._per_minute *= 0.5
        else:
            self._refused_at = self._per_minute
            self._per_minute *= 0.85
        self._per_minute = max(2.0, self._per_minute)

    def time_until(self) -> float:
        """Seconds until the next request, or until it is worth asking again: the rate grows meanwhile."""
        return min(_LOOK_SECONDS, self._bucket.time_until(1.0))

    def take(self) -> None:
        """A request goes."""
        self._bucket.take(1.0)
