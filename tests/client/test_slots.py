"""How many requests run at the same time, and when an unread stream releases its slot."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import threading
from contextlib import aclosing

import pytest

from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.client.limiter import Limiter, process_limiter, use_limiter
from langchain_cerebras_demo.client.slots import SharedSlots, Slots
from langchain_cerebras_demo.errors import RateLimitError
from langchain_cerebras_demo.keys import StaticKey
from langchain_cerebras_demo.policy import Timeout
from langchain_cerebras_demo.testing import sse
from langchain_cerebras_demo.wire.request import ChatRequest
from tests.support.scripted import ScriptedResponse, ScriptedTransport
from tests.support.virtual_time import in_virtual_time

IDLE = 60.0
LATER = 1000.0


@pytest.fixture(autouse=True)
def _own_limiter():
    before = process_limiter()
    yield
    use_limiter(before)


def answer(parts=3):
    """A stream of so many reads, and its end."""
    deltas = [{"choices": [{"index": 0, "delta": {"content": f"part {number} "}}]} for number in range(parts)]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    pieces = [*(sse(delta) for delta in deltas), sse(end) + b"data: [DONE]\n\n"]
    return ScriptedResponse(headers={"content-type": "text/event-stream"}, pieces=pieces)


def client_with(*answers, idle=IDLE, at_once=1):
    loop = asyncio.get_running_loop()
    use_limiter(Limiter(clock=loop.time, utc=loop.time))
    transport = ScriptedTransport(*answers)
    client = Client(
        base_url="https://cerebras.invalid/v1",
        keys=StaticKey("csk-0123456789"),
        transport=transport,
        timeout=Timeout(idle=idle),
        max_concurrency=at_once,
    )
    return client, transport


def stream(client):
    return client.stream(ChatRequest("gpt-oss-120b", [{"role": "user", "content": "hi"}]))


async def read(events):
    async with aclosing(events):
        return [event.text for batch in [batch async for batch in events] for event in batch if hasattr(event, "text")]


async def begun(events):
    """When the first events of a stream come."""
    await anext(events)
    return asyncio.get_running_loop().time()


@in_virtual_time
async def test_a_stream_that_nobody_reads_gives_its_place_back_after_the_idle_time():
    """The next request begins then, and not earlier; the stream continues when it is read again."""
    client, transport = client_with(answer(), answer())
    unread = stream(client)
    await anext(unread)
    other = stream(client)
    assert await begun(other) == IDLE
    assert len(transport.requests) == 2
    assert await read(unread) == ["part 1 ", "part 2 "]
    assert await read(other) == ["part 1 ", "part 2 "]


@in_virtual_time
async def test_a_reader_that_comes_back_needs_no_place():
    """It continues at once while others hold all slots, so that two streams that are read in turn are both read."""
    client, _ = client_with(answer(9), answer(9))
    one, two = stream(client), stream(client)
    await anext(one)
    await anext(two)
    began = asyncio.get_running_loop().time()
    for _ in range(8):
        await anext(one)
        await anext(two)
    assert asyncio.get_running_loop().time() == began
    await one.aclose()
    await two.aclose()


@in_virtual_time
async def test_a_stream_that_is_read_slowly_keeps_its_place():
    """The idle time counts from the last time that the reader came back."""
    client, _ = client_with(answer(9), answer())
    slow = stream(client)
    await anext(slow)
    waiting = asyncio.create_task(begun(stream(client)))
    for _ in range(8):
        await asyncio.sleep(IDLE - 1)
        await anext(slow)
    assert not waiting.done()
    assert await waiting == 8 * (IDLE - 1) + IDLE
    await slow.aclose()


@in_virtual_time
async def test_a_place_is_given_back_once():
    """Whoever ends a stream that had given it back does not make room for one more."""
    client, _ = client_with(answer(), answer(), answer())
    unread, second = stream(client), stream(client)
    await anext(unread)
    await anext(second)
    await unread.aclose()
    third = asyncio.create_task(begun(stream(client)))
    await asyncio.sleep(IDLE - 1)
    assert not third.done()
    await second.aclose()
    assert await third == 2 * IDLE - 1


@in_virtual_time
async def test_without_an_idle_time_a_place_is_kept():
    """Until the stream is closed."""
    client, _ = client_with(answer(), answer(), idle=None)
    unread = stream(client)
    await anext(unread)
    waiting = asyncio.create_task(begun(stream(client)))
    await asyncio.sleep(LATER)
    assert not waiting.done()
    await unread.aclose()
    assert await waiting == LATER


@in_virtual_time
async def test_a_place_that_is_not_there_in_time_is_an_error():
    """max_wait bounds the wait for it."""
    slots = Slots(1)
    async with slots.take():
        with pytest.raises(RateLimitError, match="max_concurrency"):
            async with slots.take(5.0):
                pass
        assert asyncio.get_running_loop().time() == 5.0


def test_equal_settings_share_their_slots_as_long_as_these_are_used():
    """Others have their own; without a bound they are shared to be counted."""
    shared = SharedSlots()
    slots = shared.slots(3, None, "https://a", None)
    assert shared.slots(3, None, "https://a", None) is slots
    for other in ((4, None, "https://a", None), (3, 9, "https://a", None), (3, None, "https://a", "key")):
        assert shared.slots(*other) is not slots
    unbounded = shared.slots(None, None, "https://a")
    assert shared.slots(None, None, "https://a") is unbounded
    del slots, unbounded
    gc.collect()
    assert len(shared._live) == 0


def test_a_copy_shares_and_a_pickle_does_not():
    """Another process has its own requests."""
    shared = SharedSlots()
    slots = shared.slots(3, None)
    assert copy.copy(shared).slots(3, None) is copy.deepcopy(shared).slots(3, None) is slots
    assert pickle.loads(pickle.dumps(shared)).slots(3, None) is not slots


def test_a_stream_that_outlives_its_loop_is_no_longer_counted():
    """The loop is closed without closing its generators; neither the slots nor the limiter count the call any more."""

    async def begin():
        client, _ = client_with(answer())
        streaming = stream(client)
        await anext(streaming)
        assert client.load.in_flight == 1
        return client, streaming

    loop = asyncio.new_event_loop()
    client, streaming = loop.run_until_complete(begin())
    loop.close()
    del streaming
    gc.collect()
    assert client.load.in_flight == 0
    assert [lane.open_tickets for lane in process_limiter()._lanes.values()] == [0]


def test_the_garbage_collector_may_end_a_call_while_slots_are_counted():
    """It runs in any thread, also in the one that holds the lock of the slots."""
    slots = Slots(1)

    async def hold():
        async with slots.take():
            await asyncio.Event().wait()

    async def begin():
        call = hold()
        call.send(None)
        return call

    loop = asyncio.new_event_loop()
    cycle = [loop.run_until_complete(begin())]
    loop.close()
    cycle.append(cycle)
    del cycle

    def collect():
        with slots._lock:
            gc.collect()

    collecting = threading.Thread(target=collect, daemon=True)
    collecting.start()
    collecting.join(timeout=5)
    assert (collecting.is_alive(), slots.load.in_flight) == (False, 0)


@pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.catalog.RetiredModelWarning")
async def test_a_parameter_of_a_wrong_type_leaves_no_open_ticket():
    """A parameter of a wrong type, which is passed on unchecked, is the service's to refuse."""
    client, transport = client_with(answer())
    extra = {"reasoning_format": ["raw"]}
    asked = ChatRequest("qwen-3-235b-a22b-thinking-2507", [{"role": "user", "content": "hi"}], extra=extra)
    async with aclosing(client.stream(asked)) as batches:
        assert [batch async for batch in batches]
    assert len(transport.requests) == 1
    assert [lane.open_tickets for lane in process_limiter()._lanes.values()] == [0]
