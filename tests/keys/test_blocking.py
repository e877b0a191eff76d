"""Functions that may block run in threads that nothing waits for."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from langchain_cerebras_demo.keys.blocking import Outcome, start_in_thread
from tests.support.processes import run_python

SECRET = "csk-never-shown"
tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


async def test_the_loop_runs_on_while_a_function_blocks():
    """It waits here for what only the loop does."""
    go = threading.Event()
    future = start_in_thread(lambda: go.wait(10), "test")
    await asyncio.sleep(0)
    assert not future.done()
    go.set()
    assert (await future).get() is True


async def test_a_function_has_its_callers_context_and_a_thread_with_the_name():
    """Context variables say whose call it is, in servers of many tenants."""
    token = tenant.set("somebody")
    future = start_in_thread(lambda: (tenant.get(), threading.current_thread().name), "the vault")
    tenant.reset(token)
    assert (await future).get() == ("somebody", "the vault")


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, StopIteration, asyncio.CancelledError])
async def test_what_a_function_raises_is_raised_to_its_caller(kind):
    """The very object."""
    error = kind("no")

    def fails():
        raise error

    outcome = await start_in_thread(fails, "test")
    with pytest.raises(kind) as caught:
        outcome.get()
    assert caught.value is error


async def test_a_result_is_shown_nowhere():
    """In debug mode asyncio logs the arguments of callbacks and the results of futures."""
    future = start_in_thread(lambda: SECRET, "test")
    outcome = await future
    assert outcome.get() == SECRET
    assert SECRET not in repr(future) + repr(outcome) + repr(Outcome(lambda: SECRET))


async def test_a_caller_may_leave():
    """The function ends whenever it will, and its result is dropped."""
    go, ended = threading.Event(), threading.Event()

    def function():
        go.wait(10)
        ended.set()

    future = start_in_thread(function, "test")
    future.cancel()
    go.set()
    assert await asyncio.to_thread(ended.wait, 10)
    await asyncio.sleep(0)
    assert future.cancelled()


def test_neither_the_loops_end_nor_the_programs_waits_for_a_function():
    """One that asks a dead server may never return."""
    code = """
import asyncio, threading
from langchain_cerebras_demo.keys.blocking import start_in_thread

begun = threading.Event()

def hang():
    begun.set()
    threading.Event().wait()

async def main():
    future = start_in_thread(hang, "test")
    await asyncio.to_thread(begun.wait)
    future.cancel()

asyncio.run(main())
print("ended")
"""
    done = run_python(code)
    assert (done.stdout, done.stderr, done.returncode) == ("ended\n", "", 0)
