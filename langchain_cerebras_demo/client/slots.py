"""How many requests of one client may run at once in one loop."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext

from langchain_cerebras_demo.net.loops import LoopLocal


class Slots:
    """A bound on requests at once, a loop: a semaphore belongs to one.

    Args:
        most: how many; ``None`` for no bound.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._semaphore = LoopLocal[asyncio.Semaphore]()

    def take(self) -> AbstractAsyncContextManager[None]:
        """A place among those that run; entering it waits for one."""
        if self._most is None:
            return nullcontext()
        semaphore = self._semaphore.get()
        if semaphore is None:
            semaphore = asyncio.Semaphore(self._most)
            self._semaphore.set(semaphore)
        return semaphore
