"""Slots: bounds on the calls of a client that run and that wait at the same time."""

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
    """A slot for one running call: ``async with`` waits for it and releases it at the end.

    A stream that is not read releases its slot early, and continues without one when it is read again: no request should wait for
    a forgotten stream, and if a stream had to wait for a slot again, two streams that are read in turn could block each other.

    Args:
        slots: the slots that it belongs to.
        semaphore: the semaphore that counts them; ``None`` if there is no bound.
        max_wait: the longest wait in seconds; ``None`` for no bound.
        idle: seconds without a reader after which the slot is released; ``None`` for never.
        is_bounded: whether ``max_queue`` applies to the call.

    Attributes:
        waited: the seconds waited for the slot.
        was_admitted: whether the call has waited or sent a request before; then a full queue does not refuse it any more.

    Raises:
        QueueFullError: on entering, if no slot is free and the queue is full.
        RateLimitError: on entering, if no slot became free within ``max_wait`` seconds.
    """

    # Not an async generator: a loop that ends closes all generators at once, and might close this one before the call that uses it.

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
        self._is_counted = False
        self._is_held = False
        self._is_unread = False
        self._unread_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._slots.count(calls=1)
        self._is_counted = True
        try:
            if self._semaphore is not None:
                if self._semaphore.locked():
                    await self._wait(self._semaphore)
                else:
                    await self._semaphore.acquire()  # at once
                self._is_held = True
        except BaseException:
            self._uncount()
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
        """Return a context in which the call counts as waiting.

        Args:
            limit: the limit that it waits for; ``None`` for a slot.

        Raises:
            QueueFullError: the queue is full, and this call has not been admitted before.
        """
        if not self._slots.enter_queue(is_bounded=self._is_bounded and not self.was_admitted):
            raise queue_is_full(self._slots.max_queue or 0, limit)
        self.was_admitted = True
        try:
            yield
        finally:
            self._slots.count(queued=-1)

    async def __aexit__(self, *_exception: object) -> None:
        self._uncount()
        self._give_back()

    def __del__(self) -> None:
        """Stop counting a call whose generator was dropped after its loop was closed."""
        self._uncount()

    def _uncount(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self._slots.count(calls=-1)

    def pause(self) -> None:
        """Note that the reader has received events and does not wait for more yet."""
        if not self._is_held or self._idle is None:
            return
        loop = asyncio.get_running_loop()
        self._unread_since, self._is_unread = loop.time(), True
        if self._timer is None:  # one timer for many pauses: one for each would cost more than the pause
            self._timer = loop.call_later(self._idle, self._check)

    def resume(self) -> None:
        """Note that the reader waits for more events."""
        self._is_unread = False

    def _check(self) -> None:
        self._timer = None
        if not self._is_unread or self._idle is None:
            return  # the next pause sets the timer again
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
    """Bounds on the calls that run at the same time in one loop, and on those of all loops that wait.

    Args:
        most: the most calls that run in one loop; ``None`` for no bound.
        max_queue: the most calls that wait for a slot or for a rate limit; ``None`` for no bound.
    """

    def __init__(self, most: int | None, max_queue: int | None = None) -> None:
        self.max_queue = max_queue
        self._most = most
        self._semaphore = LoopLocal[asyncio.Semaphore]()
        self.forget()
        _counting.add(self)

    def forget(self) -> None:
        """Reset, for a forked child: the calls belong to the parent."""
        self._lock = threading.RLock()  # the garbage collector may end a call anywhere
        self._calls = self._queued = 0

    def take(self, max_wait: float | None = None, idle: float | None = None, *, is_bounded: bool = True) -> Slot:
        """Return a slot to enter; see ``Slot`` for the arguments."""
        semaphore = None
        if self._most is not None:
            semaphore = self._semaphore.get()
            if semaphore is None:
                semaphore = asyncio.Semaphore(self._most)
                self._semaphore.set(semaphore)
        return Slot(self, semaphore, max_wait, idle, is_bounded=is_bounded)

    @property
    def load(self) -> Load:
        """The numbers of calls that run and that wait; readable from any thread."""
        with self._lock:
            calls, queued = self._calls, self._queued
        return Load(calls - queued, queued)

    def count(self, *, calls: int = 0, queued: int = 0) -> None:
        """Change the number of calls, and of those among them that wait."""
        with self._lock:
            self._calls += calls
            self._queued += queued

    def enter_queue(self, *, is_bounded: bool) -> bool:
        """Count one more waiting call; return ``False`` if the queue is full."""
        with self._lock:
            if is_bounded and self.max_queue is not None and self._queued >= self.max_queue:
                return False
            self._queued += 1
            return True


_lock = threading.Lock()


class SharedSlots:
    """The slots of a model and of its copies: copies with the same settings share them.

    Slots exist as long as a client uses them. Copying this object returns the object itself; unpickling creates a new one.
    """

    def __init__(self) -> None:
        self._live: WeakKeyDictionary[Slots, tuple[Any, ...]] | None = None

    def slots(self, most: int | None, max_queue: int | None, *settings: Any) -> Slots:
        """Return the slots for the two bounds and the other settings that must be equal."""
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
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.Lock()
    for slots in list(_counting):
        slots.forget()


with contextlib.suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget_all)
