"""Leaving a call early: the connection is closed, nothing is logged, and nothing goes on in the background."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import time
from contextlib import aclosing, closing

import pytest

from langchain_cerebras_demo.testing import (
    Gate,
    Reply,
)
from tests.support.faults import KEY, ask, model_for

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
