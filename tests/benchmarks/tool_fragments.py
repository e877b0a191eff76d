"""What a fragment of a tool call's arguments costs as the call grows, beside langchain-openai in the same run.

    python tests/benchmarks/tool_fragments.py

Both stream the same bytes from the loopback Cerebras in another process; CPU time of this process, so the server's
own does not count. A cost a fragment that stays the same as their number grows is linear time.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import sys
import time
from pathlib import Path
from statistics import median

import orjson
from langchain_core.language_models.chat_models import BaseChatModel

SIZES, RUNS = (625, 1_250, 2_500, 5_000), 3
PIECE = "twenty characters.. "


def stream_body(fragments: int) -> bytes:
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-oss-120b"}

    def event(delta: dict, **more) -> bytes:
        choice = {"index": 0, "delta": delta, **more}
        return b"data: " + orjson.dumps({**frame, "choices": [choice]}) + b"\n\n"

    def fragment(arguments: str, **more) -> bytes:
        return event({"tool_calls": [{"index": 0, "type": "function", "function": {"arguments": arguments, **more}}]})

    first = event(
        {
            "tool_calls": [
                {"index": 0, "id": "c1", "type": "function", "function": {"name": "write", "arguments": '{"text": "'}}
            ]
        }
    )
    return (
        first
        + fragment(PIECE) * fragments
        + fragment('"}')
        + event({}, finish_reason="tool_calls")
        + b"data: [DONE]\n\n"
    )


def serve(address: multiprocessing.connection.Connection) -> None:
    from langchain_cerebras_demo.testing import LoopbackCerebras, RawStream

    with LoopbackCerebras() as server:
        address.send((server.base_url, server.key))
        while (fragments := address.recv()) is not None:
            server.script(RawStream([stream_body(fragments)], end="eof"))
            address.send(True)


def streamed_only(model: BaseChatModel, fragments: int) -> float:
    """CPU seconds of one stream, the merge that LangChain makes at its end included; sums by ``+`` are the user's own."""
    before = time.process_time()
    size = sum(
        len(chunk.tool_call_chunks[0]["args"] or "") for chunk in model.stream("write") if chunk.tool_call_chunks
    )
    seconds = time.process_time() - before
    if size != len(PIECE) * fragments + len('{"text": ""}'):
        raise SystemExit("the arguments did not arrive whole: no figure")
    return seconds


def main() -> None:
    from langchain_openai import ChatOpenAI

    from langchain_cerebras_demo import ChatCerebrasDemo

    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    process.start()
    base_url, key = here.recv()
    models = {
        "ours": ChatCerebrasDemo(base_url=base_url, api_key=key),
        "langchain-openai": ChatOpenAI(base_url=base_url, api_key=key, model="gpt-oss-120b"),
    }
    print(f"{'µs a fragment, streamed':<26}" + "".join(f"{size:>10,}" for size in SIZES))
    for name, model in models.items():
        row = []
        for size in SIZES:
            times = []
            for _ in range(RUNS):
                here.send(size)
                here.recv()
                times.append(streamed_only(model, size))
            row.append(median(times) / size * 1e6)
        print(f"{name:<26}" + "".join(f"{cost:>10.1f}" for cost in row))
    here.send(None)
    process.join(5)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
