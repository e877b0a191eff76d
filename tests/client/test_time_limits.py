"""A wait ends in time, for any waiter and any number of waits."""

from __future__ import annotations

import asyncio
import sys

import pytest

from langchain_cerebras_demo.client.time_limits import Watch
from langchain_cerebras_demo.errors import APITimeoutError
from langchain_cerebras_demo.policy import Timeout

LONG = 60.0


@pytest.fixture
async def opened():
    """Makes a watch of the running loop: the bounds of its two stages, and its deadline in seconds from now."""
    watches = []

    def open_watch(first_event=LONG, idle=LONG, deadline=None):
        at = None if deadline is None else asyncio.get_running_loop().time() + deadline
        watches.append(Watch(Timeout(first_event=first_event, idle=idle, total=deadline), at))
        return watches[-1]

    yield open_watch
    for watch in watches:
        watch.close()


async def forever():
    await asyncio.Event().wait()


async def at_once():
    return "here"


async def test_what_comes_in_time_is_given(opened):
    """With and without a bound, many times, with one timer at most."""
    assert await opened(first_event=None).wait(at_once()) == "here"
    watch = opened()
    for _ in range(100):
        watch.begin("idle")
        assert await watch.wait(at_once()) == "here"
    scheduled = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]
    assert len(scheduled) == 1
    watch.close()
    assert all(handle.cancelled() for handle in asyncio.get_running_loop()._scheduled)


@pytest.mark.parametrize(
    ("bounds", "stage", "words"),
    [
        ({"first_event": 0.02}, "first_event", r"no answer within 0\.02 s \(timeout\.first_event\)"),
        ({"idle": 0.02}, "idle", r"no further event within 0\.02 s \(timeout\.idle\)"),
        ({"deadline": 0.02}, "idle", r"not finished within 0\.02 s \(timeout\.total\)"),
        ({"first_event": None, "deadline": 0.02}, "first_event", r"not finished within 0\.02 s \(timeout\.total\)"),
        ({"first_event": 0.02, "deadline": 0.01}, "first_event", r"not finished within 0\.01 s \(timeout\.total\)"),
    ],
)
async def test_what_does_not_come_is_an_error_that_names_the_bound(opened, bounds, stage, words):
    """The stage's own bound or the deadline, whichever is sooner."""
    watch = opened(**bounds)
    watch.begin(stage)
    with pytest.raises(APITimeoutError, match=words):
        await watch.wait(forever())


async def test_each_stage_has_a_time_of_its_own(opened):
    """A stage that is over has no effect on the next."""
    watch = opened(first_event=0.02, idle=0.01)
    for stage in ("first_event", "idle", "first_event"):
        watch.begin(stage)
        with pytest.raises(APITimeoutError):
            await watch.wait(forever())
    assert await opened(idle=None).wait(at_once()) == "here"


async def test_a_nearer_end_counts_and_a_passed_one_ends_at_once(opened):
    """The timer that was set for later is set anew."""
    watch = opened(idle=0.02)
    assert await watch.wait(at_once()) == "here"
    watch.begin("idle")
    for _ in range(2):  # the second time it has passed
        with pytest.raises(APITimeoutError):
            await watch.wait(forever())


async def test_a_later_end_is_waited_for(opened):
    """The timer of an earlier wait fires during a later one, and is set again."""
    watch = opened(first_event=0.01)
    assert await watch.wait(at_once()) == "here"
    watch.begin("idle")
    assert await watch.wait(asyncio.sleep(0.05, "later")) == "later"


async def test_whoever_cancels_the_task_is_obeyed(opened):
    """A cancellation from outside is not a timeout."""
    task = asyncio.create_task(opened().wait(forever()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot tell two cancellations apart")
async def test_a_cancellation_at_the_very_moment_is_not_lost(opened):
    """The time is up and the task is cancelled in one turn of the loop: it is cancelled."""
    watch = opened(first_event=0.02)
    task = asyncio.create_task(watch.wait(forever()))
    asyncio.get_running_loop().call_at(watch._due, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_may_be_another_task_that_waits_next(opened):
    """As where every step of a generator is made by a task of its own: the one that waits is ended, and no other."""
    watch = opened(first_event=0.03)
    assert await asyncio.create_task(watch.wait(at_once())) == "here"
    late = asyncio.create_task(watch.wait(forever()))
    with pytest.raises(APITimeoutError):
        await late
    assert asyncio.current_task().cancelling() == 0 if hasattr(asyncio.Task, "cancelling") else True


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not count cancellations")
async def test_an_awaitable_that_ignores_its_cancellation_leaves_none_behind(opened):
    """Otherwise a later `asyncio.timeout` of the same task would not end as it should."""

    async def stubborn():
        try:
            await forever()
        except asyncio.CancelledError:
            return "came anyway"

    assert await opened(first_event=0.01).wait(stubborn()) == "came anyway"
    assert asyncio.current_task().cancelling() == 0
