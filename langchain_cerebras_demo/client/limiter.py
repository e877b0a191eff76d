"""The process-wide queue around ``policy.pacing``: first come, first served, from any task, thread or loop.

Limits belong to an account and a model, so there is one queue a pair, and a request that needs much is not passed by
those behind it that need less. No thread or task runs here: the caller whose turn is next sleeps until its time, and
every answer wakes it earlier.
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

# A queue whose last request waits for less is not logged, and one that was empty meanwhile not again so soon.
_LOGGED_SECONDS = 1.0
_QUIET_SECONDS = 10.0

# How often a caller behind one of another loop looks whether that loop still runs: event loops give no shutdown notice.
_LOOK_SECONDS = 0.5

# Queues that nobody uses and that are still remembered: accounts and models of a process, not of a service's lifetime.
_MOST_LANES = 1024

_place = attrgetter("place")


class _Waiter:
    """One caller in a queue, and what wakes it."""

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
        """Sleep until it is woken, or for ``seconds``."""
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
    """The queue of one account, model and given limit."""

    def __init__(self, limit: RateLimit | None, utc: float) -> None:
        self.is_paced = limit is not None
        self.pacer = Pacer(limit, utc)
        self.waiters: list[_Waiter] = []  # by place; one that asks again after a 429 keeps its own
        self.open_tickets = 0
        self.heard = 0.0  # when the service was last heard of
        self.limit = Limit.UNKNOWN  # what the queue waits for
        self.logged: set[Limit] = set()  # of the limits that this queue has waited for since it was empty
        self.quiet_until: dict[Limit, float] = {}

    @property
    def is_idle(self) -> bool:
        return not self.waiters and not self.open_tickets

    def head(self) -> _Waiter | None:
        """Return whose turn is next: the first whose loop runs. Those of closed loops are dropped."""
        while self.waiters and self.waiters[0].loop.is_closed():
            del self.waiters[0]
        return next((waiter for waiter in self.waiters if waiter.loop.is_running()), None)

    def wake_head(self) -> None:
        if self.waiters and (head := self.head()) is not None:
            head.wake()

    def wake_hopeless(self, now: float) -> None:
        """Wake those for whom the day has nothing left, so that they are refused at once."""
        if len(self.waiters) > 1 and self.is_paced:
            left = self.pacer.left_today(now)
            if left is not None:
                for waiter in self.waiters[max(1, left) :]:
                    waiter.wake()

    def is_hopeless(self, waiter: _Waiter, now: float) -> bool:
        """Return whether those in front of ``waiter`` use up what the day has left."""
        left = self.pacer.left_today(now)
        return left is not None and bisect_left(self.waiters, waiter.place, key=_place) >= max(1, left)

    def add(self, waiter: _Waiter) -> None:
        position = bisect_left(self.waiters, waiter.place, key=_place)
        self.waiters.insert(position, waiter)
        if position + 1 < len(self.waiters):
            self.waiters[position + 1].wake()  # it is not the head any more, or has a new neighbour

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
        """Whether a wait for a limit begins that is worth a line of the log: one for each limit as long as requests wait."""
        limit, last_waits = wait.limit, wait.seconds * len(self.waiters)
        if limit is None or limit is Limit.FIRST_ANSWER or last_waits < _LOGGED_SECONDS:
            return False
        if limit in self.logged or now < self.quiet_until.get(limit, now):
            return False
        self.logged.add(limit)
        self.quiet_until[limit] = now + _QUIET_SECONDS
        return True

    def is_behind_a_stranger(self, waiter: _Waiter) -> bool:
        """Whether the next in front belongs to another loop, which may die without a word."""
        position = bisect_left(self.waiters, waiter.place, key=_place)
        return 0 < position <= len(self.waiters) and self.waiters[position - 1].loop is not waiter.loop


_Key: TypeAlias = "tuple[str, str, RateLimit | None]"

Queueing: TypeAlias = "Callable[[Limit | None], contextlib.AbstractContextManager[None]]"


def unbounded(_limit: Limit | None) -> contextlib.AbstractContextManager[None]:
    """Return a context that any number may wait in."""
    return contextlib.nullcontext()


class Limiter:
    """Lets requests go when the limits of their account and model allow it.

    All methods may be called from any thread and loop. Usually ``process_limiter()`` is the one to call.

    Args:
        clock: seconds that only grow.
        utc: the Unix time, for windows that begin anew with the calendar; the dates of answers correct it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, utc: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._utc = utc
        self.forget()

    def forget(self) -> None:
        """Start anew, as a forked child has to: whoever waited, waits in the parent."""
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
        """Wait for this request's turn. The ticket has to be closed.

        Args:
            account: whose limits these are; a fingerprint, never the key.
            model: the model's id.
            cost_tokens: the estimated prompt and ``max_completion_tokens``: what the service takes when it lets a
                request in.
            limit: numbers that the user gave; ``RateLimit()`` for none besides what the service announces; ``None``
                lets everything go at once and only listens.
            deadline: the time of the running loop by which the call has to be done.
            place: of the ticket that was refused before, so that the request does not queue up anew.
            max_wait: seconds that it may wait.
            queueing: makes the context that it waits in, if it has to: it counts those who wait, and may refuse one more.

        Raises:
            QueueFullError: ``queueing`` refuses.
            RateLimitError: a limit of the day is used up, a ``retry-after`` is over in more than two minutes, or ``max_wait`` is
                over; ``retry_after`` says when to come back. Nothing was sent.
            APITimeoutError: the deadline has come.
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
        """What the service last said of this account's limits for this model; ``None`` before it has said anything."""
        with self._lock:
            lanes = [lane for (whose, which, _), lane in self._lanes.items() if (whose, which) == (account, model)]
            lanes = [lane for lane in lanes if lane.pacer.snapshot is not None]
            return max(lanes, key=lambda lane: lane.heard).pacer.snapshot if lanes else None

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
        """Return how long the first in the queue has to wait, or one for whom nothing is left; ``None`` for all others."""
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
        """Have the next in the queue look again, after something was heard of its limits."""
        if lane.waiters:
            lane.wake_head()
            lane.wake_hopeless(now)


class Ticket:
    """The leave to send one request; made by ``Limiter.acquire``.

    Attributes:
        waited: seconds until its turn.
        place: its place in the queue, for a request that was refused and is sent again.
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
        """Count the headers of a 200, also those that announce nothing."""
        limiter, lane = self._limiter, self._lane
        with limiter._lock:  # noqa: SLF001 - its own
            now = limiter._clock()  # noqa: SLF001
            self._was_let_in = True
            lane.heard = now
            lane.pacer.observe(self._reservation, snapshot, now)
            limiter._wake(lane, now)  # noqa: SLF001

    def refused(self, error: APIStatusError) -> None:
        """Count an error as the answer: the service has taken nothing, and a 429 says which limit. The ticket is closed."""
        limiter, lane = self._limiter, self._lane
        limits = error.limits or RateLimitSnapshot()
        with limiter._lock:  # noqa: SLF001 - its own
            if not self._is_open:
                return
            now = limiter._clock()  # noqa: SLF001
            lane.heard = now
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
        """Count what the answer has used, now that it is over. The ticket is closed.

        Args:
            total_tokens: of its usage, the prompt's included.
            cached_tokens: of these, what the service had in its cache.
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
        """The request is over, whatever came of it; may be called again.

        Without ``settle``, one that was never answered gives all back; one that was let in counts as used up, until the
        service says what is left.
        """
        if self._is_open:
            self.settle(self._reservation.cost if self._was_let_in else 0.0)

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
    """Return how long to sleep at most. Raises where the deadline has come."""
    if deadline is None:
        return seconds
    left = deadline - loop.time()
    if left <= 0:
        raise APITimeoutError(f"not sent in time (timeout.total): waited {waited:.1f} s for the rate limit ({limit})")
    return left if seconds is None else min(seconds, left)


def waited_too_long(waited: float, limit: Limit | None, seconds: float | None) -> RateLimitError:
    """Return the error of a call that has waited for ``max_wait``.

    Args:
        waited: seconds.
        limit: what it waited for; ``None`` for a slot.
        seconds: how much longer it would have to wait, where that is known.
    """
    what = f"for the rate limit ({limit})" if limit else "for a slot (max_concurrency)"
    return _unsent(f"429: not sent within max_wait: waited {waited:.1f} s {what}", limit, seconds)


def queue_is_full(most: int, limit: Limit | None) -> QueueFullError:
    """Return the error of a call that would be one more than may wait.

    Args:
        most: as many as wait.
        limit: what the call would wait for; ``None`` for a slot.
    """
    what = f"the rate limit ({limit})" if limit else "a slot (max_concurrency)"
    error = QueueFullError(
        f"429: not sent: it would have to wait for {what}, and the queue of this client is full (max_queue={most}): "
        "try again later, or give max_queue a larger number",
        code="queue_full",
        type="too_many_requests_error",
    )
    error.attempts, error.limit = 0, limit
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
    error.attempts, error.limit = 0, limit
    return error


_process_limiter = Limiter()


def process_limiter() -> Limiter:
    """The one limiter of this process: limits belong to the account, and not to a model object."""
    return _process_limiter


def use_limiter(limiter: Limiter) -> None:
    """Let all requests of this process wait in ``limiter`` from now on: for a process whose turns are given elsewhere."""
    global _process_limiter  # noqa: PLW0603 - this is the one place that a process has for it
    _process_limiter = limiter


with contextlib.suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(after_in_child=lambda: process_limiter().forget())
