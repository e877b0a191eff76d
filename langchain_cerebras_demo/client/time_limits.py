"""The time limits of one attempt, for a reader that waits thousands of times in a row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Literal, TypeVar

from langchain_cerebras_demo.errors import APITimeoutError
from langchain_cerebras_demo.policy import Timeout

T = TypeVar("T")

_LATE = {"first_event": "no answer", "idle": "no further event", "total": "not finished"}


class Watch:
    """A watch that ends a wait of the current task when the time of its stage is up.

    It works like ``asyncio.timeout``, but with one timer for all waits: a timer for each network read would take a tenth of the
    time of a streamed delta. When the timer fires, it ends the current wait if its time is up; otherwise it is set again.

    Args:
        bounds: the timeouts of the stages.
        deadline: the running loop's time by which everything must be done; ``None`` for no deadline.
    """

    def __init__(self, bounds: Timeout, deadline: float | None = None) -> None:
        self._bounds = bounds
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None  # the one that waits now
        self._is_late = False
        self.begin("first_event")

    def begin(self, stage: Literal["first_event", "idle"]) -> None:
        """Start a stage, with its timeout from now on, or the deadline if that is sooner."""
        bound: float | None = getattr(self._bounds, stage)
        self._stage: Literal["first_event", "idle", "total"] = stage
        self._due = None if bound is None else self._loop.time() + bound
        if self._deadline is not None and (self._due is None or self._deadline < self._due):
            self._stage, self._due = "total", self._deadline

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Return the result of ``awaitable`` if it arrives within the time of the current stage.

        Raises:
            APITimeoutError: the time is up. If the task was also cancelled, ``CancelledError`` is raised instead.
        """
        due = self._due
        if due is None:
            return await awaitable
        task = asyncio.current_task()
        others = task.cancelling() if task is not None and hasattr(task, "cancelling") else 0  # since Python 3.11
        self._task = task
        if self._timer is None or due < self._timer.when():
            self._set_timer(due)
        try:
            return await awaitable
        except asyncio.CancelledError:
            is_late, self._is_late = self._is_late, False
            if not is_late or _uncancel(task) > others:
                raise
        finally:
            if self._is_late:  # the awaitable ended in another way although it was cancelled
                _uncancel(task)
            self._task, self._is_late = None, False
        bound = getattr(self._bounds, self._stage)
        raise APITimeoutError(f"{_LATE[self._stage]} within {bound:g} s (timeout.{self._stage})")

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, due: float) -> None:
        self.close()
        self._timer = self._loop.call_at(due, self._check)

    def _check(self) -> None:
        self._timer = None
        if self._task is None or self._due is None:
            return  # the next wait sets it again
        if self._loop.time() < self._due:
            self._set_timer(self._due)
        elif not self._is_late:
            self._is_late = True
            self._task.cancel()


def _uncancel(task: asyncio.Task[Any] | None) -> int:
    """Take back one cancellation, and return how many are left; 0 before Python 3.11, which does not count them."""
    return task.uncancel() if task is not None and hasattr(task, "uncancel") else 0
