"""Observers are notified of each call once at its beginning and once at its end, in the caller's context."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import aclosing
from contextvars import ContextVar

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_cerebras_demo import (
    CallableKey,
    Cerebras,
    ChatCerebrasDemo,
    InvalidRequestError,
    MissingKeyError,
    StaticKey,
    add_observer,
    remove_observer,
    run_bulk,
)
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.client.observers import process_listeners
from langchain_cerebras_demo.errors import APIResponseValidationError, InternalServerError, StreamInterruptedError
from langchain_cerebras_demo.records import FailedAttempt, Limit
from langchain_cerebras_demo.testing import CutAfter, ErrorEvent, Gate, RawAnswer, Reply, Status, sse
from langchain_cerebras_demo.wire.request import ChatRequest
from tests.support.faults import KEY, WAYS, ask, model_for
from tests.support.scripted import ScriptedResponse, ScriptedTransport

HELLO = Reply(text="one two three four five six", headers={"inference-id": "req-1"})
LOG = "langchain_cerebras_demo"

CALLER = ContextVar("caller", default="nobody")


class Notes:
    """An observer that stores its notifications."""

    wants_messages = False

    def __init__(self):
        self.starts, self.records, self.callers = [], [], []

    def started(self, call):
        self.starts.append(call)
        self.callers.append(CALLER.get())
        return self.ended

    def ended(self, record):
        self.records.append(record)
        self.callers.append(CALLER.get())


class Curious(Notes):
    """An observer that also wants the messages."""

    wants_messages = True


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture(autouse=True)
def _observed(notes):
    add_observer(notes)
    yield
    remove_observer(notes)
    assert process_listeners() == ()


@pytest.fixture
def model(server):
    server.key = KEY
    return model_for(server)


def only(notes):
    """The one call's beginning and end."""
    (start,), (record,) = notes.starts, notes.records
    assert (start.model, start.operation, start.is_stream) == (record.model, record.operation, record.is_stream)
    assert (start.address, start.run_id, start.started_at) == (record.address, record.run_id, record.started_at)
    return start, record


@pytest.mark.parametrize("way", WAYS)
def test_an_observer_is_told_how_a_call_begins_and_ends(server, model, notes, way):
    """Everything that is known of an answered call."""
    server.script(HELLO)
    ask(model.model_copy(update={"temperature": 0.5, "user": "someone"}), way)
    start, record = only(notes)
    assert start.parameters == {"temperature": 0.5}
    assert start.messages is None
    assert (start.model, start.operation, start.is_stream) == ("gpt-oss-120b", "chat", way.endswith("stream"))
    assert start.address == server.base_url.removesuffix("/v1")
    if way.endswith("invoke"):  # LangChain names the run of a stream to nobody
        assert len(start.run_id) == 36
    assert (record.outcome, record.finish_reasons, record.status_code) == ("answered", ("stop",), 200)
    assert record.response_model == "gpt-oss-120b"
    assert record.response_id
    assert record.cached_tokens is not None
    assert record.answer is None
    assert record.limit is record.retry_after is None
    assert record.failures == ()
    if start.is_stream:
        assert record.chunks > 0
        assert 0 <= record.streamed <= record.seconds
    else:
        assert (record.chunks, record.streamed) == (0, None)


@pytest.mark.parametrize("way", WAYS)
def test_the_record_says_why_each_attempt_was_made_again(server, model, notes, caplog, way):
    """And how long was waited then; the log has one line for each."""
    caplog.set_level(logging.INFO, LOG)
    refusal = {"message": "Requests per minute limit exceeded", "code": "request_quota_exceeded"}
    server.script(
        Status(503, headers={"retry-after-ms": "20", "x-request-id": "a"}),
        Status(429, refusal, headers={"retry-after-ms": "20", "x-request-id": "b"}),
        HELLO,
    )
    ask(model.model_copy(update={"max_retries": 2}), way)
    _, record = only(notes)
    unavailable, limited = record.failures
    assert unavailable == FailedAttempt("InternalServerError", 503, None, unavailable.waited, "a")
    assert (limited.error, limited.status_code, limited.request_id) == ("RateLimitError", 429, "b")
    assert isinstance(limited.limit, Limit)
    assert unavailable.waited >= 0.02 <= limited.waited
    assert (record.attempts, record.request_id, record.status_code) == (3, "req-1", 200)
    lines = [entry for entry in caplog.records if getattr(entry, "cerebras_event", "") == "retry"]
    assert [(line.cerebras_attempt, line.cerebras_status_code) for line in lines] == [(1, 503), (2, 429)]
    assert (
        lines[0]
        .getMessage()
        .startswith("attempt 1 of a call to gpt-oss-120b failed (InternalServerError, 503): retrying in ")
    )
    assert lines[1].cerebras_run_id == record.run_id
    assert {line.levelno for line in lines} == {logging.INFO}
    assert KEY not in caplog.text


@pytest.mark.parametrize("way", WAYS)
def test_the_record_of_a_refusal_has_its_limit_and_when_to_come_back(server, model, notes, way):
    """The limit that the service names, and its status."""
    server.script(Status(429, {"message": "Tokens per day limit exceeded"}, headers={"retry-after": "1000"}))
    with pytest.raises(Exception, match="429"):
        ask(model, way)
    _, record = only(notes)
    assert (record.outcome, record.error, record.attempts) == ("failed", "RateLimitError", 1)
    assert (record.status_code, record.limit, record.retry_after) == (429, Limit.TOKENS_PER_DAY, 1000.0)
    assert record.failures == ()


@pytest.mark.parametrize("way", WAYS)
def test_a_call_without_a_key_has_a_record(notes, way):
    """Nothing was sent, so nothing was answered."""
    model = ChatCerebrasDemo(base_url="https://cerebras.invalid/v1", key_resolver=CallableKey(no_key))
    with pytest.raises(MissingKeyError):
        ask(model, way)
    _, record = only(notes)
    assert (record.outcome, record.error, record.attempts, record.status_code) == ("failed", "MissingKeyError", 0, None)


async def no_key():
    raise MissingKeyError("none")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "arguments", [{"temperature": 9.0}, {"tools": "none"}, {"model": " m"}], ids=["parameter", "conversion", "model"]
)
def test_a_call_that_is_refused_before_it_is_sent_has_a_record(server, model, notes, way, arguments):
    """Whether the model or its client refuses it."""
    with pytest.raises(InvalidRequestError):
        ask(model.bind(**arguments), way)
    _, record = only(notes)
    assert (record.outcome, record.attempts, record.seconds < 5) == ("failed", 0, True)
    assert server.requests == []


async def test_a_provider_that_refuses_its_messages_makes_a_record(notes):
    """As a model does."""
    generator = Cerebras.create_async_generator("gpt-oss-120b", [{"role": "nobody", "content": "hi"}], "csk-1")
    with pytest.raises(InvalidRequestError):
        await anext(generator)
    _, record = only(notes)
    assert (record.outcome, record.is_stream, record.run_id, record.attempts) == ("failed", True, None, 0)


@pytest.mark.parametrize("public", [False, True])
async def test_a_list_of_models_is_a_call_with_a_record(server, model, notes, public):
    """Without a model; also if the answer is not a list."""
    await model.alist_models(public=public)
    server.script_path("/public/v1/models" if public else "/v1/models", RawAnswer(body=b"[1]"))
    with pytest.raises(APIResponseValidationError):
        await model.alist_models(public=public)
    answered, failed = notes.records
    assert (answered.operation, answered.model, answered.outcome, answered.attempts) == (
        "list_models",
        "",
        "answered",
        1,
    )
    assert (failed.outcome, failed.error, failed.status_code) == ("failed", "APIResponseValidationError", 200)
    assert str(answered).startswith("list_models: answered in ")


async def test_a_stream_that_is_left_or_dropped_has_one_record(server, model, notes):
    """Closed, forgotten, or read to its end without looking for it."""
    for _ in range(2):
        server.script(Gate(after=2, reply=HELLO))
    async with aclosing(model.astream("closed")) as chunks:
        await anext(chunks)
    dropped = model.astream("dropped")
    await anext(dropped)
    del dropped
    gc.collect()
    while len(notes.records) < 2:
        await asyncio.sleep(0)
    assert [record.outcome for record in notes.records] == ["cancelled", "cancelled"]
    assert [record.finish_reasons for record in notes.records] == [(), ()]


async def test_a_stream_whose_last_chunk_was_delivered_is_answered(server, model, notes):
    """Though its reader never asks for more."""
    server.script(HELLO)
    async with aclosing(model._client().stream(request())) as batches:
        async for _ in batches:
            if notes.records:
                break
    assert [record.outcome for record in notes.records] == ["answered"]


def request():
    return ChatRequest("gpt-oss-120b", [{"role": "user", "content": "hi"}])


def test_a_stream_that_outlives_its_loop_has_a_record(notes):
    """The loop is closed without closing its generators, and the stream is dropped after it."""
    beginning = [sse({"choices": [{"index": 0, "delta": {"content": "Hi"}}]}), asyncio.Event()]
    answer = ScriptedResponse(headers={"content-type": "text/event-stream"}, pieces=beginning)
    client = Client(base_url="https://cerebras.invalid/v1", keys=StaticKey(KEY), transport=ScriptedTransport(answer))
    loop = asyncio.new_event_loop()
    stream = client.stream(request())
    loop.run_until_complete(anext(stream))
    loop.close()
    del stream, client
    gc.collect()
    (record,) = notes.records
    assert (record.outcome, record.chunks > 0, record.seconds < 60) == ("cancelled", True, True)


@pytest.mark.parametrize(
    ("step", "error", "status"),
    [
        (CutAfter(3, reply=HELLO), StreamInterruptedError, 200),
        (ErrorEvent(after=2, reply=HELLO), InternalServerError, 500),
    ],
)
async def test_a_broken_stream_is_told_with_what_had_come(server, model, notes, step, error, status):
    """The status is that of the answer, or what its error event names."""
    server.script(step)
    with pytest.raises(error):
        await model.ainvoke("hi", stream=True)
    _, record = only(notes)
    assert (record.outcome, record.error, record.status_code) == ("failed", error.__name__, status)
    assert record.chunks > 0 < record.ttft


@pytest.mark.parametrize("way", WAYS)
def test_who_wants_messages_gets_them_and_the_answer_and_nobody_else_does(server, model, notes, way):
    """Not even in the answer's own record."""
    curious = Curious()
    add_observer(curious)
    try:
        server.script(HELLO)
        ask(model, way)
    finally:
        remove_observer(curious)
    (start,), (record,) = curious.starts, curious.records
    assert start.messages == [{"role": "user", "content": "hi"}]
    assert record.answer == HELLO.text
    assert HELLO.text not in repr(record) + repr(start)
    assert notes.starts[0].messages is notes.records[0].answer is None


async def test_what_had_come_of_a_broken_answer_is_its_answer(server, model):
    """And of one that was left."""
    curious = Curious()
    add_observer(curious)
    try:
        server.script(CutAfter(3, reply=HELLO))
        with pytest.raises(StreamInterruptedError) as caught:
            await model.ainvoke("hi", stream=True)
    finally:
        remove_observer(curious)
    assert curious.records[0].answer
    assert curious.records[0].answer == caught.value.partial.text


# -- the caller's context


async def _abatch(model):
    await model.abatch(["hi"])


async def _chain(model):
    await (RunnableLambda(lambda text: text) | model).ainvoke("hi")


async def _provider(model):
    call = Cerebras.create_async_generator(
        "gpt-oss-120b", [{"role": "user", "content": "hi"}], KEY, api_base=model.base_url
    )
    async with aclosing(call) as texts:
        async for _ in texts:
            pass


CALLS = {
    **{way: (lambda model, way=way: ask(model, way)) for way in WAYS},
    "batch": lambda model: model.batch(["hi"]),
    "abatch": lambda model: asyncio.run(_abatch(model)),
    "chain": lambda model: asyncio.run(_chain(model)),
    "provider": lambda model: asyncio.run(_provider(model)),
    "list_models": lambda model: model.list_models(),
    "bulk": lambda model: run_bulk(model, ["hi"]).run(),
}


@pytest.mark.parametrize("way", CALLS)
def test_an_observer_sees_the_callers_context_variables(server, model, notes, way):
    """At the beginning and at the end, in any thread and task of the call, so that a span finds its parent."""
    token = CALLER.set("the caller")
    try:
        CALLS[way](model)
    finally:
        CALLER.reset(token)
    assert notes.callers == ["the caller", "the caller"]


async def test_what_an_observer_sets_is_still_there_at_the_end_and_not_the_callers(server, model):
    """Both halves run in one copy of the caller's context."""
    seen = []

    class Setting:
        def started(self, call):
            token = CALLER.set("the observer")
            return lambda record: (seen.append(CALLER.get()), CALLER.reset(token))

    observer = Setting()
    add_observer(observer)
    try:
        async for _ in model.astream("hi"):
            assert CALLER.get() == "nobody"
    finally:
        remove_observer(observer)
    assert seen == ["the observer"]


# -- what observers do wrong


async def test_what_an_observer_raises_is_logged_once_and_ignored(server, model, caplog):
    """Every call is answered all the same."""

    class Broken:
        def started(self, call):
            raise LookupError(KEY)

    observer = Broken()
    add_observer(observer)
    add_observer(observer)
    try:
        for _ in range(2):
            assert (await model.ainvoke("hi")).content
    finally:
        remove_observer(observer)
    lines = [entry.getMessage() for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert lines == ["Broken raised LookupError and is ignored"]


async def test_on_start_is_told_of_a_call_and_its_failure_costs_nothing(server, caplog):
    """on_call is called at the end."""
    starts, records = [], []

    def on_start(call):
        starts.append(call)
        raise LookupError(KEY)

    server.key = KEY
    model = model_for(server, on_start=on_start, on_call=records.append)
    await model.ainvoke("hi")
    await model.ainvoke("hi")
    assert [start.started_at for start in starts] == [record.started_at for record in records]
    assert [entry.getMessage() for entry in caplog.records] == ["on_start raised LookupError and is ignored"]
    with pytest.raises(TypeError, match="on_start is a int: use a callable that accepts a CallStart"):
        ChatCerebrasDemo(on_start=1)


async def test_where_nobody_wants_it_no_record_is_made(server, model, notes, monkeypatch):
    """For a call that fails, because an answer has its record in its metadata."""
    from langchain_cerebras_demo.client.report import Report

    remove_observer(notes)
    monkeypatch.setattr(Report, "_record", lambda *_: pytest.fail("a record was made"))
    server.script(Status(400))
    with pytest.raises(Exception, match="400"):
        await model.ainvoke("hi")
    assert notes.starts == []
