"""Threads and queues where gevent has patched Python: there ``threading`` starts greenlets and no thread.

An event loop needs a thread of its own, or the loop of whoever runs next in the same one is refused. Nothing here imports
gevent: it works with the one that the process has patched itself with.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def is_patched() -> bool:
    """Whether gevent has taken the place of ``threading``."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


class RealThread(Generic[T]):
    """A thread of the operating system, started as gevent has found it; it ends with the process at the latest.

    Args:
        prepare: called in it first; waited for, with all greenlets of the caller's thread standing still.
        function: called in it then, with what ``prepare`` has returned.
    """

    def __init__(self, prepare: Callable[[], T], function: Callable[[T], None]) -> None:
        monkey: Any = sys.modules["gevent.monkey"]
        new_lock = monkey.get_original("_thread", "allocate_lock")
        self._is_prepared, self._runs = new_lock(), new_lock()
        self._is_prepared.acquire()
        self._runs.acquire()
        self._prepared: list[T] = []
        monkey.get_original("_thread", "start_new_thread")(self._run, (prepare, function))
        self._is_prepared.acquire()

    @property
    def prepared(self) -> T:
        """What ``prepare`` has returned."""
        return self._prepared[0]

    def join(self, timeout: float) -> None:
        """Waits for its end, ``timeout`` seconds at most."""
        if self._runs.acquire(timeout=timeout):
            self._runs.release()

    def _run(self, prepare: Callable[[], T], function: Callable[[T], None]) -> None:
        try:
            try:
                self._prepared.append(prepare())
            finally:
                self._is_prepared.release()
            function(self.prepared)
        finally:
            self._runs.release()


class GreenQueue:
    """Items from any thread to one greenlet, which lets the others of its thread run while it waits."""

    def __init__(self) -> None:
        gevent: Any = sys.modules["gevent"]
        self._items: deque[Any] = deque()
        self._loop = gevent.get_hub().loop
        self._has_come = gevent.event.Event()
        self._watcher = self._loop.async_()  # the one thing of gevent's that another thread may touch
        self._watcher.start(self._has_come.set)

    def put(self, item: object) -> None:
        """Hands over ``item``; from any thread."""
        self._items.append(item)
        if (watcher := self._watcher) is not None:  # closed: nobody waits any more
            watcher.send()

    def get(self) -> Any:
        """The next item, waiting for one if there is none."""
        while not self._items:
            self._has_come.clear()
            if not self._items:
                self._has_come.wait()
        return self._items.popleft()

    def close(self) -> None:
        """Lets gevent's loop forget it; nothing is put in any more."""
        self._loop.run_callback_threadsafe(self._stop)

    def _stop(self) -> None:
        watcher, self._watcher = self._watcher, None
        watcher.stop()
        watcher.close()
