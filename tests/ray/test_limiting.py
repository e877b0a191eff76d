"""One queue for all actors: what travels, and what becomes of it when the actor that keeps it dies."""

from __future__ import annotations

import asyncio
import time

import pytest

from langchain_cerebras_demo import RateLimit, RateLimitError
from langchain_cerebras_demo.errors import APITimeoutError

ray = pytest.importorskip("ray", reason="Ray Data is not installed: pip install 'langchain-cerebras-demo[ray]'")

from langchain_cerebras_demo.ray.limiting import Ending, LimiterActor, SharedLimiter  # noqa: E402
from tests.support.announcements import announce  # noqa: E402

LIMIT = RateLimit(requests_per_minute=600)


class _Method:
    def __init__(self, method):
        self.method = method
        self.was_called = asyncio.Event()

    def options(self, **_options):
        return self

    def remote(self, *arguments):
        self.was_called.set()
        return asyncio.ensure_future(self.method(*arguments))


class LocalActor:
    """The actor, in this process."""

    def __init__(self):
        self.actor = LimiterActor()
        self.acquire = _Method(self.actor.acquire)
        self.end = _Method(self.actor.end)


async def test_two_workers_wait_in_one_queue():
    """600 a minute are ten a second for both together, and not for each."""
    actor = LocalActor()
    workers = [SharedLimiter(actor, "here") for _ in range(2)]
    began = time.monotonic()
    for turn in range(12):
        ticket = await workers[turn % 2].acquire("whoever", "m", 10.0, LIMIT)
        ticket.close()
    # The bucket holds half a second's worth at first: 12 requests take at least 6 tenths of a second more.
    assert time.monotonic() - began >= 0.5


async def test_requests_without_numbers_do_not_travel():
    """What the service announces is heeded in the process itself, and so is `None`."""
    worker = SharedLimiter(None, "here")
    for limit in (None, RateLimit()):
        (await worker.acquire("whoever", "m", 10.0, limit)).close()


async def test_what_the_service_says_comes_back_to_the_queue():
    """A refusal closes the gate for all: with the figure, and not wrapped by Ray."""
    actor = LocalActor()
    first, second = SharedLimiter(actor, "here"), SharedLimiter(actor, "here")
    ticket = await first.acquire("whoever", "m", 10.0, LIMIT)
    ticket.refused(RateLimitError("429: no", status_code=429, retry_after=3000.0))
    await actor.end.was_called.wait()
    with pytest.raises(RateLimitError) as refused:
        await second.acquire("whoever", "m", 10.0, LIMIT)
    assert refused.value.retry_after == pytest.approx(3000.0, abs=1.0)


async def test_an_ending_rides_with_the_next_request():
    """With what the headers said and the tokens used, once: the `close` behind it says nothing more."""
    actor = LocalActor()
    worker = SharedLimiter(actor, "here")
    ticket = await worker.acquire("whoever", "m", 10.0, LIMIT)
    ticket.observe(announce(tokens_minute=(1000, 900)))
    ticket.settle(5.0)
    ticket.close()
    assert worker._endings == [Ending(ticket._number, ticket._limits, total_tokens=5.0)]
    await worker.acquire("whoever", "m", 10.0, LIMIT)
    assert not actor.end.was_called.is_set()
    assert len(actor.actor._tickets) == 1
    assert actor.actor._limiter.snapshot("", "m").remaining_tokens_minute == 900
    await actor.actor.end([Ending(12345)])  # of a former life of the actor


async def test_the_last_ending_goes_by_itself():
    """No request may follow."""
    actor = LocalActor()
    (await SharedLimiter(actor, "here").acquire("whoever", "m", 10.0, LIMIT)).close()
    await actor.end.was_called.wait()
    await asyncio.sleep(0)
    assert not actor.actor._tickets


async def test_a_deadline_travels_as_seconds():
    """The clocks of two machines have nothing to do with each other."""
    worker = SharedLimiter(LocalActor(), "here")
    slow = RateLimit(requests_per_minute=1)
    await worker.acquire("whoever", "m", 10.0, slow)
    with pytest.raises(APITimeoutError):
        await worker.acquire("whoever", "m", 10.0, slow, deadline=asyncio.get_running_loop().time() + 0.05)
