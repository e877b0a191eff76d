"""Where the CPU time of a call goes, by the part of the program: ``python -m tests.benchmarks.stages`` prints a table.

The stack is sampled while calls are made, and a sample belongs to the innermost frame of LangChain, aiohttp or this package, so that
the time of the standard library counts for its caller. Unlike a tracing profiler, sampling does not make small functions look
expensive. Synchronous calls are not in the table: signals reach the main thread only, and the work is done in another one.
"""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from typing_extensions import Self

from tests.benchmarks.__main__ import serving
from tests.benchmarks.plain_subjects import SUBJECT_CLASSES
from tests.benchmarks.prepared import Plan
from tests.benchmarks.subjects import Subject

SECONDS = 20.0  # CPU time of each column
_INTERVAL = 0.001  # the system may sample less often

_OURS = "langchain_cerebras_demo"

# The first beginning that fits a file counts; files of this package are named without the package.
STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("LangChain", ("langchain_core/", "langsmith/", "pydantic/")),
    ("aiohttp", ("aiohttp/",)),
    ("messages to request", ("chat_models/base.py", "chat_models/fields.py", "chat_models/messages.py")),
    ("messages to request", ("wire/request.py", "wire/history.py", "wire/parts.py", "wire/cost.py", "catalog.py")),
    ("messages to request", ("policy/abilities.py",)),
    ("events to message", ("chat_models/", "wire/coalescing.py")),
    ("key", ("keys/", "net/endpoint.py")),
    ("rate limits", ("client/limiter.py", "client/slots.py", "policy/", "wire/headers.py")),
    ("record of the call", ("client/report.py", "client/observers.py", "records.py")),
    ("call, attempts, time limits", ("client/", "local/")),
    ("transport", ("net/",)),
    ("decoding", ("wire/",)),
)
EVENT_LOOP = "event loop"


def stage_of(frame: FrameType | None) -> str:
    """Return the part of the program that a stack belongs to."""
    while frame is not None:
        file = _named(frame.f_code.co_filename)
        for stage, beginnings in STAGES:
            if file.startswith(beginnings):
                return stage
        frame = frame.f_back
    return EVENT_LOOP


@functools.cache
def _named(path: str) -> str:
    """Return a file's path behind the folder that its package is in, or behind this package."""
    for folder in (f"/{_OURS}/", "/site-packages/"):
        if folder in path:
            return path.rpartition(folder)[2]
    return path


class Sampler:
    """Counts the stages that use CPU time while it is entered."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        signal.signal(signal.SIGPROF, self._take)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL, _INTERVAL)
        return self

    def __exit__(self, *_exception: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _take(self, _number: int, frame: FrameType | None) -> None:
        self.counts[stage_of(frame)] += 1


def sample(call: Callable[[], int]) -> tuple[float, dict[str, float]]:
    """Return the microseconds of a call, and the part of each stage. ``call`` returns how many calls it has made."""
    call()
    calls, began = 0, time.process_time()
    with Sampler() as sampler:
        while time.process_time() - began < SECONDS:
            calls += call()
    spent = (time.process_time() - began) / calls * 1e6
    return spent, {stage: count / sampler.counts.total() for stage, count in sampler.counts.items()}


def columns(address: str, loop: asyncio.AbstractEventLoop) -> dict[str, Callable[[], int]]:
    """Return what is measured: a call of each kind, and a stream of one delta, which has little but its fixed costs."""

    def make(name: str, plan: Plan) -> Subject:
        subject = SUBJECT_CLASSES[name](address + plan.path, plan)
        subject.model = subject.build()
        return subject

    exact, short = make("ours-exact", Plan(deltas=200)), make("ours-coalesced", Plan(deltas=1))
    return {
        "ainvoke": lambda: len([loop.run_until_complete(exact.ainvoke())]),
        "abatch(64)": lambda: len(loop.run_until_complete(exact.abatch(64))),
        "astream of 1 delta": lambda: len([loop.run_until_complete(short.astream())]),
    }


def main() -> None:
    """Measure and print."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with serving(Path(sys.executable)) as server:
        found = {title: sample(call) for title, call in columns(server["http"], loop).items()}
    print("| part of the CPU time | " + " | ".join(found) + " |")
    print("|---|" + "---:|" * len(found))
    for stage in [EVENT_LOOP, *dict(STAGES)]:
        print(f"| {stage} | " + " | ".join(f"{parts.get(stage, 0):.1%}" for _, parts in found.values()) + " |")
    print("| µs a call | " + " | ".join(f"{spent:.0f}" for spent, _ in found.values()) + " |")


if __name__ == "__main__":
    main()
