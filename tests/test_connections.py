"""Connections of a model: stale ones, those of a pool that the server resets, and those that are closed and warmed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from langchain_cerebras_demo.errors import (
    APIConnectionError,
)
from tests.support.faults import KEY, WHOLE, model_for
from tests.support.rude_servers import RudeServer, read_head


@pytest.fixture(autouse=True)
def _key_of_the_tests(server):
    server.key = KEY


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
