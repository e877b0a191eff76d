"""One call at a time, however many ask: the others get the same answer, from whatever task, thread or loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class _AbandonedError(Exception):
    """The loop that made the call was closed under it: somebody else has to make it."""


class SingleFlight(Generic[T]):
    """Joins concurrent calls of one coroutine function into one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flight: Future[T] | None = None
        self._pid = os.getpid()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """What ``call`` returns or raises; it runs in a task of its own, so a caller that is cancelled stops nobody."""
        while True:
            flight, is_leader = self._join()
            if is_leader:
                task = asyncio.create_task(self._fly(flight, call))
                self._tasks.add(task)  # the loop holds tasks weakly
                task.add_done_callback(self._tasks.discard)
            try:
                return await asyncio.wrap_future(flight)
            except _AbandonedError:
                continue

    def _join(self) -> tuple[Future[T], bool]:
        if self._pid != os.getpid():  # a flight of the parent's never lands in a forked child
            self._lock, self._flight, self._pid = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._flight is not None:
                return self._flight, False
            self._flight = Future()
            self._flight.set_running_or_notify_cancel()  # now no caller's cancellation can reach it
            return self._flight, True

    async def _fly(self, flight: Future[T], call: Callable[[], Awaitable[T]]) -> None:
        try:
            landed = await call()
        except asyncio.CancelledError:
            self._land()
            flight.set_exception(_AbandonedError())
            raise
        except BaseException as error:  # noqa: BLE001 - handed to every caller
            self._land()
            flight.set_exception(error)
        else:
            self._land()
            flight.set_result(landed)

    def _land(self) -> None:
        with self._lock:
            self._flight = None
