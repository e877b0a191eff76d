"""The result of a call: the record, one line of the debug log, the answer's metadata."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import aclosing

import pytest

from langchain_cerebras_demo import CallableKey, ChatCerebrasDemo
from langchain_cerebras_demo.client.call import Call
from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    BadRequestError,
    InternalServerError,
    KeyFormatError,
    MissingKeyError,
    StreamInterruptedError,
)
from langchain_cerebras_demo.testing import CutAfter, Gate, RawAnswer, Reply, Status
from tests.support.faults import KEY, WAYS, ask, model_for

HELLO = Reply(text="one two three four five six", headers={"inference-id": "req-1"})
ELSEWHERE = "https://cerebras.invalid/v1"
LOG = "langchain_cerebras_demo"


@pytest.fixture
def records():
    return []


@pytest.fixture
def model(server, records):
    server.key = KEY
    return model_for(server, on_call=records.append, default_headers={"X-Mine": KEY})


@pytest.mark.parametrize("way", WAYS)
def test_an_answered_call_is_told_with_its_figures(server, model, records, way):
    """One record a call; times to the first event where something was streamed."""
    server.script(HELLO)
    ask(model, way)
    (record,) = records
    assert (record.outcome, record.error, record.attempts, record.model) == ("answered", None, 1, "gpt-oss-120b")
    assert record.request_id == "req-1"
    assert record.time_info["total_time"] > 0
    assert record.estimated_cost_usd > 0
    assert record.completion_tokens > 0 < record.prompt_tokens
    assert record.limits.limit_tokens_minute > 0
    assert record.backed_off == 0.0
    if way.endswith("stream"):
        assert 0 < record.ttft < record.seconds
        assert record.tokens_per_second > 0
    else:
        assert record.ttft is record.tokens_per_second is None


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_was_tried_again_is_one_record(server, model, records, way):
    """With all attempts and the wait between them."""
    server.script(Status(503, headers={"retry-after-ms": "20"}), HELLO)
    ask(model, way)
    (record,) = records
    assert (record.outcome, record.attempts) == ("answered", 2)
    assert 0.02 <= record.backed_off <= record.seconds


@pytest.mark.parametrize("way", WAYS)
def test_a_failed_call_is_told_with_its_exceptions_name(server, model, records, way):
    """Refused, or given up."""
    server.script(Status(400))
    with pytest.raises(BadRequestError):
        ask(model, way)
    (record,) = records
    assert (record.outcome, record.error, record.attempts) == ("failed", "BadRequestError", 1)
    assert record.ttft is record.completion_tokens is record.time_info is record.estimated_cost_usd is None


class VaultError(Exception):
    """An exception of the user's own."""


def no_vault():
    raise VaultError("closed")


async def no_async_vault():
    raise VaultError("closed")


async def no_key():
    raise MissingKeyError("none")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("function", "error"),
    [(no_vault, VaultError), (no_async_vault, VaultError), (no_key, MissingKeyError), (lambda: "a b", KeyFormatError)],
    ids=["plain", "async", "missing", "invalid"],
)
def test_a_call_whose_key_failed_is_told(records, way, function, error):
    """By what the function raised; nothing was sent."""
    model = ChatCerebrasDemo(key_resolver=CallableKey(function), base_url=ELSEWHERE, on_call=records.append)
    with pytest.raises(error):
        ask(model, way)
    (record,) = records
    assert (record.outcome, record.error, record.attempts, record.model) == (
        "failed",
        error.__name__,
        0,
        "gpt-oss-120b",
    )
    assert "0 attempts" in str(record)


async def no_answer_of_a_vault():
    await asyncio.Event().wait()


def no_connection_to_a_vault():
    raise APIConnectionError("the vault cannot be reached")


def no_key_of_another_call():
    error = APIConnectionError("the service that gives the keys failed")
    error.attempts = 3
    raise error


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("function", [no_answer_of_a_vault, no_connection_to_a_vault, no_key_of_another_call])
def test_an_error_of_the_keys_source_counts_no_request(records, way, function):
    """Like the call's record: nothing was sent."""
    model = ChatCerebrasDemo(
        key_resolver=CallableKey(function), base_url=ELSEWHERE, timeout=0.1, on_call=records.append
    )
    with pytest.raises(APIError) as caught:
        ask(model, way)
    (record,) = records
    assert caught.value.attempts == record.attempts == 0


@pytest.mark.parametrize("way", WAYS)
def test_an_error_of_the_keys_source_after_a_401_counts_the_request_before(server, records, way):
    """The first key was refused, and the source fails when it is asked again."""
    keys = iter([KEY])

    def first_key_only():
        try:
            return next(keys)
        except StopIteration:
            raise APIConnectionError("the vault cannot be reached") from None

    server.script(Status(401))
    model = ChatCerebrasDemo(key_resolver=CallableKey(first_key_only), base_url=server.base_url, on_call=records.append)
    with pytest.raises(APIConnectionError) as caught:
        ask(model, way)
    (record,) = records
    assert caught.value.attempts == record.attempts == len(server.requests) == 1


async def test_a_list_of_models_that_is_not_a_list_counts_its_request(server, model, records):
    """The error is raised after the answer."""
    server.script_path("/v1/models", RawAnswer(body=b"[1]"))
    with pytest.raises(APIResponseValidationError) as caught:
        await model.alist_models()
    (record,) = records
    assert caught.value.attempts == record.attempts == 1


async def test_a_call_that_was_left_while_its_key_was_looked_for_is_told(records):
    """As cancelled."""
    model = ChatCerebrasDemo(api_key=asyncio.Event().wait, base_url=ELSEWHERE, on_call=records.append)
    call = asyncio.create_task(model.ainvoke("hi"))
    while not model._client()._last_account.model:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    assert [(record.outcome, record.attempts) for record in records] == [("cancelled", 0)]


async def test_a_stream_that_breaks_is_told_as_failed_with_its_first_event(server, model, records):
    """The time to the first event is known all the same."""
    server.script(CutAfter(3, reply=HELLO))
    with pytest.raises(StreamInterruptedError):
        await model.ainvoke("hi", stream=True)
    (record,) = records
    assert (record.outcome, record.error) == ("failed", "StreamInterruptedError")
    assert record.ttft > 0


@pytest.mark.parametrize("way", ["break", "cancel"])
async def test_a_call_that_was_left_is_told_as_cancelled(server, model, records, way):
    """The record has no error."""
    gate = Gate(after=4, reply=HELLO)
    server.script(gate)
    if way == "break":
        async with aclosing(model.astream("hi")) as chunks:
            async for _ in chunks:
                break
    else:
        task = asyncio.create_task(model.ainvoke("hi"))
        assert await asyncio.to_thread(gate.wait_reached)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (record,) = records
    assert (record.outcome, record.error) == ("cancelled", None)


@pytest.mark.parametrize("step", [HELLO, Status(500)])
async def test_an_on_call_that_raises_costs_no_answer_and_hides_no_error(server, caplog, step):
    """A warning names its exception, and no more of it."""

    def broken(record):
        raise LookupError(f"a metric with {KEY}")

    server.key = KEY
    server.script(step)
    model = model_for(server, on_call=broken, max_retries=0)
    if step is HELLO:
        assert (await model.ainvoke("hi")).content == HELLO.text
    else:
        with pytest.raises(InternalServerError):
            await model.ainvoke("hi")
    (line,) = [entry.getMessage() for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert line == "on_call raised LookupError and is ignored"


@pytest.mark.parametrize("way", WAYS)
def test_the_debug_log_has_one_line_a_call_and_never_a_key(server, model, caplog, way):
    """With any outcome, and even if the service repeats the key."""
    caplog.set_level(logging.DEBUG, LOG)
    server.script(HELLO, Status(400, {"message": f"Incorrect API key: {KEY}"}))
    ask(model, way)
    with pytest.raises(APIError):
        ask(model, way)
    lines = [entry.getMessage() for entry in caplog.records if entry.name == LOG]
    assert len(lines) == 2
    assert lines[0].startswith("gpt-oss-120b: answered in ")
    assert "1 attempt," in lines[0]
    assert lines[1].startswith("gpt-oss-120b: failed (BadRequestError) in ")
    assert KEY not in caplog.text


@pytest.mark.parametrize("way", ["ainvoke", "astream"])
async def test_the_answers_metadata_has_the_figures_too(server, model, way):
    """request_id and attempts always, the speed of a stream where there was one."""
    server.script(Status(500, headers={"retry-after-ms": "1"}), HELLO)
    if way == "ainvoke":
        metadata = (await model.ainvoke("hi")).response_metadata
    else:
        merged = None
        async for chunk in model.astream("hi"):
            merged = chunk if merged is None else merged + chunk
        metadata = merged.response_metadata
    (call,) = metadata["calls"]
    assert (call["request_id"], call["attempts"]) == ("req-1", 2)
    assert ("ttft" in call) == ("tokens_per_second" in call) == (way == "astream")


@pytest.mark.parametrize(("compress", "is_zipped"), [(None, False), (True, True)])
async def test_large_bodies_are_zipped_where_it_is_asked_for(server, model, compress, is_zipped):
    """By default for cerebras.ai alone; the server reads the same either way."""
    text = "x" * 9000
    await model.model_copy(update={"compress_requests": compress}).ainvoke(text)
    (request,) = server.requests
    assert (request.header("content-encoding") == "gzip") is is_zipped
    assert (len(request.body) < 1000) is is_zipped
    assert request.json["messages"][0]["content"] == text


async def test_a_body_of_several_megabytes_goes_out_without_a_warning(server, model):
    """aiohttp warns of large bytes."""
    await model.model_copy(update={"compress_requests": False}).ainvoke("hi", user="x" * 3_000_000)
    assert len(server.requests[0].json["user"]) == 3_000_000


async def test_a_time_out_of_the_key_source_itself_is_not_taken_for_ours():
    """The source did not use up `timeout`: its own exception is raised."""

    async def vault():
        raise asyncio.TimeoutError("the vault does not answer")

    with pytest.raises(asyncio.TimeoutError, match="the vault does not answer"):
        await ChatCerebrasDemo(api_key=vault, base_url=ELSEWHERE).ainvoke("hi")


@pytest.mark.parametrize("failures", [(), (Status(503, headers={"retry-after-ms": "1"}),)], ids=["at once", "retried"])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_answered_call_is_freed_at_once(server, model, is_stream, failures):
    """It is in no reference cycle, so it does not wait for the garbage collector, which costs time and memory."""
    server.script(*failures, HELLO)
    gc.collect()
    gc.disable()
    try:
        if is_stream:
            assert [chunk async for chunk in model.astream("hi")]
        else:
            assert await model.ainvoke("hi")
        assert not [thing for thing in gc.get_objects() if isinstance(thing, Call)]
    finally:
        gc.enable()
