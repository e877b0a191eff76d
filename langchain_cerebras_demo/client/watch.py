"""Waiting with an end, for one who waits thousands of times in a row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class Watch:
    """Ends a wait of the task at hand when its time is up.

    It does what ``asyncio.timeout`` does with one timer for all waits: a timer a network read is a tenth of what a streamed
    delta costs. The timer looks, when it rings, whether the wait that is under way has to end, and else is set again.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None  # the one that waits now
        self._due = 0.0
        self._is_late = False

    async def wait(self, awaitable: Awaitable[T], due: float | None) -> T:
        """What ``awaitable`` gives.

        Args:
            awaitable: what is waited for.
            due: the loop's time at which the wait ends; ``None`` for no end.

        Raises:
            asyncio.TimeoutError: the time was up. A task that was cancelled besides is cancelled.
        """
        if due is None:
            return await awaitable
        task = asyncio.current_task()
        others = task.cancelling() if task is not None and hasattr(task, "cancelling") else 0  # since Python 3.11
        self._task, self._due = task, due
        if self._timer is None or due < self._timer.when():
            self._set(due)
        try:
            return await awaitable
        except asyncio.CancelledError:
            if not self._is_late or (task is not None and hasattr(task, "uncancel") and task.uncancel() > others):
                raise
        finally:
            self._task, self._is_late = None, False
        raise asyncio.TimeoutError

    def close(self) -> None:
        """Stops the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, due: float) -> None:
        self.close()
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._task is None:
            return  # the next wait sets it again
        if self._loop.time() < self._due:
            self._set(self._due)
        elif not self._is_late:
            self._is_late = True
            self._task.cancel()
