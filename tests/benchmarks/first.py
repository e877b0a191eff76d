"""What a delta, a constructor and an import cost, against LangChain's own floor in the same run.

    python tests/benchmarks/first.py

Prints figures; the machine is noisy, so compare the ratios of one run and not the times of two. Every case checks that it
delivered every byte before its time counts.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median

import orjson
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.wire.completion import CompletionDecoder
from langchain_cerebras_demo.wire.sse import SSEDecoder

DELTAS, LONG_DELTAS, RUNS = 5_000, 100_000, 7
WORD = "token "


def event(choice: dict, **more) -> bytes:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-oss-120b"}
    return b"data: " + orjson.dumps({**chunk, "system_fingerprint": "fp", "choices": [choice], **more}) + b"\n\n"


def stream_body(deltas: int) -> bytes:
    usage = {"prompt_tokens": 1, "completion_tokens": deltas, "total_tokens": deltas + 1}
    finish = event({"index": 0, "delta": {}, "finish_reason": "stop"}, usage=usage)
    return event({"index": 0, "delta": {"content": WORD}}) * deltas + finish + b"data: [DONE]\n\n"


class PreparedResponse:
    """A body cut into network reads of 16 KiB."""

    status = 200

    def __init__(self, body: bytes) -> None:
        self.headers = {"content-type": "text/event-stream"}
        self._reads = iter([body[start : start + 16384] for start in range(0, len(body), 16384)])

    async def read(self) -> bytes:
        return next(self._reads, b"")

    def close(self) -> None:
        pass


class PreparedTransport:
    """Answers every request with the same stream, without a socket: what is measured is our own work."""

    def __init__(self, deltas: int) -> None:
        self._body = stream_body(deltas)

    async def send(self, request: object) -> PreparedResponse:
        return PreparedResponse(self._body)


class FloorModel(BaseChatModel):
    """A chat model that does nothing but make chunks: what LangChain itself costs."""

    deltas: int

    @property
    def _llm_type(self) -> str:
        return "floor"

    def _generate(self, *args, **kwargs) -> ChatResult:
        raise NotImplementedError

    async def _astream(self, *args, **kwargs):
        for _ in range(self.deltas):
            yield ChatGenerationChunk(message=AIMessageChunk(content=WORD))

    def _stream(self, *args, **kwargs):
        for _ in range(self.deltas):
            yield ChatGenerationChunk(message=AIMessageChunk(content=WORD))


async def consume_async(model: BaseChatModel) -> int:
    return sum([len(chunk.content) async for chunk in model.astream("hi")])


def consume(model: BaseChatModel) -> int:
    return sum(len(chunk.content) for chunk in model.stream("hi"))


def decode() -> int:
    sse, completion = SSEDecoder(), CompletionDecoder()
    for sent in sse.feed(stream_body(DELTAS)):
        completion.feed(sent.name, sent.data)
    return len(completion.text)


def cpu(case: Callable[[], int]) -> float:
    """CPU seconds of this process for one run of the case."""
    gc.collect()
    before = time.process_time()
    delivered = case()
    spent = time.process_time() - before
    if delivered != DELTAS * len(WORD):
        raise SystemExit(f"{delivered} characters were delivered instead of {DELTAS * len(WORD)}: no figure")
    return spent


def print_deltas() -> None:
    ours = ChatCerebrasDemo(api_key="csk-x", transport=PreparedTransport(DELTAS))
    floor = FloorModel(deltas=DELTAS)
    cases = {
        "decode alone": decode,
        "LangChain's floor, astream": lambda: asyncio.run(consume_async(floor)),
        "ours, astream": lambda: asyncio.run(consume_async(ours)),
        "LangChain's floor, stream": lambda: consume(floor),
        "ours, stream": lambda: consume(ours),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(RUNS):
        for name, case in cases.items():  # in turn, so that a noisy minute hits all of them
            times[name].append(cpu(case))
    base = median(times["LangChain's floor, astream"])
    for name, spent in times.items():
        print(
            f"{name:<32} {median(spent) / DELTAS * 1e6:8.1f} µs a delta   {median(spent) / base:5.2f} x floor astream"
        )


def print_constructor() -> None:
    ChatCerebrasDemo(api_key="csk-x")
    spent = []
    for _ in range(200):
        before = time.perf_counter()
        ChatCerebrasDemo(api_key="csk-x")
        spent.append(time.perf_counter() - before)
    print(f"{'constructor, warm':<32} {median(spent) * 1e6:8.1f} µs")


def print_memory() -> None:
    """What a stream of 100,000 deltas leaves behind when its text is kept."""
    model = ChatCerebrasDemo(api_key="csk-x", transport=PreparedTransport(LONG_DELTAS))

    async def read() -> str:
        return "".join([chunk.content async for chunk in model.astream("hi")])

    asyncio.run(read())
    gc.collect()
    tracemalloc.start()
    text = asyncio.run(read())
    gc.collect()
    left, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(
        f"{'left of 100,000 deltas':<32} {left / 1024:8.0f} KiB, of which text {len(text) / 1024:.0f} (peak {peak >> 20} MiB)"
    )


def print_imports() -> None:
    statements = {
        "import langchain_cerebras_demo": "import langchain_cerebras_demo",
        "floor: langchain-core and aiohttp": "import langchain_core.language_models.chat_models, aiohttp",
        "ours: ChatCerebrasDemo": "from langchain_cerebras_demo import ChatCerebrasDemo",
    }
    timed = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
    times: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(RUNS):
        for name, statement in statements.items():
            done = subprocess.run(
                [sys.executable, "-c", timed.format(statement)], capture_output=True, text=True, check=True
            )
            times[name].append(float(done.stdout))
    for name, spent in times.items():
        print(f"{name:<34} {median(spent) * 1e3:6.0f} ms")
    ratio = median(times["ours: ChatCerebrasDemo"]) / median(times["floor: langchain-core and aiohttp"])
    print(f"{'ratio to the floor':<34} {ratio:6.2f}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    print_deltas()
    print_constructor()
    print_memory()
    print_imports()
