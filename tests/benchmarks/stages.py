"""Where the CPU time of a call goes, by the part of the program: ``python -m tests.benchmarks.stages`` prints a table.

The stack is sampled while calls are made, and a sample belongs to the innermost frame of LangChain, aiohttp or this package, so that
the time of the standard library counts for its caller. Unlike a tracing profiler, sampling does not make small functions look
expensive. Synchronous calls are not in the table: signals reach the main thread only, and the work is done in another one.
"""

from __future__ import annotations

import asyncio
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
_OTHERS = {
    "langchain_core": "LangChain",
    "langsmith": "LangChain",
    "pydantic": "LangChain",
    "aiohttp": "aiohttp",
}


def stage_of(frame: FrameType | None) -> str:
    """Return the part of the program that a stack belongs to."""
    while frame is not None:
        parts = Path(frame.f_code.co_filename).parts
        if _OURS in parts:
            return "/".join(parts[parts.index(_OURS) + 1 :])
        for package, stage in _OTHERS.items():
            if package in parts:
                return stage
        frame = frame.f_back
    return "the event loop"


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


def sample(call: Callable[[], int]) -> tuple[float, Counter[str]]:
    """Return the microseconds of a call, and how they divide into stages. ``call`` returns how many calls it has made."""
    call()
    calls, began = 0, time.process_time()
    with Sampler() as sampler:
        while time.process_time() - began < SECONDS:
            calls += call()
    spent = (time.process_time() - began) / calls * 1e6
    samples = sampler.counts.total()
    return spent, Counter({stage: round(spent * count / samples, 1) for stage, count in sampler.counts.items()})  # type: ignore[misc]


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
    stages = sorted(
        {stage for _, counts in found.values() for stage in counts}, key=lambda stage: -found["ainvoke"][1][stage]
    )
    print("| µs a call | " + " | ".join(found) + " |")
    print("|---|" + "---:|" * len(found))
    for stage in stages:
        print(f"| {stage} | " + " | ".join(f"{counts[stage]:.0f}" for _, counts in found.values()) + " |")
    print("| all | " + " | ".join(f"{spent:.0f}" for spent, _ in found.values()) + " |")


if __name__ == "__main__":
    main()
