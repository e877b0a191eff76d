"""An event loop whose clock jumps: what would sleep for an hour is over at once, in the order in which it would have happened."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import selectors
import threading

__all__ = ["VirtualTimeLoop", "in_virtual_time", "jumping"]


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that never waits. It begins at 0 seconds and serves tasks alone: nothing may wait for a socket or a thread."""

    def __init__(self):
        self._seconds = 0.0
        super().__init__(_NoWait(self))

    def time(self):
        return self._seconds

    def _jump(self, seconds):
        if seconds is None:
            raise RuntimeError("every task waits for something that no other task will do")
        self._seconds += seconds


class _NoWait(selectors.DefaultSelector):
    def __init__(self, loop):
        super().__init__()
        self._loop = loop

    def select(self, timeout=None):
        if ready := super().select(0):
            return ready
        if timeout != 0:
            self._loop._jump(timeout)
        return []


def in_virtual_time(test):
    """Runs an async test on a ``VirtualTimeLoop``; its seconds are those of ``asyncio.get_running_loop().time()``."""

    @functools.wraps(test)
    def run(*arguments, **fixtures):
        loop = VirtualTimeLoop()
        try:
            return loop.run_until_complete(test(*arguments, **fixtures))
        finally:
            if left := asyncio.all_tasks(loop):
                for task in left:
                    task.cancel()
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    return run


@contextlib.contextmanager
def jumping(seconds, *, after):
    """Once ``after()`` has returned, on a thread of its own, every event loop of this process is ``seconds`` ahead.

    So a timeout over real sockets can be long enough for any machine, and over when there is nothing left to wait for.
    """
    loops = {}
    ahead = 0.0
    real = asyncio.BaseEventLoop.time

    def time(loop):
        loops[id(loop)] = loop
        return real(loop) + ahead

    def jump():
        nonlocal ahead
        after()
        ahead = seconds
        for loop in list(loops.values()):
            with contextlib.suppress(RuntimeError):  # it has been closed
                loop.call_soon_threadsafe(int)  # it looks at its timers again

    waiting = threading.Thread(target=jump)
    asyncio.BaseEventLoop.time = time
    try:
        waiting.start()
        yield
    finally:
        waiting.join()
        asyncio.BaseEventLoop.time = real
