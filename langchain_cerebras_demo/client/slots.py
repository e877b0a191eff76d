"""How many requests of one client may run at once in one loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from langchain_cerebras_demo.client.limiter import waited_too_long
from langchain_cerebras_demo.net.loops import LoopLocal
from langchain_cerebras_demo.net.transport import timeout


class Slots:
    """A bound on requests at once, a loop: a semaphore belongs to one.

    Args:
        most: how many; ``None`` for no bound.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._semaphore = LoopLocal[asyncio.Semaphore]()

    @asynccontextmanager
    async def take(self, max_wait: float | None = None) -> AsyncIterator[None]:
        """Hold a place among those that run, and wait for it.

        Raises:
            RateLimitError: there was none within ``max_wait`` seconds.
        """
        if self._most is None:
            yield
            return
        semaphore = self._semaphore.get()
        if semaphore is None:
            semaphore = asyncio.Semaphore(self._most)
            self._semaphore.set(semaphore)
        try:
            async with timeout(max_wait):
                await semaphore.acquire()
        except asyncio.TimeoutError:
            raise waited_too_long(max_wait or 0.0, None, None) from None
        try:
            yield
        finally:
            semaphore.release()
