"""Merges concurrent calls into one, whose result all callers get, in any task, thread or event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")

# How often a waiting caller checks that the loop which makes the call still runs: event loops give no shutdown notice.
_LOOK_SECONDS = 0.5


class _AbandonedError(Exception):
    """The loop that made the call was stopped or closed before its end: another caller has to make it."""


class _Flight(Future[T]):
    """A call in progress, and the loop that makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.set_running_or_notify_cancel()  # from here on, no caller can cancel it


class SingleFlight(Generic[T]):
    """Merge concurrent calls of one coroutine function into one."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a call may be abandoned by the garbage collector, anywhere
        self._flight: _Flight[T] | None = None
        self._pid = os.getpid()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what ``call`` returns. It runs in a task of its own, so cancelling one caller does not affect the others."""
        while True:
            flight, is_leader = self._join()
            if is_leader:
                task = asyncio.create_task(self._fly(flight, call))
                self._tasks.add(task)  # the loop holds tasks weakly
                task.add_done_callback(self._tasks.discard)
            try:
                return await self._landed(flight)
            except _AbandonedError:
                continue

    def _join(self) -> tuple[_Flight[T], bool]:
        if self._pid != os.getpid():  # a call of the parent never ends in a forked child
            self._lock, self._flight, self._pid = threading.RLock(), None, os.getpid()
        with self._lock:
            if self._flight is not None and self._flight.loop.is_running():
                return self._flight, False
            self._flight = _Flight()
            return self._flight, True

    async def _landed(self, flight: _Flight[T]) -> T:
        landing = asyncio.wrap_future(flight)
        try:
            while not (await asyncio.wait({landing}, timeout=_LOOK_SECONDS))[0]:
                if not flight.loop.is_running():
                    raise _AbandonedError
            return landing.result()
        finally:
            with contextlib.suppress(RuntimeError):  # this caller's loop is closed, too
                landing.cancel()

    async def _fly(self, flight: _Flight[T], call: Callable[[], Awaitable[T]]) -> None:
        try:
            landed = await call()
        except (asyncio.CancelledError, GeneratorExit):
            self._land(flight)
            flight.set_exception(_AbandonedError())
            raise
        except BaseException as error:  # noqa: BLE001 - handed to every caller
            self._land(flight)
            flight.set_exception(error)
        else:
            self._land(flight)
            flight.set_result(landed)

    def _land(self, flight: _Flight[T]) -> None:
        with self._lock:
            if self._flight is flight:  # and not one that has taken over
                self._flight = None
