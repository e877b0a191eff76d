"""One call at a time, however many ask, from whatever task, thread or loop."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from langchain_cerebras_demo.keys import single_flight
from langchain_cerebras_demo.keys.single_flight import SingleFlight
from tests.support.processes import run_python

PATIENCE = 5.0


class Call:
    """A coroutine function that counts its calls, waits for ``go`` (of any thread) and gives its number or fails."""

    def __init__(self, *outcomes, held=True):
        self.outcomes = outcomes
        self.count = 0
        self.begun = threading.Event()
        self.go = threading.Event()
        if not held:
            self.go.set()

    async def __call__(self):
        self.count += 1
        number = self.count
        self.begun.set()
        while not self.go.is_set():
            await asyncio.sleep(0.001)
        outcome = self.outcomes[number - 1] if number <= len(self.outcomes) else number
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch):
    monkeypatch.setattr(single_flight, "_LOOK_SECONDS", 0.02)


async def settle(turns=5):
    """Lets every task that can run do so."""
    for _ in range(turns):
        await asyncio.sleep(0)


def in_thread(target):
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


async def test_two_hundred_callers_make_one_call():
    """All get the same answer, and the next caller afterwards makes a new call."""
    call, flight = Call(), SingleFlight()
    callers = [asyncio.create_task(flight.run(call)) for _ in range(200)]
    await settle()
    assert call.count == 1
    call.go.set()
    assert await asyncio.gather(*callers) == [1] * 200
    assert await flight.run(call) == 2


def test_callers_of_eight_threads_with_loops_of_their_own_make_one_call():
    """The leader's loop makes it; the answer reaches the others' loops."""
    call, flight, waiting, answers = Call(), SingleFlight(), threading.Barrier(8), []

    async def callers():
        tasks = [asyncio.create_task(flight.run(call)) for _ in range(25)]
        await settle()
        if waiting.wait(PATIENCE) == 0:
            call.go.set()
        answers.extend(await asyncio.gather(*tasks))

    threads = [in_thread(lambda: asyncio.run(callers())) for _ in range(8)]
    for thread in threads:
        thread.join(PATIENCE)
    assert answers == [1] * 200
    assert call.count == 1


@pytest.mark.parametrize("error", [RuntimeError("no"), asyncio.TimeoutError("late"), StopAsyncIteration()])
async def test_an_error_reaches_everyone_and_the_next_call_starts_anew(error):
    """A failure is an answer, too, and is not kept."""
    call, flight = Call(error), SingleFlight()
    callers = [asyncio.create_task(flight.run(call)) for _ in range(3)]
    await settle()
    call.go.set()
    heard = await asyncio.gather(*callers, return_exceptions=True)
    assert [(type(one), one.args) for one in heard] == [(type(error), error.args)] * 3
    assert await flight.run(call) == 2


async def test_a_cancelled_leader_harms_nobody():
    """The call runs in a task of its own; who began it may leave."""
    call, flight = Call(), SingleFlight()
    leader, follower = (asyncio.create_task(flight.run(call)) for _ in range(2))
    await settle()
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    call.go.set()
    assert await follower == 1
    assert call.count == 1


async def test_a_cancelled_follower_harms_nobody():
    """It alone leaves."""
    call, flight = Call(), SingleFlight()
    leader, follower = (asyncio.create_task(flight.run(call)) for _ in range(2))
    await settle()
    follower.cancel()
    with pytest.raises(asyncio.CancelledError):
        await follower
    call.go.set()
    assert await leader == 1


@pytest.mark.parametrize("fails", [False, True])
async def test_a_call_whose_callers_have_all_left_ends_without_a_complaint(fails, caplog):
    """No caller gets its answer or error; the next caller joins it while it runs."""
    call, flight = Call(*([RuntimeError("nobody hears this")] if fails else [])), SingleFlight()
    leader = asyncio.create_task(flight.run(call))
    await settle()
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    late = asyncio.create_task(flight.run(call))
    await settle()
    call.go.set()
    await asyncio.wait({late})
    assert late.exception() is call.outcomes[0] if fails else late.result() == 1
    assert call.count == 1
    del call, leader, late  # and with them all that they held
    gc.collect()
    assert caplog.text == ""  # "exception was never retrieved"


def lead_and_leave(flight, call, leave, until=None):
    """Begins a call on another thread's loop, which goes away as ``leave`` says when ``until`` is set; returns that loop."""
    loops = []

    async def lead():
        task = asyncio.create_task(flight.run(call))
        await asyncio.to_thread((until or call.begun).wait, PATIENCE)
        return task

    def target():
        loop = asyncio.new_event_loop()
        loop.slow_callback_duration = PATIENCE
        loop.set_exception_handler(lambda *_: None)  # a task destroyed while pending is what is tried here
        loops.append(loop)
        loop.run_until_complete(lead())
        leave(loop)

    thread = in_thread(target)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    return loops[0]


def cancel_all(loop):
    """As ``asyncio.run`` does at its end."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    while tasks := asyncio.all_tasks(loop):
        loop.run_until_complete(asyncio.wait(tasks))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def close_at_once(loop):
    """Closed under its tasks, as scripts do that call ``run_until_complete`` themselves."""
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def stop_only(_loop):
    """``run_until_complete`` has returned and may be called again, or not."""


@pytest.mark.parametrize("leave", [cancel_all, close_at_once, stop_only])
async def test_a_caller_takes_over_where_the_leaders_loop_has_gone(leave):
    """Nobody waits for ever for a loop that runs no more, however it ended."""
    call, flight = Call(), SingleFlight()
    loop = lead_and_leave(flight, call, leave)
    call.go.set()
    assert await asyncio.wait_for(flight.run(call), PATIENCE) == 2
    if leave is stop_only:
        await asyncio.to_thread(cancel_all, loop)


@pytest.mark.parametrize("leave", [cancel_all, close_at_once, stop_only])
async def test_a_caller_that_was_waiting_already_takes_over(leave):
    """The leader's loop goes away under it."""
    call, flight, gone = Call(), SingleFlight(), threading.Event()
    leading = asyncio.create_task(asyncio.to_thread(lead_and_leave, flight, call, leave, gone))
    await asyncio.to_thread(call.begun.wait, PATIENCE)
    followers = [asyncio.create_task(flight.run(call)) for _ in range(3)]
    await settle()
    assert call.count == 1
    call.begun.clear()
    gone.set()
    await asyncio.to_thread(call.begun.wait, PATIENCE)  # one of them has taken over
    call.go.set()
    assert await asyncio.gather(*followers) == [2] * 3
    loop = await leading
    if leave is stop_only:
        await asyncio.to_thread(cancel_all, loop)


async def test_a_call_that_lands_after_it_was_given_up_disturbs_nobody():
    """A stopped loop may run again: its answer reaches its own callers and not the call that took over."""
    old, new, flight = Call("old"), Call("new"), SingleFlight()
    loop = lead_and_leave(flight, old, stop_only)
    taking_over = asyncio.create_task(flight.run(new))
    await settle()
    assert new.count == 1
    old.go.set()
    unfinished = asyncio.gather(*asyncio.all_tasks(loop))
    assert await asyncio.to_thread(loop.run_until_complete, unfinished)
    joining = asyncio.create_task(flight.run(new))
    await settle()
    new.go.set()
    assert await asyncio.gather(taking_over, joining) == ["new"] * 2
    assert new.count == 1
    await asyncio.to_thread(cancel_all, loop)


FORK = """
    import asyncio, os, threading, warnings
    warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)  # that threads and forks go badly together is known
    from langchain_cerebras_demo.keys.single_flight import SingleFlight

    flight, begun, go = SingleFlight(), threading.Event(), threading.Event()

    async def held():
        begun.set()
        while not go.is_set():
            await asyncio.sleep(0.001)
        return "parent"

    async def at_once():
        return "child"

    answers = []
    thread = threading.Thread(target=lambda: answers.append(asyncio.run(flight.run(held))))
    thread.start()
    begun.wait()
    held = threading.Event()

    def hold():  # as another thread may do at the moment of the fork
        with flight._lock:
            held.set()
            go.wait()

    holding = threading.Thread(target=hold)
    holding.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        print(asyncio.run(flight.run(at_once)), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    go.set()
    thread.join()
    holding.join()
    print(*answers)
"""


def test_a_forked_child_waits_for_no_call_of_its_parents():
    """That call never lands in the child, nor is its lock ever given back there."""
    done = run_python(FORK)
    assert (done.stdout.split(), done.stderr, done.returncode) == (["child", "parent"], "", 0)
