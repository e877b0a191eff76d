"""Functions that may block: each call runs in a daemon thread, so that the event loop is not stopped."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from langchain_cerebras_demo.net.gevent_support import RealThread, is_patched

T = TypeVar("T")


class Outcome(Generic[T]):
    """What a function returned or raised. Its ``repr`` shows neither: asyncio logs arguments and results in debug mode."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._value: Any = None
        self._error: BaseException | None = None
        try:
            self._value = function()
        except BaseException as error:  # noqa: BLE001 - raised by get
            self._error = error

    def get(self) -> T:
        """Return or raise it."""
        if self._error is not None:
            raise self._error
        value: T = self._value
        return value


def start_in_thread(function: Callable[[], T], name: str) -> asyncio.Future[Outcome[T]]:
    """Call ``function`` in a thread, with the caller's context variables; return a future of the running loop.

    Neither the end of the program nor that of the loop waits for the thread: a function that asks a dead server, or opens a
    dialog, may never return. A thread of the loop's own pool would be waited for.

    Args:
        function: What is called.
        name: The thread's name.

    Raises:
        RuntimeError: No thread can be started.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Outcome[T]] = loop.create_future()
    context = copy_context()

    def settle(outcome: Outcome[T]) -> None:
        if not future.done():  # otherwise the caller has left
            future.set_result(outcome)

    def run() -> None:
        outcome = context.run(Outcome, function)
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(settle, outcome)

    if is_patched():  # a greenlet would never run in the thread of an event loop
        RealThread(lambda: None, lambda _: run())
    else:
        threading.Thread(target=run, daemon=True, name=name).start()
    return future
