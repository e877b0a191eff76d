"""Beyond the matrix: memory, our own queue, leaving early, stale connections, clocks, and what an exception tells."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import time
import tracemalloc
from contextlib import aclosing, closing

import orjson
import pytest

from langchain_cerebras_demo.client.limiter import process_limiter
from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ContextOverflowError,
    InternalServerError,
    RateLimitError,
    StreamInterruptedError,
)
from langchain_cerebras_demo.policy import RateLimit, Timeout
from langchain_cerebras_demo.testing import (
    TOKENS_EXCEEDED,
    CutAfter,
    Endless,
    ErrorEvent,
    Gate,
    RawAnswer,
    RawStream,
    Reply,
    ScriptedCall,
    Slow,
    Status,
    flat,
    sse,
)
from tests.support.fault_rows import JSON, WHOLE, delta
from tests.support.faults import KEY, WAYS, ask, model_for
from tests.support.rude_servers import RudeServer, read_head

HELD_UP = Reply(text="one two three four five six seven eight")


@pytest.fixture(autouse=True)
def _key_of_the_tests(server):
    server.key = KEY


@pytest.fixture
def silence(caplog):
    """Nothing is logged as a warning or an error."""
    caplog.set_level(logging.WARNING)
    yield
    assert caplog.records == []


# -- bounds


async def test_comments_without_end_take_no_memory(server):
    """Half a second of them, as fast as they come: tens of megabytes, and none of them stays."""
    server.script(Endless(prefix=b": x\n\n", filler=b": ping\n\n" * 8000))
    tracemalloc.start()
    try:
        with pytest.raises(APITimeoutError):
            await model_for(server, timeout=Timeout(first_event=0.5), max_retries=0).ainvoke("hi", stream=True)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_partial_holds_reasoning_and_half_of_a_tool_call(server, way):
    """Whatever kind of delta had come."""
    fragment = {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1'}}
    server.script(RawStream([sse(delta(reasoning="hm")), sse(delta(tool_calls=[fragment]))], end="eof"))
    with pytest.raises(StreamInterruptedError) as caught:
        ask(model_for(server), way)
    partial = caught.value.partial
    assert partial.additional_kwargs["reasoning_content"] == "hm"
    assert partial.tool_call_chunks[0]["args"] == '{"a": 1'


@pytest.mark.parametrize("way", WAYS)
def test_the_deadline_covers_all_attempts_and_their_waits(server, way):
    """However many retries are allowed, and what it ends with says how often it was tried."""
    server.script(*[Status(503, headers={"retry-after-ms": "40"})] * 60)
    began = time.monotonic()
    with pytest.raises((InternalServerError, APITimeoutError)) as caught:
        ask(model_for(server, max_retries=1000, timeout=Timeout(total=0.5)), way)
    assert time.monotonic() - began < 1.5
    assert caught.value.attempts == len(server.requests)
    assert 0.04 * (caught.value.attempts - 1) <= caught.value.waited < 0.6


# -- our own queue


async def test_waiting_for_a_place_is_not_the_servers_time(server):
    """Four calls one after the other, each in time; the last has waited longer than the bound."""
    server.script(*[Slow(0.12, Reply(text="well"))] * 4)
    model = model_for(server, max_concurrency=1, timeout=Timeout(first_event=0.3), max_retries=0)
    answers = await asyncio.gather(*[model.ainvoke("hi") for _ in range(4)])
    assert [answer.content for answer in answers] == ["well"] * 4


async def test_waiting_for_the_rate_limit_is_not_the_servers_time(server):
    """The fifth call waits more than half a second before it is sent, where the server has a fifth."""
    records = []
    limit = RateLimit(requests_per_minute=240)
    model = model_for(server, rate_limit=limit, timeout=Timeout(first_event=0.2), max_retries=0, on_call=records.append)
    await asyncio.gather(*[model.ainvoke("hi") for _ in range(5)])
    assert max(record.paced for record in records) > 0.4  # a server that slow would be a time-out
    assert {record.outcome for record in records} == {"answered"}


@pytest.mark.parametrize("way", WAYS)
def test_a_deadline_that_comes_in_the_queue_says_that_nothing_was_sent(server, way):
    """With the limit that was waited for, and how long."""
    model = model_for(server, rate_limit=RateLimit(requests_per_minute=30), timeout=Timeout(total=0.2))
    ask(model, way)
    with pytest.raises(APITimeoutError, match=r"not sent in time .* \(requests a minute\)") as caught:
        ask(model, way)
    assert caught.value.attempts == 0
    assert 0.1 < caught.value.waited < 0.4
    assert len(server.requests) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_used_up_day_is_told_without_sending(server, way):
    """At once, with the figure and the limit."""
    model = model_for(server, rate_limit=RateLimit(requests_per_day=1))
    ask(model, way)
    with pytest.raises(RateLimitError) as caught:
        ask(model, way)
    assert (caught.value.attempts, caught.value.limit) == (0, "requests a day")
    assert caught.value.retry_after > 80_000
    assert len(server.requests) == 1


# -- leaving


@pytest.mark.parametrize("way", ["cancel invoke", "cancel stream", "break", "close", "throw"])
async def test_leaving_closes_the_connection_and_is_no_error(server, silence, way):
    """The server stops at once; neither the log nor the loop has a complaint."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    gate = Gate(after=3, reply=HELD_UP)
    server.script(gate)
    model = model_for(server)
    if way.startswith("cancel"):
        task = asyncio.create_task(model.ainvoke("hi", stream=way == "cancel stream"))
        assert await asyncio.to_thread(gate.wait_reached)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif way == "break":
        async with aclosing(model.astream("hi")) as chunks:
            async for _ in chunks:
                break
    else:
        chunks = model.astream("hi")
        await anext(chunks)
        if way == "close":
            await chunks.aclose()
        else:
            with pytest.raises(KeyError):
                await chunks.athrow(KeyError())
    assert await asyncio.to_thread(server.wait_for_disconnect)
    assert complaints == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("way", ["break", "close"])
def test_leaving_a_synchronous_stream_closes_the_connection(server, silence, way):
    """As above, across the portal."""
    server.script(Gate(after=3, reply=HELD_UP))
    with closing(model_for(server).stream("hi")) as chunks:
        next(chunks)
        if way == "close":
            chunks.close()
    assert server.wait_for_disconnect()


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_ctrl_c_in_a_synchronous_call_closes_the_connection(server, silence, way):
    """The caller gets its KeyboardInterrupt, the server stops, and the next call works."""
    gate = Gate(after=3, reply=HELD_UP)
    server.script(gate)
    model, main = model_for(server), threading.get_ident()

    def interrupt():
        assert gate.wait_reached()
        while not (waits(main) and waits(main)):  # in LangChain's own frames the interrupt is LangChain's
            pass
        signal.pthread_kill(main, signal.SIGINT)

    def waits(thread):
        time.sleep(0.02)
        return sys._current_frames()[thread].f_code.co_filename.endswith(("portal.py", "threading.py"))

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        ask(model, way)
    thread.join()
    assert server.wait_for_disconnect()
    assert ask(model, way)


# -- connections


WHOLE_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(WHOLE),
    WHOLE,
)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stale_connection_costs_a_send_and_no_wait(server, stream):
    """The server closes it when the second request is under way; the next send goes out on a connection of its own."""
    records = []

    def answer_once(connection):
        read_head(connection)
        connection.sendall(WHOLE_ANSWER)
        read_head(connection)

    with RudeServer(answer_once) as rude:
        model = model_for(server, base_url=f"{rude.url}/v1", max_retries=1, on_call=records.append)
        async with model:
            for _ in range(3):
                assert (await model.ainvoke("hi", stream=stream)).content == "whole"
        assert rude.accepted == 3
    assert [(record.attempts, record.backed_off) for record in records] == [(1, 0.0), (2, 0.0), (1, 0.0)]


async def test_a_connection_that_was_closed_while_it_was_idle_is_not_used(server):
    """The request goes out once, on a new one, with no retry allowed."""
    records, closed = [], threading.Event()

    def answer_and_close(connection):
        read_head(connection)
        connection.sendall(WHOLE_ANSWER)
        connection.close()
        closed.set()

    with RudeServer(answer_and_close) as rude:
        model = model_for(server, base_url=f"{rude.url}/v1", max_retries=0, on_call=records.append)
        async with model:
            for _ in range(3):
                assert (await model.ainvoke("hi")).content == "whole"
                assert closed.wait(5)  # the loop has not looked since
                closed.clear()
    assert [record.attempts for record in records] == [1, 1, 1]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_server_that_resets_every_connection_gets_no_more_than_the_retries_allow(server, stream):
    """However many connections are in the pool: `max_retries + 1` sends."""
    crowd, is_rude, sends = threading.Barrier(8), threading.Event(), []

    def answer(connection):
        read_head(connection)
        crowd.wait(10)
        connection.sendall(WHOLE_ANSWER)
        if read_head(connection):
            sends.append(connection)

    def answer_or_reset(connection):
        if not is_rude.is_set():
            answer(connection)
        elif read_head(connection):
            sends.append(connection)

    with RudeServer(answer_or_reset) as rude:
        async with model_for(server, base_url=f"{rude.url}/v1", max_retries=3) as model:
            await asyncio.gather(*(model.ainvoke("hi") for _ in range(8)))
            assert rude.accepted == 8
            is_rude.set()
            with pytest.raises(APIConnectionError) as caught:
                await model.ainvoke("hi", stream=stream)
    assert (len(sends), caught.value.attempts) == (4, 4)


async def test_a_model_that_was_left_closes_its_connections_and_opens_new_ones(server):
    """`async with`, `aclose` and `awarm`, which opens one and sends no key."""
    model = model_for(server)
    async with model:
        await model.awarm()
        assert server.open_connections == 1
        assert server.requests[0].header("authorization") is None
        await model.ainvoke("hi")
        assert server.open_connections == 1
    assert await asyncio.to_thread(server.wait_for_connections, 0)
    await model.ainvoke("hi")
    await model.aclose()
    assert await asyncio.to_thread(server.wait_for_connections, 0)


async def test_warming_a_dead_server_is_left_to_the_first_call(server):
    """It raises nothing."""
    server.kill()
    await model_for(server).awarm()


# -- keys that are none

OVERFLOW = flat("Please reduce the length", "invalid_request_error", "messages", "context_length_exceeded")
MEANINGS = {
    "400": (Status(400, OVERFLOW), ContextOverflowError, "context_length_exceeded"),
    "429": (Status(429, TOKENS_EXCEEDED), RateLimitError, TOKENS_EXCEEDED["code"]),
    "an error event": (
        ErrorEvent(body={"status_code": 400, "error": OVERFLOW}),
        ContextOverflowError,
        OVERFLOW["code"],
    ),
    "an error in a 200": (RawAnswer(200, JSON, orjson.dumps(OVERFLOW)), ContextOverflowError, OVERFLOW["code"]),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("key", ["x", "0", "null", "q", "context_length_exceeded"])
@pytest.mark.parametrize("case", MEANINGS)
def test_a_placeholder_for_a_key_does_not_change_what_an_error_says(server, case, key, way):
    """Servers of one's own take any key; code, type, status and class are those that the server sent."""
    step, kind, code = MEANINGS[case]
    server.key = key
    server.script(step)
    with pytest.raises(kind) as caught:
        ask(model_for(server, api_key=key, max_retries=0), way)
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.status_code) == (code, 429 if kind is RateLimitError else 400)
    assert error.type == (TOKENS_EXCEEDED if kind is RateLimitError else OVERFLOW)["type"]


# -- clocks and figures


@pytest.mark.parametrize("way", WAYS)
def test_a_clock_that_jumps_holds_nobody_up(server, monkeypatch, way):
    """Back a century, forth a century, between two calls: pacing and deadlines go by what has really passed."""
    offset = 0.0
    monkeypatch.setattr(process_limiter(), "_clock", lambda: time.perf_counter() + offset)
    monkeypatch.setattr(time, "time", lambda: offset)
    model = model_for(server, rate_limit="auto", timeout=Timeout(total=2))
    for offset in (0.0, 3e9, 0.0, 50.0, -3e9, 0.0):  # noqa: B007 - read by the clocks
        assert ask(model, way)


async def test_limits_that_lie_are_no_limits(server):
    """What is no sane number is not known; what is one is."""
    lies = {
        "x-ratelimit-limit-tokens-minute": "-1",
        "x-ratelimit-remaining-tokens-minute": "nan",
        "x-ratelimit-reset-tokens-minute": "1e300",
        "x-ratelimit-remaining-requests-day": "many",
        "x-ratelimit-limit-requests-day": "700",
    }
    server.script(RawAnswer(headers={**JSON, **lies}, body=WHOLE))
    model = model_for(server, rate_limit="auto")
    assert model.limits is None
    await model.ainvoke("hi")
    known = model.limits
    assert known.limit_requests_day == 700
    assert known.limit_tokens_minute is known.remaining_tokens_minute is known.reset_tokens_minute is None
    assert known.remaining_requests_day is None


async def test_a_retry_that_waits_in_between_tells_all_of_it(server):
    """Attempts, the seconds waited, and the message says both."""
    server.script(*[Status(429, headers={"retry-after-ms": "30"})] * 3)
    with pytest.raises(
        APIError, match=r"\(3 attempts, \d\.\d s waited; limit: requests a minute; retry after"
    ) as caught:
        await model_for(server, max_retries=2).ainvoke("hi")
    assert caught.value.attempts == 3
    assert caught.value.waited >= 0.06


async def test_tool_calls_that_were_cut_are_no_answer(server):
    """A call whose arguments look whole is not handed out as if the answer were."""
    server.script(CutAfter(2, reply=Reply(tool_calls=[ScriptedCall("f", {"a": 1})])))
    with pytest.raises(StreamInterruptedError):
        await model_for(server).ainvoke("hi", stream=True)
