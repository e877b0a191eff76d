"""Threads and queues for a process patched by gevent, where ``threading`` starts greenlets instead of threads.

An event loop needs a thread of its own, because asyncio refuses a second loop in the same one. Nothing here imports gevent:
it uses the modules with which the process has patched itself.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def is_patched() -> bool:
    """Return whether gevent has replaced ``threading``."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


class RealThread(Generic[T]):
    """A thread of the operating system, started with the original functions. It does not outlive the process.

    Args:
        prepare: called first in the thread; the caller waits for it, and blocks all greenlets of its own thread.
        function: called next in the thread, with the result of ``prepare``.
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
        """The result of ``prepare``."""
        return self._prepared[0]

    def join(self, timeout: float) -> None:
        """Wait for its end, ``timeout`` seconds at most."""
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


class RealThreads(ThreadPoolExecutor):
    """An executor that runs each function in a new thread of the operating system, which does not outlive the process.

    Under gevent, the threads of a ``ThreadPoolExecutor`` are greenlets, and the interpreter waits for them when it exits. If
    such a greenlet belongs to another thread, gevent never wakes it, so the process would hang.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start ``fn`` and return the future of its result."""
        future: Future[T] = Future()
        RealThread(lambda: None, lambda _: _run_for(future, lambda: fn(*args, **kwargs)))
        return future


def _run_for(future: Future[T], function: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
        future.set_exception(error)
    else:
        future.set_result(result)


class GreenQueue:
    """A queue from any thread to one greenlet; the others of its thread run while it waits."""

    def __init__(self) -> None:
        gevent: Any = sys.modules["gevent"]
        self._items: deque[Any] = deque()
        self._loop = gevent.get_hub().loop
        self._has_come = gevent.event.Event()
        self._watcher = self._loop.async_()  # the only object of gevent that other threads may use
        self._watcher.start(self._has_come.set)

    def put(self, item: object) -> None:
        """Add ``item``; from any thread."""
        self._items.append(item)
        if (watcher := self._watcher) is not None:  # otherwise it is closed, and nothing waits
            watcher.send()

    def get(self) -> Any:
        """Return the next item, waiting for one if there is none."""
        while not self._items:
            self._has_come.clear()
            if not self._items:
                self._has_come.wait()
        return self._items.popleft()

    def close(self) -> None:
        """Detach from gevent's loop; items that are added later are not delivered."""
        self._loop.run_callback_threadsafe(self._stop)

    def _stop(self) -> None:
        watcher, self._watcher = self._watcher, None
        watcher.stop()
        watcher.close()
