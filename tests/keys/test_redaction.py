"""A failed call can be debugged: its cause and the lines of our own modules are there, and the key is not."""

from __future__ import annotations

import asyncio
import gc
import traceback

import pytest

from langchain_cerebras_demo import (
    APIConnectionError,
    APIResponseValidationError,
    ChatCerebrasDemo,
    StreamInterruptedError,
)
from langchain_cerebras_demo.errors import APIError, OriginalError
from langchain_cerebras_demo.keys.redaction import redact
from langchain_cerebras_demo.keys.secret import Secret
from langchain_cerebras_demo.testing import CutAfter, Disconnect, RawStream, sse
from langchain_cerebras_demo.wire.tool_calls import ToolCallTracker
from tests.support.leaks import all_that_shows
from tests.support.virtual_time import in_virtual_time

KEY = "csk-hiding-0123456789-sentinel"
CHUNK = {"id": KEY, "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi", "tool_calls": [{"index": 0}]}}]}


async def listed(stream):
    return [piece async for piece in stream]


WAYS = {
    "invoke": lambda model: model.invoke("hi"),
    "stream": lambda model: list(model.stream("hi")),
    "ainvoke": lambda model: asyncio.run(model.ainvoke("hi")),
    "astream": lambda model: asyncio.run(listed(model.astream("hi"))),
}


def failure(call):
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


def lines(error):
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bug", [RuntimeError, KeyError, TypeError])
def test_a_bug_in_a_decoder_is_shown_with_its_own_line(server, monkeypatch, way, bug):
    """Whether it comes out as it is or as an answer that cannot be read; the answer, which repeats the key, is not shown."""

    def read_with_a_bug(*_arguments, **_more):
        raise bug(f"here is the bug, and {KEY}")
        yield

    monkeypatch.setattr(ToolCallTracker, "read", read_with_a_bug)
    server.key = KEY
    server.script(RawStream([sse(CHUNK, "[DONE]")]))
    error = failure(lambda: WAYS[way](ChatCerebrasDemo(base_url=server.base_url, api_key=KEY, max_retries=0)))
    shown = lines(error)
    assert 'raise bug(f"here is the bug' in shown
    assert f"{bug.__name__}: " in shown
    assert "here is the bug, and **********" in shown
    for module in ("client/call.py", "client/attempt.py", "wire/completion.py"):
        assert module in shown
    assert isinstance(error, APIResponseValidationError if bug is TypeError else bug)
    assert KEY not in all_that_shows(error)


@pytest.mark.parametrize("way", WAYS)
def test_a_broken_connection_names_what_the_system_said(server, way):
    """aiohttp's type and the message, as the cause; also behind a stream that was cut off."""
    nobody = ChatCerebrasDemo(base_url="http://127.0.0.1:9/v1", api_key=KEY, max_retries=1)
    error = failure(lambda: WAYS[way](nobody))
    assert isinstance(error, APIConnectionError)
    assert isinstance(error.__cause__, OriginalError)
    assert str(error.__cause__).startswith("aiohttp.client_exceptions.ClientConnectorError: Cannot connect to host")
    assert "ConnectionRefusedError" in str(error.__cause__.__cause__)
    assert "net/aiohttp_transport.py" in lines(error)
    server.script(*[CutAfter(events=2)] * 2)
    cut = failure(lambda: WAYS[way](ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, max_retries=1)))
    assert isinstance(cut.__cause__, OriginalError) is ("aiohttp" in lines(cut))
    assert isinstance(cut, StreamInterruptedError | APIConnectionError)


def test_a_reset_is_named_too(server):
    """`ServerDisconnectedError` or the system's own error, whichever came first."""
    server.script(Disconnect("reset"))
    error = failure(lambda: ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, max_retries=0).invoke("hi"))
    assert "aiohttp" in str(error.__cause__)


def test_the_key_is_removed_from_message_causes_and_request_id():
    """Whatever the error was raised from."""

    def fail():
        try:
            raise ValueError(f"cause {KEY}")
        except ValueError as cause:
            raise APIError(f"message {KEY}") from cause

    error = failure(fail)
    error.request_id = KEY
    assert redact(error, Secret(KEY, "x")) is error
    assert (str(error), error.request_id) == ("message **********", "**********")
    assert str(error.__cause__) == "ValueError: cause **********"
    assert error.__context__ is None


@in_virtual_time
async def test_the_frames_of_another_call_that_waits_are_left_alone():
    """One exception raised by a transport in several calls: clearing the frames of the first would close it while it waits."""
    shared = APIConnectionError("the same each time")
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))

    class Failing:
        async def send(self, request):
            raise shared

    model = ChatCerebrasDemo(api_key=KEY, transport=Failing(), max_retries=1, rate_limit=None)
    answers = await asyncio.gather(*[model.ainvoke("hi") for _ in range(5)], return_exceptions=True)
    gc.collect()
    await asyncio.sleep(1)
    assert answers == [shared] * 5
    assert complaints == []
