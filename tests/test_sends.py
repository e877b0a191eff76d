"""How often a request is sent, whoever asks: `max_retries + 1` times, and within bulk and Ray until the tenth refusal."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.bulk import bulk
from langchain_cerebras_demo.errors import APIError
from langchain_cerebras_demo.testing import LoopbackCerebras, Reply, Status
from tests.support.rude_servers import RudeServer, read_head

KEY = "csk-sends-0123456789abcdef"


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch):
    """Full jitter may draw no wait at all."""
    monkeypatch.setattr(random, "random", lambda: 0.0)


@pytest.fixture
async def make():
    """Makes models, and closes them."""
    made = []

    def make(base_url, **settings):
        made.append(ChatCerebrasDemo(base_url=base_url, api_key=KEY, **{"rate_limit": None, **settings}))
        return made[-1]

    yield make
    for model in made:
        await model.aclose()


@pytest.fixture
def server():
    with LoopbackCerebras(key=KEY) as running:
        yield running


async def invoke(model):
    await asyncio.to_thread(model.invoke, "hi")


async def stream(model):
    await asyncio.to_thread(lambda: list(model.stream("hi")))


async def ainvoke_a_stream(model):
    await model.model_copy(update={"streaming": True}).ainvoke("hi")


async def abatch(model):
    await model.abatch(["hi"])


async def list_models(model):
    await model.alist_models()


async def one_row(runnable):
    """The record of a run of one row."""
    [record] = [record async for record in bulk(runnable, [{"prompt": "hi"}], template="{prompt}")]
    return {"error": record.error, "attempts": record.attempts, "refusals": record.refusals}


async def bulk_of_a_chain(model):
    return await one_row(ChatPromptTemplate.from_template("{prompt}") | model | StrOutputParser())


async def bulk_of_a_streamed_chain(model):
    return await one_row(model.model_copy(update={"streaming": True}) | StrOutputParser())


async def bulk_of_a_sync_step(model):
    return await one_row(RunnableLambda(model.invoke))


async def ray(model):
    """The actor that Ray runs, without a cluster."""
    pytest.importorskip("ray", reason="Ray Data is not installed: pip install 'langchain-cerebras-demo[ray]'")
    import pyarrow as pa

    from langchain_cerebras_demo.bulk import BulkRecord
    from langchain_cerebras_demo.ray.actor import ActorOptions, AskRows, Columns

    rows = AskRows(ActorOptions(model, Columns("id", "prompt", "answer", "error", "record"), 1, "test", None))
    [row] = (await rows(pa.table({"id": [1], "prompt": ["hi"]}))).to_pylist()
    await asyncio.to_thread(rows.close)
    record = BulkRecord.from_json(row["record"])
    return {"error": record.error, "attempts": record.attempts, "refusals": record.refusals}


CALLS = (invoke, stream, ainvoke_a_stream, abatch)
ROWS = (one_row, bulk_of_a_chain, bulk_of_a_streamed_chain, bulk_of_a_sync_step, ray)


async def failed(ask, model):
    """What a row's record says of it, or the attempts that an exception counts."""
    if ask in ROWS:
        return await ask(model)
    with pytest.raises(APIError) as caught:
        await ask(model)
    return {"attempts": caught.value.attempts, "refusals": 0}


@pytest.mark.parametrize("max_retries", [0, 2])
@pytest.mark.parametrize("ask", CALLS + ROWS)
async def test_a_server_that_always_fails_gets_one_send_more_than_the_retries(server, make, ask, max_retries):
    """500 for ever; an exception and a record count the sends."""
    server.script(*[Status(500)] * 50)
    counted = await failed(ask, make(server.base_url, max_retries=max_retries))
    assert len(server.requests) == max_retries + 1
    assert (counted["attempts"], counted["refusals"]) == (max_retries + 1, 0)


class Resetting:
    """Resets connections once it has read a request, after the first ``good`` ones, which get a model list."""

    def __init__(self, good=0):
        self.requests = 0
        self._good = good

    def __call__(self, connection: socket.socket):
        while read_head(connection):
            self.requests += 1
            if self.requests > self._good:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            body = b'{"data": []}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            connection.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))


@pytest.mark.parametrize("ask", [list_models, *CALLS, *ROWS])
async def test_a_server_that_always_resets_gets_one_send_more_than_the_retries(make, ask):
    """The transport never sends a request again by itself."""
    resetting = Resetting()
    with RudeServer(resetting) as rude:
        counted = await failed(ask, make(f"{rude.url}/v1"))
        assert resetting.requests == 3
    assert counted["attempts"] == 3


@pytest.mark.parametrize("ask", [abatch, list_models, one_row, ray])
async def test_a_send_on_a_connection_that_had_been_closed_counts(make, ask):
    """A server resets connections that are used again, and all others too: the stale send is one of three."""
    resetting = Resetting(good=1)
    with RudeServer(resetting) as rude:
        model = make(f"{rude.url}/v1")
        await model.alist_models()
        counted = await failed(ask, model)
        assert resetting.requests == 1 + 3
    assert counted["attempts"] == 3


@pytest.mark.parametrize("headers", [{}, {"retry-after": "0"}], ids=["silent", "retry-after"])
@pytest.mark.parametrize("ask", CALLS)
async def test_a_refused_call_gets_one_send_more_than_the_retries(server, make, ask, headers):
    """Outside of bulk and Ray, a 429 is a failure like another."""
    server.script(*[Status(429, headers=headers)] * 50)
    await failed(ask, make(server.base_url))
    assert len(server.requests) == 3


@pytest.mark.parametrize("headers", [{}, {"retry-after": "0"}], ids=["silent", "retry-after"])
@pytest.mark.parametrize("max_retries", [0, 2, 20])
@pytest.mark.parametrize("ask", ROWS)
async def test_a_row_ends_with_its_tenth_refusal(server, make, ask, max_retries, headers):
    """Whatever `max_retries` says; its record counts both kinds."""
    server.script(*[Status(429, headers=headers)] * 50)
    counted = await failed(ask, make(server.base_url, max_retries=max_retries))
    assert counted["error"]["type"] == "RateLimitError"
    assert len(server.requests) == 10
    assert (counted["attempts"], counted["refusals"]) == (10, 10)


@pytest.mark.parametrize("ask", [one_row, ray])
async def test_refused_rows_return_to_the_queue_that_paces_the_others(server, make, ask):
    """With pacing, refusals are counted alike."""
    server.script(Status(429, headers={"retry-after": "0"}), Reply(text="Yes."))
    assert await ask(make(server.base_url, rate_limit="auto")) == {"error": None, "attempts": 2, "refusals": 1}


@pytest.mark.parametrize("ask", ROWS)
async def test_refusals_use_up_no_retries_and_retries_no_refusals(server, make, ask):
    """Nine refusals with two failures among them, and the twelfth send is answered."""
    refusal, failure = Status(429, headers={"retry-after": "0"}), Status(500)
    server.script(*[refusal] * 5, failure, *[refusal] * 4, failure, Reply(text="Yes."))
    counted = await failed(ask, make(server.base_url))
    assert counted == {"error": None, "attempts": 12, "refusals": 9}


@pytest.mark.parametrize("ask", CALLS + ROWS)
async def test_a_fresh_key_allows_one_send_more(server, make, ask):
    """A 401 for the old key, then a 500 for ever: the retries are those of the new one."""
    keys = iter(["csk-stale-0123456789abcdef"])
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=lambda: next(keys, KEY), rate_limit=None)
    server.script(*[Status(500)] * 50)
    with contextlib.suppress(APIError):
        await ask(model)
    assert len(server.requests) == 1 + 3
    await model.aclose()


async def test_a_chain_with_two_calls_has_ten_refusals_in_all(server, make):
    """The bound is the row's."""
    model = make(server.base_url)
    server.script(*[Status(429)] * 6, Reply(text="Yes."), *[Status(429)] * 50)
    counted = await one_row(model | StrOutputParser() | model)
    assert (counted["attempts"], counted["refusals"], len(server.requests)) == (11, 10, 11)


async def test_rows_that_are_asked_at_once_count_for_themselves(server, make):
    """Nine refusals for each of ten rows: all are answered."""
    server.script(*[Status(429, headers={"retry-after": "0"})] * 9)
    rows = [record async for record in bulk(make(server.base_url), [f"row {number}" for number in range(10)])]
    assert [record.error for record in rows] == [None] * 10
    assert sum(record.attempts for record in rows) == len(server.requests) == 19
    assert sum(record.refusals for record in rows) == 9


async def test_a_model_of_another_package_is_asked_once():
    """Its errors are its own, whatever they are called."""
    asked = []

    class RateLimitError(Exception):
        status_code = 429

    def refuse(prompt):
        asked.append(prompt)
        raise RateLimitError

    counted = await one_row(RunnableLambda(refuse))
    assert (len(asked), counted["error"]["type"], counted["refusals"]) == (1, "RateLimitError", 0)


async def test_a_day_that_is_over_without_a_time_is_not_waited_for(server, make):
    """The refusal is not repeated ten times: nobody knows whether waiting helps."""
    server.script(*[Status(429, {"message": "Requests per day limit exceeded - too many requests sent."})] * 50)
    run = bulk(make(server.base_url), ["a", "b"], concurrency=1)
    progress = await run.arun()
    assert (progress.stopped, len(server.requests)) == ("limit", 1)
    assert 0 < progress.retry_after <= 86_400


@pytest.mark.parametrize("period", ["minute", "day"])
async def test_seconds_are_waited_for_whatever_limit_they_are_of(server, make, period):
    """The run goes on when they are over."""
    message = f"Requests per {period} limit exceeded - too many requests sent."
    server.script(Status(429, {"message": message}, headers={"retry-after": "0.01"}), Reply(text="Yes."))
    assert await one_row(make(server.base_url)) == {"error": None, "attempts": 2, "refusals": 1}


@pytest.mark.parametrize("period", ["minute", "day"])
async def test_more_than_two_minutes_are_not_waited_for_whatever_limit_they_are_of(server, make, period):
    """The run ends and says when to come back."""
    message = f"Requests per {period} limit exceeded - too many requests sent."
    server.script(*[Status(429, {"message": message}, headers={"retry-after": "121"})] * 50)
    progress = await bulk(make(server.base_url), ["a", "b"], concurrency=1).arun()
    assert (progress.stopped, progress.retry_after, len(server.requests)) == ("limit", 121, 1)
