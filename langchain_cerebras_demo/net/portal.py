"""One event loop on one daemon thread, for callers that have none of their own. It knows nothing of chat.

Synchronous calls run the same async code as everybody else: here. That works inside a running loop too (a notebook's),
since it is never that loop which is used. Context variables of the caller are carried over. After a fork the child opens a
portal of its own; when the interpreter ends, what is open is closed.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import CancelledError, Future
from contextlib import aclosing, closing
from queue import SimpleQueue
from typing import Any, TypeVar

from langchain_cerebras_demo.errors import CerebrasError
from langchain_cerebras_demo.net.ending import ENDED, is_ending, refuse_at_the_end
from langchain_cerebras_demo.net.green import GreenQueue, RealThread, is_patched

T = TypeVar("T")

_READ_AHEAD = 64  # items that may wait for a slow consumer before the pump stops reading
_END = object()


class Portal:
    """Runs coroutines and async generators for synchronous callers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | RealThread[asyncio.AbstractEventLoop] | None = None
        self._pumps: set[Future[None]] = set()

    def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the coroutine of ``call`` returns or raises; an interrupt cancels it.

        Raises:
            RuntimeError: called from the portal's own thread, which would wait for itself for ever.
            CerebrasError: the interpreter ends.
        """
        future = _submitted(call, self._running_loop())
        try:
            if is_patched():
                with closing(GreenQueue()) as done:
                    future.add_done_callback(done.put)
                    done.get()
            return _result(future)
        finally:
            future.cancel()  # Ctrl-C: nothing goes on behind the caller's back

    def iterate(self, open_items: Callable[[], AsyncGenerator[T, None]]) -> Generator[T, None, None]:
        """The items of the async generator of ``open_items``, as they come.

        One task consumes the whole generator and fills a queue: a future an item would cost ten times the item. Closing
        the iterator cancels the task and waits for nothing: it may be the garbage collector who closes it, on any thread.

        Raises:
            RuntimeError, CerebrasError: as ``run``.
        """
        loop = self._running_loop()
        queue: SimpleQueue[Any] | GreenQueue = GreenQueue() if is_patched() else SimpleQueue()
        room = asyncio.Semaphore(_READ_AHEAD)
        future = _submitted(lambda: _pump(open_items, queue, room), loop)
        # Loops hold tasks weakly: one that waits for room would be collected together with its iterator, uncancelled.
        self._pumps.add(future)
        future.add_done_callback(self._pumps.discard)
        future.add_done_callback(lambda _: queue.put(_END))  # also where the task was cancelled before it began
        try:
            taken = 0
            while (item := queue.get()) is not _END:
                yield item
                taken += 1
                if taken % (_READ_AHEAD // 2) == 0:  # waking the loop costs more than an item: seldom
                    with contextlib.suppress(RuntimeError):  # closed meanwhile: what has come is still handed out
                        loop.call_soon_threadsafe(_make_room, room)
            _result(future)  # raises what the generator raised
        finally:
            future.cancel()
            if isinstance(queue, GreenQueue):
                queue.close()

    def close(self) -> None:
        """Cancels what runs, closes generators and connections, and ends the thread. The next call opens a new one."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            with contextlib.suppress(RuntimeError):  # it has closed already
                loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=5)

    def forget(self) -> None:
        """Lets go of a loop whose thread did not survive a fork."""
        self._lock = threading.Lock()
        self._loop = self._thread = None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        refuse_at_the_end()
        with self._lock:
            # gevent may have patched Python since: then the loop that is open waits for threads that are none any more.
            is_out_of_date = isinstance(self._thread, RealThread) != is_patched()
            if self._loop is None or self._thread is None or is_out_of_date or not self._thread.is_alive():
                self._loop, self._thread = _open()
            if _loop_of_this_thread() is self._loop:
                raise RuntimeError(
                    "a synchronous call was made on the thread that serves synchronous calls, and would wait for itself: "
                    "in a callback, a key callable or a transport, use the async method (ainvoke, astream, …)"
                )
            return self._loop


def _open() -> tuple[asyncio.AbstractEventLoop, threading.Thread | RealThread[asyncio.AbstractEventLoop]]:
    """A loop that runs, and its thread."""
    if is_patched():  # there a loop belongs to the thread that has made it
        real_thread = RealThread(asyncio.new_event_loop, _run)
        return real_thread.prepared, real_thread
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_run, args=(loop,), name="cerebras-demo", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # Python 3.12: as soon as the main thread has done its work
        loop.close()
        why = ENDED if is_ending() else f"no thread could be started for synchronous calls ({error})"
        raise CerebrasError(why) from None
    return loop, thread


def _submitted(call: Callable[[], Coroutine[Any, Any, T]], loop: asyncio.AbstractEventLoop) -> Future[T]:
    coroutine = call()
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError as error:  # it has been closed meanwhile
        coroutine.close()
        raise (CerebrasError(ENDED) if is_ending() else error) from None


def _result(future: Future[T]) -> T:
    try:
        return future.result()
    except CancelledError:
        if not is_ending():
            raise
    raise CerebrasError(ENDED)


async def _pump(
    open_items: Callable[[], AsyncGenerator[T, None]], queue: SimpleQueue[Any] | GreenQueue, room: asyncio.Semaphore
) -> None:
    async with aclosing(open_items()) as items:
        async for item in items:
            await room.acquire()
            queue.put(item)


def _loop_of_this_thread() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _make_room(room: asyncio.Semaphore) -> None:
    for _ in range(_READ_AHEAD // 2):
        room.release()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        with contextlib.suppress(RuntimeError):  # Python 3.12.0 and .1 start no thread, as this does, at their end
            loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()


portal = Portal()
"""The one portal of this process."""

atexit.register(portal.close)
with contextlib.suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(after_in_child=portal.forget)
