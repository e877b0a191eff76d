"""How many calls of a client may run at once in one event loop, how many may wait, and how many do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from typing_extensions import Self

from langchain_cerebras_demo.client.limiter import queue_is_full, waited_too_long
from langchain_cerebras_demo.net.loop_local import LoopLocal
from langchain_cerebras_demo.net.transport import timeout
from langchain_cerebras_demo.records import Limit, Load

_counting: WeakSet[Slots] = WeakSet()


class Slot:
    """A place among the calls that run: ``async with`` waits for it and gives it back.

    A stream that nobody reads gives it back early, and continues without one when it is read again: no request should wait for a
    stream that was forgotten, and if it had to wait for a place again, two streams that are read in turn could block each other.

    Args:
        slots: whose place it is.
        semaphore: Its places; ``None`` if there is no bound.
        max_wait: Seconds that it may take to get one; ``None`` for as long as it takes.
        idle: Seconds without a reader after which it is given back; ``None``: never.
        is_bounded: whether ``max_queue`` holds for it.

    Attributes:
        waited: seconds waited for it.
        was_admitted: whether the call has waited or has sent something: then it is not turned away from a full queue any more.

    Raises:
        QueueFullError: On entering; it is taken, and as many wait as may.
        RateLimitError: On entering; there was none within ``max_wait`` seconds.
    """

    # No async generator: a loop that ends closes all of those at once, this one before the call that holds it.

    def __init__(
        self,
        slots: Slots,
        semaphore: asyncio.Semaphore | None,
        max_wait: float | None,
        idle: float | None,
        *,
        is_bounded: bool = True,
    ) -> None:
        self.waited = 0.0
        self.was_admitted = False
        self._slots = slots
        self._semaphore = semaphore
        self._max_wait = max_wait
        self._idle = idle
        self._is_bounded = is_bounded
        self._is_held = False
        self._is_unread = False
        self._unread_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._slots.count(calls=1)
        try:
            if self._semaphore is not None:
                if self._semaphore.locked():
                    await self._wait(self._semaphore)
                else:
                    await self._semaphore.acquire()  # at once
                self._is_held = True
        except BaseException:
            self._slots.count(calls=-1)
            raise
        return self

    async def _wait(self, semaphore: asyncio.Semaphore) -> None:
        loop = asyncio.get_running_loop()
        with self.queueing(None):
            began = loop.time()
            try:
                async with timeout(self._max_wait):
                    await semaphore.acquire()
            except asyncio.TimeoutError:
                raise waited_too_long(self._max_wait or 0.0, None, None) from None
            finally:
                self.waited = loop.time() - began

    @contextlib.contextmanager
    def queueing(self, limit: Limit | None) -> Iterator[None]:
        """Count the call among those that wait, inside.

        Args:
            limit: what it waits for; ``None`` for a slot.

        Raises:
            QueueFullError: as many wait as may, and this call has not been admitted before.
        """
        if not self._slots.enter_queue(is_bounded=self._is_bounded and not self.was_admitted):
            raise queue_is_full(self._slots.max_queue or 0, limit)
        self.was_admitted = True
        try:
            yield
        finally:
            self._slots.count(queued=-1)

    async def __aexit__(self, *_exception: object) -> None:
        self._slots.count(calls=-1)
        self._give_back()

    def pause(self) -> None:
        """Say that the reader has something, and has to come back for more."""
        if not self._is_held or self._idle is None:
            return
        loop = asyncio.get_running_loop()
        self._unread_since, self._is_unread = loop.time(), True
        if self._timer is None:  # one for many pauses: a timer for each would cost more than the pause
            self._timer = loop.call_later(self._idle, self._check)

    def resume(self) -> None:
        """Say that the reader has come back."""
        self._is_unread = False

    def _check(self) -> None:
        self._timer = None
        if not self._is_unread or self._idle is None:
            return  # the next pause sets it again
        loop = asyncio.get_running_loop()
        due = self._unread_since + self._idle
        if loop.time() < due:
            self._timer = loop.call_at(due, self._check)
        else:
            self._give_back()

    def _give_back(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_held and self._semaphore is not None:
            self._is_held = False
            self._semaphore.release()


class Slots:
    """Bounds on calls: how many may run at once in a loop, and how many of all loops may wait.

    Args:
        most: how many may run; ``None`` for no bound. A semaphore counts them, which belongs to one loop.
        max_queue: how many may wait for a slot or for a rate limit; ``None`` for no bound.
    """

    def __init__(self, most: int | None, max_queue: int | None = None) -> None:
        self.max_queue = max_queue
        self._most = most
        self._semaphore = LoopLocal[asyncio.Semaphore]()
        self.forget()
        _counting.add(self)

    def forget(self) -> None:
        """Start anew, as a forked child has to: the calls run in the parent."""
        self._lock = threading.Lock()
        self._calls = self._queued = 0

    def take(self, max_wait: float | None = None, idle: float | None = None, *, is_bounded: bool = True) -> Slot:
        """Return a place among those that run, to be entered; the arguments are those of ``Slot``."""
        semaphore = None
        if self._most is not None:
            semaphore = self._semaphore.get()
            if semaphore is None:
                semaphore = asyncio.Semaphore(self._most)
                self._semaphore.set(semaphore)
        return Slot(self, semaphore, max_wait, idle, is_bounded=is_bounded)

    @property
    def load(self) -> Load:
        """How many calls run and wait; from any thread."""
        with self._lock:
            return Load(self._calls - self._queued, self._queued)

    def count(self, *, calls: int = 0, queued: int = 0) -> None:
        """Count calls that begin or end, and such that join or leave the queue."""
        with self._lock:
            self._calls += calls
            self._queued += queued

    def enter_queue(self, *, is_bounded: bool) -> bool:
        """Count one more that waits; ``False`` if there are as many as may."""
        with self._lock:
            if is_bounded and self.max_queue is not None and self._queued >= self.max_queue:
                return False
            self._queued += 1
            return True


_lock = threading.Lock()


class SharedSlots:
    """The slots of one model and of its copies: those with the same settings have the same.

    They live as long as a client uses them. A copy of this object is the object itself; in a pickle it is a new one.
    """

    def __init__(self) -> None:
        self._live: WeakKeyDictionary[Slots, tuple[Any, ...]] | None = None

    def slots(self, most: int | None, max_queue: int | None, *settings: Any) -> Slots:
        """Return the slots for two bounds and whatever else must be the same."""
        with _lock:
            if self._live is None:
                self._live = WeakKeyDictionary()
            for slots, its_settings in self._live.items():
                if its_settings == (most, max_queue, *settings):
                    return slots
            made = Slots(most, max_queue)
            self._live[made] = (most, max_queue, *settings)
            return made

    def __copy__(self) -> SharedSlots:
        return self

    def __deepcopy__(self, memo: object) -> SharedSlots:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return (SharedSlots, ())


def _forget_all() -> None:
    for slots in list(_counting):
        slots.forget()


with contextlib.suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget_all)
