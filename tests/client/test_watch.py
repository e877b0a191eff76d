"""A wait that ends in time, whoever waits and however often."""

from __future__ import annotations

import asyncio
import sys

import pytest

from langchain_cerebras_demo.client.watch import Watch


@pytest.fixture
async def watch():
    """A watch of the running loop."""
    made = Watch()
    yield made
    made.close()


def soon(seconds=0.02):
    return asyncio.get_running_loop().time() + seconds


async def forever():
    await asyncio.Event().wait()


async def at_once():
    return "here"


async def test_what_comes_in_time_is_given(watch):
    """With and without an end, many times, and no timer more than one."""
    assert await watch.wait(at_once(), None) == "here"
    for _ in range(100):
        assert await watch.wait(at_once(), soon(60)) == "here"
    scheduled = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]
    assert len(scheduled) == 1
    watch.close()
    assert all(handle.cancelled() for handle in asyncio.get_running_loop()._scheduled)


async def test_what_does_not_come_ends_in_time_and_the_task_goes_on(watch):
    """Each wait has its own time; one that is over has no say in the next."""
    loop = asyncio.get_running_loop()
    for seconds in (0.02, 0.05, 0.01):
        began = loop.time()
        with pytest.raises(asyncio.TimeoutError):
            await watch.wait(forever(), began + seconds)
        assert seconds * 0.9 <= loop.time() - began < seconds + 1
    await asyncio.sleep(0.05)
    assert await watch.wait(at_once(), soon()) == "here"


async def test_a_nearer_end_counts_and_a_passed_one_ends_at_once(watch):
    """The timer that was set for later is set anew."""
    assert await watch.wait(at_once(), soon(60)) == "here"
    for due in (soon(), soon(-1)):
        with pytest.raises(asyncio.TimeoutError):
            await watch.wait(forever(), due)


async def test_a_later_end_is_waited_for(watch):
    """The timer of an earlier wait rings in the middle of a later one, and is set again."""
    assert await watch.wait(at_once(), soon(0.01)) == "here"
    assert await watch.wait(asyncio.sleep(0.05, "later"), soon(60)) == "later"


async def test_whoever_cancels_the_task_is_obeyed(watch):
    """A cancellation from outside is none of ours."""
    task = asyncio.create_task(watch.wait(forever(), soon(60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot tell two cancellations apart")
async def test_a_cancellation_at_the_very_moment_is_not_lost(watch):
    """The time is up and the task is cancelled in one turn of the loop: it is cancelled."""
    due = soon()
    task = asyncio.create_task(watch.wait(forever(), due))
    asyncio.get_running_loop().call_at(due, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_may_be_another_task_that_waits_next(watch):
    """As where every step of a generator is made by a task of its own: the one that waits is ended, and no other."""
    assert await asyncio.create_task(watch.wait(at_once(), soon(0.02))) == "here"
    late = asyncio.create_task(watch.wait(forever(), soon(0.03)))
    with pytest.raises(asyncio.TimeoutError):
        await late
    assert asyncio.current_task().cancelling() == 0 if hasattr(asyncio.Task, "cancelling") else True
