"""Whatever breaks, in all four ways of calling, is a whole answer or a typed error: the fault matrix, and what it cannot show."""

from __future__ import annotations

import asyncio
import os
import random
import time
import tracemalloc
from pathlib import Path

import orjson
import pytest

from langchain_cerebras_demo.client.limiter import process_limiter
from langchain_cerebras_demo.errors import (
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
    RawAnswer,
    RawStream,
    Reply,
    ScriptedCall,
    Slow,
    Status,
    flat,
    sse,
)
from tests.support.fault_rows_in_between import IN_BETWEEN
from tests.support.fault_rows_of_answers import ANSWERS
from tests.support.fault_rows_of_refusals import REFUSALS
from tests.support.fault_rows_of_time import RETRIES, TIME
from tests.support.faults import JSON, KEY, WAYS, WHOLE, ask, delta, model_for, scene, to_page
from tests.support.leaks import all_that_shows

GROUPS = {
    "Answers": ANSWERS,
    "Time": TIME,
    "Statuses and retries": RETRIES,
    "Refusals as the service sends them": REFUSALS,
    "Proxies, names, TLS and HTTP": IN_BETWEEN,
}
FAULTS = [fault for faults in GROUPS.values() for fault in faults]
PAGE = Path(__file__).parents[1] / "docs" / "faults.md"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_ends_as_the_page_says(fault, way, server, monkeypatch):
    """The class, the words, what had come, the sends, the wait; and never a key in it."""
    monkeypatch.setattr(random, "random", lambda: 0.01)  # the jitter: only a wish of the server's takes time
    ends = fault.way(way).ends
    with scene(fault, way, server) as model:
        if ends.error is None:
            assert ask(model, way) == ends.words
        else:
            with pytest.raises(ends.error) as caught:
                ask(model, way)
            error = caught.value
            assert type(error) is ends.error or ends.error.__name__ == "APIStatusError"
            assert ends.words in str(error)
            assert (error.partial.content if error.partial is not None else None) == ends.partial
            assert error.attempts == ends.sends
            assert error.waited >= ends.waited
            assert KEY not in all_that_shows(error)
        if fault.stage is None:
            assert len(server.requests) == ends.sends
            assert server.unused_steps == 0


def test_there_are_sixty_faults_and_no_two_are_the_same():
    """By name and by what happens on the wire."""
    assert len(FAULTS) >= 60
    assert len({fault.name for fault in FAULTS}) == len({fault.wire for fault in FAULTS}) == len(FAULTS)


def test_the_page_is_what_the_matrix_says():
    """Written here, from what the tests above hold the package to; in CI one that was not committed is a failure."""
    page = to_page(GROUPS)
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if page != old:
        if os.environ.get("CI"):
            pytest.fail("docs/faults.md is not what the tests say: run tests/test_faults.py and commit it")
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page, encoding="utf-8")


@pytest.fixture(autouse=True)
def _key_of_the_tests(server):
    server.key = KEY


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
    assert max(record.paced for record in records) > 0.4  # a server that slow would be a timeout
    assert {record.outcome for record in records} == {"answered"}


@pytest.mark.parametrize("way", WAYS)
def test_a_deadline_that_comes_in_the_queue_says_that_nothing_was_sent(server, way):
    """With the limit that was waited for, and how long."""
    model = model_for(server, rate_limit=RateLimit(requests_per_minute=30), timeout=Timeout(total=0.2))
    ask(model, way)
    with pytest.raises(APITimeoutError, match=r"not sent in time .* \(requests per minute\)") as caught:
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
    assert (caught.value.attempts, caught.value.limit) == (0, "requests per day")
    assert caught.value.retry_after > 80_000
    assert len(server.requests) == 1


# -- placeholders for keys

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
        APIError, match=r"\(3 attempts, \d\.\d s waited; limit: requests per minute; retry after"
    ) as caught:
        await model_for(server, max_retries=2).ainvoke("hi")
    assert caught.value.attempts == 3
    assert caught.value.waited >= 0.06


async def test_tool_calls_that_were_cut_are_no_answer(server):
    """A call whose arguments look whole is not handed out as if the answer were."""
    server.script(CutAfter(2, reply=Reply(tool_calls=[ScriptedCall("f", {"a": 1})])))
    with pytest.raises(StreamInterruptedError):
        await model_for(server).ainvoke("hi", stream=True)
