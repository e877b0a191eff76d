"""The portal: async code for synchronous callers, with its results, its order and its end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import linecache
import sys
import threading
import time
from concurrent.futures import CancelledError

import pytest

from langchain_cerebras_demo.net.portal import Portal

PATIENCE = 5.0
READ_AHEAD = 64

user = contextvars.ContextVar("user", default="nobody")


@pytest.fixture
def portal():
    before = set(threading.enumerate())  # the process's own portal may be open: other tests have called it
    mine = Portal()
    yield mine
    mine.close()
    assert {thread for thread in set(threading.enumerate()) - before if thread.name == "cerebras-demo"} == set()


class Items:
    """An async generator that says how far it came and when it was closed."""

    def __init__(self, count=10**9, error=None):
        self.count = count
        self.error = error
        self.given = 0
        self.closed = threading.Event()

    async def __call__(self):
        try:
            for number in range(self.count):
                self.given += 1
                yield number
            if self.error:
                raise self.error
        finally:
            await asyncio.sleep(0)  # cleaning up may wait, too
            self.closed.set()


async def turns(count=300):
    """Gives everything else in the loop its turn, many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_run_returns_what_the_coroutine_returns(portal):
    """Any value, including exceptions."""

    async def answer():
        await asyncio.sleep(0)
        return ["answer", None, ValueError]

    assert portal.run(answer) == ["answer", None, ValueError]


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("k"), asyncio.CancelledError()])
def test_run_raises_what_the_coroutine_raises(portal, error):
    """And the portal is as good as before."""

    async def fails():
        raise error

    with pytest.raises((type(error), CancelledError)) as caught:
        portal.run(fails)
    assert caught.value is error or isinstance(error, asyncio.CancelledError)
    assert portal.run(lambda: asyncio.sleep(0, "again")) == "again"


def test_all_calls_share_one_loop_on_one_daemon_thread(portal):
    """So they share one session of connections, and the process can end."""

    async def where():
        return asyncio.get_running_loop(), threading.current_thread()

    loop, thread = portal.run(where)
    assert portal.run(where) == (loop, thread)
    assert thread.daemon
    assert thread is not threading.current_thread()


def test_many_threads_may_call_at_once(portal):
    """Each gets its own answer; the calls run side by side."""
    all_there, answers = [], []

    async def meet(number):
        all_there.append(number)
        while len(all_there) < 8:
            await asyncio.sleep(0)
        return number

    def call(number):
        answers.append((number, portal.run(lambda: meet(number))))

    threads = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(answers) == [(number, number) for number in range(8)]


def test_iterate_gives_the_items_and_ends(portal):
    """None and exceptions may be items; an empty generator is an empty iterator."""

    async def odd_ones():
        for item in (None, ValueError("an item"), 0, ()):
            yield item

    assert [type(item) for item in portal.iterate(odd_ones)] == [type(None), ValueError, int, tuple]
    assert list(portal.iterate(Items(0))) == []


@pytest.mark.parametrize("count", [0, 1, 200])
def test_iterate_raises_what_the_generator_raises_after_its_items(portal, count):
    """The items before the failure are returned first."""
    error, seen = ValueError("no"), []
    items = Items(count, error)
    with pytest.raises(ValueError, match="no") as caught:
        seen.extend(portal.iterate(items))
    assert caught.value is error
    assert items.given == count
    assert items.closed.is_set()


def test_what_fails_before_the_first_item_is_raised(portal):
    """A function that is no generator function included."""

    def broken():
        raise ValueError("not even begun")

    with pytest.raises(ValueError, match="not even begun"):
        list(portal.iterate(broken))


def test_a_hundred_thousand_items_keep_their_order(portal):
    """And none is lost or doubled."""
    assert list(portal.iterate(Items(100_000))) == list(range(100_000))


def test_context_variables_of_the_caller_are_carried(portal):
    """Tracers and callbacks find what was set around the call; what is set inside stays inside."""

    async def who():
        before = user.get()
        user.set("somebody inside")
        return before

    async def who_again():
        yield user.get()

    def inside():
        user.set("the caller")
        return portal.run(who), list(portal.iterate(who_again)), user.get()

    assert contextvars.copy_context().run(inside) == ("the caller", ["the caller"], "the caller")
    assert portal.run(who) == "nobody"


async def test_it_works_inside_a_running_loop_and_does_not_use_it(portal):
    """A notebook's cell: the caller's loop waits, the portal's works."""

    async def which():
        return asyncio.get_running_loop()

    assert portal.run(which) is not asyncio.get_running_loop()
    assert list(portal.iterate(Items(100))) == list(range(100))


@pytest.mark.parametrize("way", ["run", "iterate"])
def test_a_call_on_its_own_thread_is_refused_at_once(portal, way):
    """It would wait for itself for ever; the message names the remedy. No coroutine is left unawaited."""

    async def inner():
        call = (lambda: portal.run(turns)) if way == "run" else (lambda: next(portal.iterate(Items())))
        call()

    with pytest.raises(RuntimeError, match=r"would wait for itself.*async method"):
        portal.run(inner)
    gc.collect()


def test_leaving_a_loop_early_closes_the_generator(portal):
    """Its ``finally`` runs, so a connection is closed and not read to its end."""
    items = Items()
    generator = items()  # held here, so that no collector closes it
    for item in portal.iterate(lambda: generator):
        if item == 5:
            break
    assert items.closed.wait(PATIENCE)


def test_closing_the_iterator_closes_the_generator_and_waits_for_nothing(portal):
    """Also where the generator never stops cleaning up."""
    held, let_go = threading.Event(), threading.Event()

    async def stubborn():
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            held.set()
            while not let_go.is_set():
                await asyncio.sleep(0.001)

    iterator = portal.iterate(stubborn)
    assert next(iterator) == 1
    iterator.close()
    assert held.wait(PATIENCE)
    let_go.set()


@pytest.mark.parametrize("collects", ["the caller", "the portal's own thread"])
def test_an_iterator_that_is_garbage_collected_closes_the_generator(portal, collects):
    """On any thread of the garbage collector. Closing never waits, so it never blocks the loop."""
    items = Items()
    iterator = portal.iterate(items)
    next(iterator)
    portal.run(turns)  # it has read ahead and waits for room, so nothing but its iterator speaks of it
    cycle = [iterator]
    cycle.append(cycle)
    del iterator, cycle

    async def collect():
        gc.collect()

    gc.collect() if collects == "the caller" else portal.run(collect)
    assert items.closed.wait(PATIENCE)


def test_an_iterator_that_was_never_begun_begins_nothing(portal):
    """No request is sent for an answer that is never read."""
    items = Items()
    portal.iterate(items).close()
    portal.run(turns)
    assert items.given == 0


def test_a_slow_consumer_is_not_read_ahead_of_without_bound(portal):
    """The generator stops after some items and continues as they are consumed."""
    items = Items()
    iterator = portal.iterate(items)
    for taken in range(1, 200):
        assert next(iterator) == taken - 1
        portal.run(turns)
        assert taken <= items.given <= taken + READ_AHEAD + 1
    assert items.given > READ_AHEAD + 1
    iterator.close()


class Interrupt:
    """Ctrl-C before the ``number``-th line that is executed inside, or before the caller waits if that is earlier.

    It never comes between the body of a ``with`` and its end, where Python looks for no signals.
    """

    def __init__(self, number):
        self.left = number
        self.waits = False

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before)

    def trace(self, frame, event, _):
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if event == "line" and not line.startswith("with "):
            self.left -= 1
            self.waits = "queue.get()" in line
            if self.left == 0 or self.waits:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self.trace


@pytest.mark.parametrize("way", ["run", "iterate"])
def test_an_interrupt_at_any_moment_leaves_nothing_running(portal, way):
    """Whichever line of the portal or of asyncio the caller was executing."""

    async def tasks():
        await turns()
        return len(asyncio.all_tasks())

    async def forever():
        await asyncio.Event().wait()

    async def endless():
        await forever()
        yield

    portal.run(turns)
    for number in itertools.count(1):
        with pytest.raises(KeyboardInterrupt), Interrupt(number) as interrupt:
            portal.run(forever) if way == "run" else next(portal.iterate(endless))
        assert portal.run(tasks) == 1, f"after line {number}"
        if interrupt.waits:
            break
    assert number > 10


def test_after_close_it_can_be_used_again(portal):
    """A new loop on a new thread; closing twice is closing once."""
    portal.close()
    assert portal.run(lambda: asyncio.sleep(0, "first")) == "first"
    portal.close()
    portal.close()
    assert portal.run(lambda: asyncio.sleep(0, "second")) == "second"


def test_close_cancels_what_runs_and_closes_generators(portal):
    """A call in another thread ends with a cancellation, an open iteration after what had come; their ``finally`` runs."""
    items, began, ended, heard = Items(), threading.Event(), threading.Event(), []

    async def forever():
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def call():
        try:
            portal.run(forever)
        except BaseException as error:  # noqa: BLE001 - a thread has nobody else to tell
            heard.append(type(error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    iterator = portal.iterate(items)
    next(iterator)
    assert began.wait(PATIENCE)
    portal.close()
    thread.join(PATIENCE)
    assert ended.is_set()
    assert items.closed.is_set()
    assert heard == [CancelledError]
    with pytest.raises(CancelledError):
        list(iterator)


def test_an_iteration_that_is_cancelled_before_its_first_step_ends(portal):
    """Nobody waits for ever for an item of a generator that never began, though closing came in between."""
    held, let_go, heard = threading.Event(), threading.Event(), []

    async def hold():
        held.set()
        let_go.wait(PATIENCE)  # the loop stands still, and what is asked of it piles up

    def consume():
        try:
            heard.append(list(portal.iterate(Items())))
        except CancelledError:
            heard.append("cancelled")

    def piled_up(count):
        deadline = time.monotonic() + PATIENCE
        while len(loop._ready) < count:
            assert time.monotonic() < deadline

    threads = [threading.Thread(target=call, daemon=True) for call in (lambda: portal.run(hold), consume, portal.close)]
    threads[0].start()
    assert held.wait(PATIENCE)
    loop = portal._loop
    waiting = len(loop._ready)
    for count, thread in enumerate(threads[1:], 1):
        thread.start()
        piled_up(waiting + count)
    let_go.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert heard == ["cancelled"]
