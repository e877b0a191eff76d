"""How many requests may run at once in one event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from weakref import WeakKeyDictionary

from typing_extensions import Self

from langchain_cerebras_demo.client.limiter import waited_too_long
from langchain_cerebras_demo.net.loop_local import LoopLocal
from langchain_cerebras_demo.net.transport import timeout


class Slot:
    """A place among the requests that run: ``async with`` waits for it and gives it back.

    A stream that nobody reads gives it back early, and continues without one when it is read again: no request should wait for a
    stream that was forgotten, and if it had to wait for a place again, two streams that are read in turn could block each other.

    Args:
        semaphore: Its places; ``None`` if there is no bound.
        max_wait: Seconds that it may take to get one; ``None`` for as long as it takes.
        idle: Seconds without a reader after which it is given back; ``None``: never.

    Raises:
        RateLimitError: On entering; there was none within ``max_wait`` seconds.
    """

    # No async generator: a loop that ends closes all of those at once, this one before the call that holds it.

    def __init__(self, semaphore: asyncio.Semaphore | None, max_wait: float | None, idle: float | None) -> None:
        self._semaphore = semaphore
        self._max_wait = max_wait
        self._idle = idle
        self._is_held = False
        self._is_unread = False
        self._unread_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        if self._semaphore is not None:
            try:
                async with timeout(self._max_wait):
                    await self._semaphore.acquire()
            except asyncio.TimeoutError:
                raise waited_too_long(self._max_wait or 0.0, None, None) from None
            self._is_held = True
        return self

    async def __aexit__(self, *_exception: object) -> None:
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
    """A bound on requests at once, a loop: a semaphore belongs to one.

    Args:
        most: how many; ``None`` for no bound.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._semaphore = LoopLocal[asyncio.Semaphore]()

    def take(self, max_wait: float | None = None, idle: float | None = None) -> Slot:
        """Return a place among those that run, to be entered; the arguments are those of ``Slot``."""
        semaphore = None
        if self._most is not None:
            semaphore = self._semaphore.get()
            if semaphore is None:
                semaphore = asyncio.Semaphore(self._most)
                self._semaphore.set(semaphore)
        return Slot(semaphore, max_wait, idle)


_lock = threading.Lock()


class SharedSlots:
    """The slots of one model and of its copies: those with the same settings have the same.

    They live as long as a client uses them. A copy of this object is the object itself; in a pickle it is a new one.
    """

    def __init__(self) -> None:
        self._live: WeakKeyDictionary[Slots, tuple[Any, ...]] | None = None

    def slots(self, most: int | None, *settings: Any) -> Slots:
        """Return the slots for a bound and whatever else must be the same."""
        if most is None:
            return Slots(None)
        with _lock:
            if self._live is None:
                self._live = WeakKeyDictionary()
            for slots, its_settings in self._live.items():
                if its_settings == (most, *settings):
                    return slots
            made = Slots(most)
            self._live[made] = (most, *settings)
            return made

    def __copy__(self) -> SharedSlots:
        return self

    def __deepcopy__(self, memo: object) -> SharedSlots:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return (SharedSlots, ())
