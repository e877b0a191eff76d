"""One event loop on one daemon thread, for synchronous callers. It is independent of chat.

Synchronous calls run the same async code as all others, on this loop. This also works while another loop is running, as in
a notebook. The caller's context variables are used. After a fork, the child opens its own portal. When the interpreter
shuts down, the portal closes what is open.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import CancelledError, Future
from contextlib import aclosing
from queue import SimpleQueue
from typing import Any, TypeVar

from langchain_cerebras_demo.errors import CerebrasError
from langchain_cerebras_demo.net.gevent_support import GreenQueue, RealThread, RealThreads, is_patched
from langchain_cerebras_demo.net.shutdown import ENDED, is_ending, refuse_at_the_end

T = TypeVar("T")

_READ_AHEAD = 64  # items that may wait for a slow consumer before the pump stops reading
_END = object()


class Portal:
    """Run coroutines and async generators for synchronous callers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | RealThread[asyncio.AbstractEventLoop] | None = None
        self._pumps: set[Future[None]] = set()

    def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of the coroutine that ``call`` makes; an interrupt cancels it.

        Raises:
            RuntimeError: it was called on the portal's own thread, where it would wait for itself forever.
            CerebrasError: the interpreter is shutting down.
        """
        loop = self._running_loop()
        future: Future[T] = Future()
        # A queue instead of `future.result()`: Ctrl-C at the wrong moment leaves the lock of a threading.Condition broken.
        queue = _new_queue()
        future.add_done_callback(queue.put)
        try:
            _start(call, future, loop)
            queue.get()
            return _result(future)
        finally:
            future.cancel()  # after Ctrl-C, nothing continues in the background
            _close(queue)

    def iterate(self, open_items: Callable[[], AsyncGenerator[T, None]]) -> Generator[T, None, None]:
        """Yield the items of the async generator that ``open_items`` makes, as they arrive.

        One task reads the whole generator and fills a queue: a future per item would cost ten times as much as the item.
        Closing the iterator cancels the task without waiting, because the garbage collector may do it on any thread.

        Raises:
            RuntimeError, CerebrasError: as ``run``.
        """
        loop = self._running_loop()
        future: Future[None] = Future()
        queue = _new_queue()
        room = asyncio.Semaphore(_READ_AHEAD)
        # Loops hold tasks weakly: one that waits for room would be collected together with its iterator, uncancelled.
        self._pumps.add(future)
        future.add_done_callback(self._pumps.discard)
        future.add_done_callback(lambda _: queue.put(_END))  # also if the task was cancelled before it began
        try:
            _start(lambda: _pump(open_items, queue, room), future, loop)
            taken = 0
            while (item := queue.get()) is not _END:
                yield item
                taken += 1
                if taken % (_READ_AHEAD // 2) == 0:  # seldom, because waking the loop costs more than an item
                    _call_soon(loop, _make_room, room)
            _result(future)  # raises what the generator raised
        finally:
            future.cancel()
            _close(queue)

    @property
    def is_open(self) -> bool:
        """Whether a loop runs for synchronous callers: one of them has called."""
        with self._lock:
            return self._loop is not None and not self._loop.is_closed()

    def close(self) -> None:
        """Cancel running calls, close generators and connections, and end the thread. The next call starts a new one."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            _call_soon(loop, loop.stop)
            thread.join(timeout=5)

    def forget(self) -> None:
        """Drop a loop whose thread did not survive a fork."""
        self._lock = threading.Lock()
        self._loop = self._thread = None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        refuse_at_the_end()
        with self._lock:
            # If gevent has patched Python since, the open loop would wait for threads that no longer exist.
            is_out_of_date = isinstance(self._thread, RealThread) != is_patched()
            if self._loop is None or self._loop.is_closed() or is_out_of_date:
                self._loop, self._thread = _open()
            if _loop_of_this_thread() is self._loop:
                raise RuntimeError(
                    "a synchronous call was made on the thread that serves synchronous calls, and would wait for itself: "
                    "in a callback, an async key function or a transport, use the async method (ainvoke, astream, …)"
                )
            return self._loop


def _open() -> tuple[asyncio.AbstractEventLoop, threading.Thread | RealThread[asyncio.AbstractEventLoop]]:
    """Return a running loop and its thread."""
    if is_patched():  # with gevent, a loop belongs to the thread that made it
        real_thread = RealThread(_new_loop_with_real_threads, _run)
        return real_thread.prepared, real_thread
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_run, args=(loop,), name="cerebras-demo", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # Python 3.12: as soon as the main thread has finished
        loop.close()
        why = ENDED if is_ending() else f"no thread could be started for synchronous calls ({error})"
        raise CerebrasError(why) from None
    return loop, thread


def _new_loop_with_real_threads() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(RealThreads())
    return loop


def _new_queue() -> SimpleQueue[Any] | GreenQueue:
    return GreenQueue() if is_patched() else SimpleQueue()


def _close(queue: SimpleQueue[Any] | GreenQueue) -> None:
    if isinstance(queue, GreenQueue):
        queue.close()


def _start(call: Callable[[], Coroutine[Any, Any, T]], future: Future[T], loop: asyncio.AbstractEventLoop) -> None:
    """Run the coroutine that ``call`` makes in a task of ``loop``. Its outcome goes to ``future``, whose end cancels it.

    Unlike with ``asyncio.run_coroutine_threadsafe``, the caller makes the future beforehand and can cancel it at any time
    after Ctrl-C, and the coroutine is only made together with its task.
    """

    def begin() -> None:
        if future.cancelled():
            return
        try:
            task = loop.create_task(call())
        except Exception as error:  # noqa: BLE001 - of `call` itself
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            return
        task.add_done_callback(lambda _: _finish(future, task))
        future.add_done_callback(lambda _: None if task.done() else _call_soon(loop, task.cancel))

    try:
        loop.call_soon_threadsafe(begin)
    except RuntimeError as error:  # it has been closed meanwhile
        raise (CerebrasError(ENDED) if is_ending() else error) from None


def _finish(future: Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        future.cancel()
    error = None if task.cancelled() else task.exception()
    if not future.set_running_or_notify_cancel():
        return  # the caller has gone
    if error is None:
        future.set_result(task.result())
    else:
        future.set_exception(error)


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: Any) -> None:
    """Call ``callback`` on the loop's thread, unless the loop has been closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *args)


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
        while tasks := asyncio.all_tasks(loop):  # one may begin while others end
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
