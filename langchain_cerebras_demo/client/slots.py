"""How many requests of one client may run at once in one loop."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import AbstractAsyncContextManager, nullcontext


class Slots:
    """A bound on requests at once, a loop: a semaphore belongs to one.

    Args:
        most: how many; ``None`` for no bound.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )

    def take(self) -> AbstractAsyncContextManager[None]:
        """A place among those that run; entering it waits for one."""
        if self._most is None:
            return nullcontext()
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            for other in [other for other in self._loops if other.is_closed()]:
                del self._loops[other]  # a semaphore that somebody waited for holds its loop, and so its own entry
            self._loops[loop] = asyncio.Semaphore(self._most)
        return self._loops[loop]
