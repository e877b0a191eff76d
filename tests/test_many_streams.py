"""Many calls at once: a thousand streams that are all whole, what one of them costs in memory, and how many sockets.

The memory is held against that of as many streams of a model that does nothing but yield the same chunks, each in a
process of its own. ``-s`` prints the figures.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.testing import Gate, LoopbackCerebras, Reply
from tests.support.processes import ROOT, environment

DELTAS = 200
MOST_BYTES_A_STREAM = 150_000
HALFWAY = DELTAS // 2
WORDS = [f" word{number}" for number in range(DELTAS)]
STATUS = Path("/proc/self/status")

reads_proc = pytest.mark.skipif(not STATUS.exists(), reason="the peak of a process' memory is read from /proc")


def start(kind, streams, *facts):
    """A process that reads so many streams at once."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.test_many_streams", kind, str(streams), *facts],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )


def finish(process):
    """What it says of them."""
    try:
        return json.loads(process.communicate(timeout=150)[0])
    finally:
        process.kill()
        process.communicate()


def compare(streams):
    """The figures of both models, and the bytes that ours needs more for a stream."""
    gates = [Gate(after=HALFWAY, reply=Reply(deltas=[{"content": word} for word in WORDS])) for _ in range(streams)]
    with LoopbackCerebras() as server:
        server.script(Reply(text="warm"), *gates)
        process = start("ours", streams, server.base_url, server.key)
        try:
            # Every stream stands in its middle at one time: that is what "at once" means.
            assert all(gate.wait_reached(60.0) for gate in gates)
            assert server.open_connections == streams
            for gate in gates:
                gate.open()
            ours = finish(process)
        finally:
            process.kill()
            process.communicate()
    floor = finish(start("floor", streams))
    more = (ours["grown"] - floor["grown"]) / streams
    print(
        f"\n{streams} streams of {DELTAS} deltas: {ours['grown'] / streams / 1000:.0f} KB a stream, a model that does nothing "
        f"{floor['grown'] / streams / 1000:.0f} KB, difference {more / 1000:.0f} KB; "
        f"{ours['seconds']:.1f} s, {streams * DELTAS / ours['seconds']:,.0f} deltas a second"
    )
    return ours, floor, more


@reads_proc
@pytest.mark.parametrize("streams", [100, *(pytest.param(many, marks=pytest.mark.long) for many in (200, 1000))])
def test_streams_at_once_are_whole_and_in_order(streams):
    """Every delta of every stream, in its order, at no more than 150 KB a stream above doing nothing."""
    ours, floor, more = compare(streams)
    assert (ours["whole"], floor["whole"]) == (streams, streams)
    assert more <= MOST_BYTES_A_STREAM


# -- sockets


@pytest.mark.parametrize("calls", [200, *(pytest.param(many, marks=pytest.mark.long) for many in (1000, 10_000))])
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_max_concurrency_bounds_the_sockets_of_a_batch(calls, is_streamed):
    """Eight connections carry all of it: they are used again, and never more are opened."""
    with LoopbackCerebras(latency=0.001) as server:
        model = ChatCerebrasDemo(
            base_url=server.base_url,
            api_key=server.key,
            max_concurrency=8,
            rate_limit=None,
            streaming=is_streamed,
        )
        messages = await model.abatch([f"question {number}" for number in range(calls)])
        assert len(messages) == len(server.requests) == calls
        assert {request.connection for request in server.requests} == set(range(1, 9))
        assert server.open_connections <= 8
        await model.aclose()
        assert server.wait_for_connections(0)


# -- the process that reads


class FloorModel(BaseChatModel):
    """Yields the chunks and does nothing else; like the server, it waits in the middle for all others."""

    gate: Any
    texts: list[str]

    @property
    def _llm_type(self):
        return "floor"

    def _generate(self, *_, **__):
        raise NotImplementedError

    async def _astream(self, *_, **__):
        for number, word in enumerate(self.texts):
            if number == HALFWAY:
                await self.gate()
            message = AIMessageChunk(content=word, response_metadata={"model_provider": "cerebras"})
            yield ChatGenerationChunk(message=message)


async def read_all(kind, streams, *facts):
    """So many streams at once; how many were whole, and what the memory was."""
    if kind == "ours":
        base_url, key = facts
        model = ChatCerebrasDemo(base_url=base_url, api_key=key, rate_limit=None, timeout=120.0, coalesce=False)
    else:
        model = FloorModel(gate=make_gate(streams), texts=WORDS)
    await (
        read(model) if kind == "ours" else read(FloorModel(gate=make_gate(1), texts=WORDS))
    )  # what comes once has come
    before, began = memory("VmRSS"), time.perf_counter()
    answers = await asyncio.gather(*(read(model) for _ in range(streams)))
    seconds, grown = time.perf_counter() - began, memory("VmHWM") - before
    if kind == "ours":
        await model.aclose()
    return {"whole": sum(answers), "seconds": seconds, "grown": grown}


async def read(model):
    """Whether all deltas came, each at its place."""
    texts = [chunk.text async for chunk in model.astream("hello") if chunk.text]
    return texts == WORDS


def make_gate(streams):
    """Opens when so many stand before it."""
    opened, waiting = asyncio.Event(), []

    async def gate():
        waiting.append(1)
        if len(waiting) == streams:
            opened.set()
        await opened.wait()

    return gate


def memory(name):
    """Bytes of this process' memory: ``VmRSS`` now, ``VmHWM`` at its peak."""
    return next(int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if line.startswith(name))


if __name__ == "__main__":
    kind, streams, *facts = sys.argv[1:]
    print(json.dumps(asyncio.run(read_all(kind, int(streams), *facts))))
