"""The process-wide queue around ``policy.pacing``: first come, first served, for all tasks, threads and loops.

Limits belong to an account and a model, so there is one queue for each pair. Small requests do not overtake a large one. There
is no background thread or task: the caller at the head of the queue sleeps until its time, and each answer wakes it to look again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import threading
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from operator import attrgetter
from typing import TypeAlias

from langchain_cerebras_demo.errors import APIStatusError, APITimeoutError, QueueFullError, RateLimitError
from langchain_cerebras_demo.policy.limits import RateLimit, Reservation
from langchain_cerebras_demo.policy.pacing import Pacer, Wait
from langchain_cerebras_demo.records import Limit, RateLimitSnapshot

__all__ = ["Limiter", "Queueing", "Ticket", "process_limiter", "unbounded"]

_LOG = logging.getLogger("langchain_cerebras_demo")

# The shortest wait (of the last request in the queue) that is logged, and the shortest time between two lines about one limit.
_LOGGED_SECONDS = 1.0
_QUIET_SECONDS = 10.0

# How often a caller checks whether the loop of the caller in front of it still runs: event loops give no shutdown notice.
_LOOK_SECONDS = 0.5

# With more queues than this, idle ones are dropped.
_MOST_LANES = 1024

_place = attrgetter("place")


class _Waiter:
    """One caller in a queue, and the future that wakes it."""

    __slots__ = ("bell", "cost", "loop", "place")

    def __init__(self, place: int, cost: float) -> None:
        self.place = place
        self.cost = cost
        self.loop = asyncio.get_running_loop()
        self.bell: asyncio.Future[None] | None = None

    def wake(self) -> None:
        bell, self.bell = self.bell, None
        if bell is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                self.loop.call_soon_threadsafe(_ring, bell)

    async def nap(self, bell: asyncio.Future[None], seconds: float | None) -> None:
        """Sleep until ``wake`` is called, at most for ``seconds``."""
        alarm = None if seconds is None else self.loop.call_later(seconds, _ring, bell)
        try:
            await bell
        finally:
            if alarm is not None:
                alarm.cancel()


def _ring(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_result(None)


class _Lane:
    """The queue for one account, model and ``rate_limit``."""

    def __init__(self, limit: RateLimit | None, utc: float) -> None:
        self.is_paced = limit is not None
        self.pacer = Pacer(limit, utc)
        self.waiters: list[_Waiter] = []  # sorted by place; a request that was refused (429) keeps its place
        self.open_tickets = 0
        self.last_answer_at = 0.0
        self.limit = Limit.UNKNOWN  # the limit that the queue waits for
        self.logged: set[Limit] = set()  # limits whose wait was logged since the queue was last empty
        self.quiet_until: dict[Limit, float] = {}

    @property
    def is_idle(self) -> bool:
        return not self.waiters and not self.open_tickets

    def head(self) -> _Waiter | None:
        """Return the first waiter whose loop runs. Waiters of closed loops are removed."""
        while self.waiters and self.waiters[0].loop.is_closed():
            del self.waiters[0]
        return next((waiter for waiter in self.waiters if waiter.loop.is_running()), None)

    def wake_head(self) -> None:
        if self.waiters and (head := self.head()) is not None:
            head.wake()

    def wake_hopeless(self, now: float) -> None:
        """Wake the waiters for which nothing is left today, so that they fail at once."""
        if len(self.waiters) > 1 and self.is_paced:
            left = self.pacer.left_today(now)
            if left is not None:
                for waiter in self.waiters[max(1, left) :]:
                    waiter.wake()

    def is_hopeless(self, waiter: _Waiter, now: float) -> bool:
        """Return whether the waiters in front of ``waiter`` use up what is left today."""
        left = self.pacer.left_today(now)
        return left is not None and bisect_left(self.waiters, waiter.place, key=_place) >= max(1, left)

    def add(self, waiter: _Waiter) -> None:
        position = bisect_left(self.waiters, waiter.place, key=_place)
        self.waiters.insert(position, waiter)
        if position + 1 < len(self.waiters):
            self.waiters[position + 1].wake()  # it is no longer the head, or there is a new waiter in front of it

    def remove(self, waiter: _Waiter) -> None:
        position = bisect_left(self.waiters, waiter.place, key=_place)
        if position < len(self.waiters) and self.waiters[position] is waiter:
            del self.waiters[position]
            if position < len(self.waiters):
                self.waiters[position].wake()
        self.wake_head()
        if not self.waiters:
            self.logged.clear()

    def is_news(self, wait: Wait, now: float) -> bool:
        """Return whether to log this wait: once for each limit, until the queue is empty."""
        limit, last_waits = wait.limit, wait.seconds * len(self.waiters)
        if limit is None or limit is Limit.FIRST_ANSWER or last_waits < _LOGGED_SECONDS:
            return False
        if limit in self.logged or now < self.quiet_until.get(limit, now):
            return False
        self.logged.add(limit)
        self.quiet_until[limit] = now + _QUIET_SECONDS
        return True

    def is_behind_a_stranger(self, waiter: _Waiter) -> bool:
        """Return whether the waiter in front belongs to another loop, which may end without notice."""
        position = bisect_left(self.waiters, waiter.place, key=_place)
        return 0 < position <= len(self.waiters) and self.waiters[position - 1].loop is not waiter.loop


_Key: TypeAlias = "tuple[str, str, RateLimit | None]"

Queueing: TypeAlias = "Callable[[Limit | None], contextlib.AbstractContextManager[None]]"


def unbounded(_limit: Limit | None) -> contextlib.AbstractContextManager[None]:
    """Return a context manager that admits any number of waiting calls."""
    return contextlib.nullcontext()


class Limiter:
    """A limiter that admits requests when the limits of their account and model allow it.

    All methods may be called from any thread and loop. Normally use ``process_limiter()``.

    Args:
        clock: a monotonic clock in seconds.
        utc: the Unix time, for windows that begin with the calendar day or hour; corrected by the dates of answers.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, utc: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._utc = utc
        self.forget()

    def forget(self) -> None:
        """Reset, for a forked child: the waiting callers belong to the parent."""
        self._lock = threading.RLock()  # a ticket may be closed by the garbage collector, anywhere
        self._lanes: OrderedDict[_Key, _Lane] = OrderedDict()
        self._places = itertools.count(1)

    async def acquire(
        self,
        account: str,
        model: str,
        cost_tokens: float,
        limit: RateLimit | None,
        deadline: float | None = None,
        *,
        place: int | None = None,
        max_wait: float | None = None,
        queueing: Queueing = unbounded,
    ) -> Ticket:
        """Wait for this request's turn and return its ticket, which must be closed.

        Args:
            account: the account that the limits belong to: a fingerprint, never the key.
            model: the model id.
            cost_tokens: the estimated prompt tokens plus ``max_completion_tokens``: the tokens that the service reserves when it
                admits a request.
            limit: the user's limits; ``RateLimit()`` for none besides those that the service announces; ``None`` admits every
                request at once and only records the announced limits.
            deadline: the running loop's time by which the call must be done.
            place: the place of an earlier ticket that was refused, so that the request does not start at the end of the queue.
            max_wait: the longest wait in seconds.
            queueing: returns the context manager to wait in, if the request has to wait: it counts the waiting calls, and may
                refuse one more.

        Raises:
            QueueFullError: ``queueing`` refuses.
            RateLimitError: a daily limit is used up, a ``retry-after`` of more than two minutes is in effect, or ``max_wait`` is
                over; ``retry_after`` says how long to wait before a new call. Nothing was sent.
            APITimeoutError: the deadline has passed.
        """
        with self._lock:
            lane = self._lane((account, model, limit))
            own_place = next(self._places) if place is None else place
            if not lane.is_paced or not lane.waiters:
                wait = lane.pacer.wait(cost_tokens, self._clock()) if lane.is_paced else Wait(0.0)
                if wait.seconds <= 0:
                    return self._ticket(lane, cost_tokens, own_place, 0.0)
                lane.limit = wait.limit or lane.limit
                if wait.is_final:
                    raise _used_up(wait, model)
        with queueing(lane.limit):
            with self._lock:
                waiter = _Waiter(own_place, cost_tokens)
                lane.add(waiter)
            return await self._queue(lane, waiter, model, deadline, max_wait)

    def snapshot(self, account: str, model: str) -> RateLimitSnapshot | None:
        """Return the limits that the service last announced for this account and model; ``None`` before the first answer."""
        with self._lock:
            lanes = [lane for (whose, which, _), lane in self._lanes.items() if (whose, which) == (account, model)]
            lanes = [lane for lane in lanes if lane.pacer.snapshot is not None]
            return max(lanes, key=lambda lane: lane.last_answer_at).pacer.snapshot if lanes else None

    def _lane(self, key: _Key) -> _Lane:
        lane = self._lanes.get(key)
        if lane is None:
            if len(self._lanes) >= _MOST_LANES:
                idle = next((old for old, other in self._lanes.items() if other.is_idle), None)
                if idle is not None:
                    del self._lanes[idle]
            lane = self._lanes[key] = _Lane(key[2], self._utc())
        self._lanes.move_to_end(key)
        return lane

    def _ticket(self, lane: _Lane, cost: float, place: int, waited: float) -> Ticket:
        lane.open_tickets += 1
        return Ticket(self, lane, lane.pacer.take(cost, self._clock()), place, waited)

    async def _queue(
        self, lane: _Lane, waiter: _Waiter, model: str, deadline: float | None, max_wait: float | None
    ) -> Ticket:
        began = self._clock()
        try:
            while True:
                with self._lock:
                    wait = self._turn(lane, waiter)
                    if wait is not None and wait.seconds <= 0:
                        waited = self._clock() - began
                        ticket = self._ticket(lane, waiter.cost, waiter.place, waited)
                        break
                    is_behind_a_stranger = wait is None and lane.is_behind_a_stranger(waiter)
                    bell = waiter.bell = waiter.loop.create_future()
                    is_news = wait is not None and not wait.is_final and lane.is_news(wait, self._clock())
                    queued = len(lane.waiters)
                if wait is not None and wait.is_final:
                    raise _used_up(wait, model)
                if wait is not None and is_news:
                    _log_wait(wait, model, queued)
                seconds = wait.seconds if wait is not None else _LOOK_SECONDS if is_behind_a_stranger else None
                waited = self._clock() - began
                if max_wait is not None:
                    if waited >= max_wait:
                        raise waited_too_long(waited, lane.limit, wait.seconds if wait is not None else None)
                    seconds = min(max_wait - waited, max_wait if seconds is None else seconds)
                await waiter.nap(bell, _in_time(seconds, deadline, waiter.loop, lane.limit, waited))
        finally:
            with self._lock:
                lane.remove(waiter)
        return ticket

    def _turn(self, lane: _Lane, waiter: _Waiter) -> Wait | None:
        """Return the wait of the head of the queue, or of a waiter for which nothing is left today; ``None`` for all others."""
        now = self._clock()
        if lane.head() is not waiter:
            if not lane.is_hopeless(waiter, now):
                return None
            return Wait(lane.pacer.day_ends_in(now), Limit.REQUESTS_PER_DAY, is_final=True)
        wait = lane.pacer.wait(waiter.cost, now)
        lane.limit = wait.limit or lane.limit
        return wait

    @staticmethod
    def _wake(lane: _Lane, now: float) -> None:
        """Wake the head of the queue to look again, after its limits have changed."""
        if lane.waiters:
            lane.wake_head()
            lane.wake_hopeless(now)


class Ticket:
    """The permission to send one request; made by ``Limiter.acquire``.

    Attributes:
        waited: the seconds that the request waited.
        place: its place in the queue, for a retry after a refusal.
    """

    def __init__(self, limiter: Limiter, lane: _Lane, reservation: Reservation, place: int, waited: float) -> None:
        self.waited = waited
        self.place = place
        self._limiter = limiter
        self._lane = lane
        self._reservation = reservation
        self._is_open = True
        self._was_let_in = False

    def observe(self, snapshot: RateLimitSnapshot) -> None:
        """Record the limits that a 200 announces; there may be none."""
        limiter, lane = self._limiter, self._lane
        with limiter._lock:  # noqa: SLF001 - its own
            now = limiter._clock()  # noqa: SLF001
            self._was_let_in = True
            lane.last_answer_at = now
            lane.pacer.observe(self._reservation, snapshot, now)
            limiter._wake(lane, now)  # noqa: SLF001

    def refused(self, error: APIStatusError) -> None:
        """Record an error answer, which used up no limits, and close the ticket. A 429 names the limit that was hit."""
        limiter, lane = self._limiter, self._lane
        limits = error.limits or RateLimitSnapshot()
        with limiter._lock:  # noqa: SLF001 - its own
            if not self._is_open:
                return
            now = limiter._clock()  # noqa: SLF001
            lane.last_answer_at = now
            if isinstance(error, RateLimitError):
                lane.pacer.refused(
                    self._reservation,
                    error.limit or Limit.UNKNOWN,
                    error.retry_after,
                    now,
                    limits,
                    is_uncached="uncached" in str(error).lower(),
                )
            else:
                lane.pacer.observe(self._reservation, limits, now)
                lane.pacer.settle(self._reservation, 0.0, now)
            self._close()
            limiter._wake(lane, now)  # noqa: SLF001

    def settle(self, total_tokens: float, cached_tokens: float = 0.0) -> None:
        """Record the tokens that the finished answer used, and close the ticket.

        Args:
            total_tokens: prompt and completion tokens.
            cached_tokens: those of them that the service had in its cache.
        """
        limiter, lane = self._limiter, self._lane
        with limiter._lock:  # noqa: SLF001 - its own
            if not self._is_open:
                return
            now = limiter._clock()  # noqa: SLF001
            lane.pacer.settle(self._reservation, total_tokens, now, cached_tokens)
            self._close()
            limiter._wake(lane, now)  # noqa: SLF001

    def close(self) -> None:
        """Close the ticket; may be called again.

        Without ``settle``, a request that was not admitted returns its whole reservation; one that was admitted keeps it, until
        the service announces what is left.
        """
        if self._is_open:
            self.settle(self._reservation.cost if self._was_let_in else 0.0)

    def __del__(self) -> None:
        """Close the ticket of a call whose generator was dropped after its loop was closed."""
        self.close()

    def _close(self) -> None:
        self._is_open = False
        self._lane.open_tickets -= 1


def _log_wait(wait: Wait, model: str, queued: int) -> None:
    limit = str(wait.limit)
    _LOG.info(
        "requests to %s wait for the rate limit (%s): %d of them, the first for %.1f s",
        model,
        limit,
        queued,
        wait.seconds,
        extra={
            "cerebras_event": "limit_wait",
            "cerebras_model": model,
            "cerebras_limit": limit,
            "cerebras_wait": wait.seconds,
            "cerebras_queued": queued,
        },
    )


def _in_time(
    seconds: float | None, deadline: float | None, loop: asyncio.AbstractEventLoop, limit: Limit, waited: float
) -> float | None:
    """Return the longest time to sleep. Raise ``APITimeoutError`` if the deadline has passed."""
    if deadline is None:
        return seconds
    left = deadline - loop.time()
    if left <= 0:
        raise APITimeoutError(f"not sent in time (timeout.total): waited {waited:.1f} s for the rate limit ({limit})")
    return left if seconds is None else min(seconds, left)


def waited_too_long(waited: float, limit: Limit | None, seconds: float | None) -> RateLimitError:
    """Return the error of a call that has waited for ``max_wait`` seconds.

    Args:
        waited: how long it waited, in seconds.
        limit: the limit that it waited for; ``None`` for a slot.
        seconds: how much longer it would have to wait, if known.
    """
    what = f"for the rate limit ({limit})" if limit else "for a slot (max_concurrency)"
    return _unsent(f"429: not sent within max_wait: waited {waited:.1f} s {what}", limit, seconds)


def queue_is_full(most: int, limit: Limit | None) -> QueueFullError:
    """Return the error of a call that the queue has no room for.

    Args:
        most: the size of the queue.
        limit: the limit that the call would wait for; ``None`` for a slot.
    """
    what = f"the rate limit ({limit})" if limit else "a slot (max_concurrency)"
    error = QueueFullError(
        f"429: not sent: it would have to wait for {what}, and the queue of this client is full (max_queue={most}); "
        "try again later, or increase max_queue",
        code="queue_full",
        type="too_many_requests_error",
    )
    error.limit = limit
    return error


def _used_up(wait: Wait, model: str) -> RateLimitError:
    return _unsent(
        f"429: not sent: the limit for {model} is used up ({wait.limit}); try again in {wait.seconds:.0f} s",
        wait.limit,
        wait.seconds,
    )


def _unsent(message: str, limit: Limit | None, retry_after: float | None) -> RateLimitError:
    code = "token_quota_exceeded" if limit and limit.unit == "tokens" else "request_quota_exceeded"
    kind = "too_many_tokens_error" if limit and limit.unit == "tokens" else "too_many_requests_error"
    error = RateLimitError(message, status_code=429, code=code, type=kind, param="quota", retry_after=retry_after)
    error.limit = limit
    return error


_process_limiter = Limiter()


def process_limiter() -> Limiter:
    """Return the limiter of this process; all models share it, because limits belong to the account."""
    return _process_limiter


def use_limiter(limiter: Limiter) -> None:
    """Use ``limiter`` for all requests of this process from now on, for example one that another process controls."""
    global _process_limiter  # noqa: PLW0603 - the process's limiter
    _process_limiter = limiter


with contextlib.suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(after_in_child=lambda: process_limiter().forget())
