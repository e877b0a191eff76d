"""What is measured, and of whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tests.benchmarks.prepared import Plan

Action = Literal[
    "astream",
    "stream",
    "ainvoke",
    "abatch",
    "constructor",
    "bind_tools",
    "import",
    "callback",
    "events",
    "memory_model",
    "memory_stream",
    "memory_left",
    "decode",
]


@dataclass(frozen=True)
class SubjectFacts:
    """One who is measured: the name in tables, the environment it runs in, the packages whose versions are told."""

    title: str
    environment: str
    packages: tuple[str, ...]
    is_langchain: bool = False


SUBJECTS: dict[str, SubjectFacts] = {
    "raw": SubjectFacts("floor 1: aiohttp + orjson", "ours", ("aiohttp", "orjson")),
    "floor": SubjectFacts("floor 2: do-nothing BaseChatModel", "ours", ("langchain-core",)),
    "ours-exact": SubjectFacts("ChatCerebrasDemo, exact", "ours", ("langchain-core", "aiohttp", "orjson")),
    "ours-coalesced": SubjectFacts("ChatCerebrasDemo, coalesced", "ours", ("langchain-core", "aiohttp", "orjson")),
    "cerebras-cloud-sdk": SubjectFacts("cerebras-cloud-sdk", "cerebras-cloud-sdk", ("cerebras-cloud-sdk", "httpx")),
    "langchain-cerebras": SubjectFacts(
        "langchain-cerebras",
        "langchain-cerebras",
        ("langchain-cerebras", "langchain-openai", "langchain-core", "openai"),
        is_langchain=True,
    ),
    "langchain-openai": SubjectFacts(
        "langchain-openai", "langchain-openai", ("langchain-openai", "langchain-core", "openai"), is_langchain=True
    ),
    "pydantic-ai": SubjectFacts("pydantic-ai CerebrasModel", "pydantic-ai", ("pydantic-ai-slim", "openai")),
}
YARDSTICK = "langchain-cerebras"
QUICK_SUBJECTS = ("raw", "floor", "ours-exact", "ours-coalesced", YARDSTICK)


@dataclass(frozen=True)
class Case:
    """One thing that is measured.

    Args:
        title: for tables.
        action: what a client does.
        plan: what it is answered.
        calls: how often it does it in one measured repetition, one after the other.
        streams: how many at once.
        rounds: how many repetitions, all subjects in turn.
        quick_rounds: the same with ``--quick``; 0 leaves the case out.
        subjects: of whom; by default of all that can.
        over_tls: whether the server is asked by https.
        tools: how many tools are bound.
    """

    title: str
    action: Action
    plan: Plan = field(default_factory=Plan)
    calls: int = 1
    streams: int = 1
    rounds: int = 9
    quick_rounds: int = 0
    subjects: tuple[str, ...] = tuple(SUBJECTS)
    over_tls: bool = False
    tools: int = 0

    @property
    def units(self) -> int:
        """How many of what a figure is told for were done in one repetition."""
        per_call = self.plan.deltas if self.unit == "µs a delta" else 1
        return self.calls * self.streams * per_call

    @property
    def unit(self) -> str:
        """What a figure of this case counts."""
        return {
            "ainvoke": "µs a call",
            "abatch": "µs a call",
            "constructor": "µs a model",
            "bind_tools": "µs a call",
            "import": "ms an import",
            "memory_model": "KiB a model",
            "memory_stream": "KiB a stream",
            "memory_left": "KiB a stream",
        }.get(self.action, "µs a delta")


TOOLS = (1, 50, 1_000)
LENGTHS = (1_000, 2_000, 5_000, 10_000, 20_000)
STREAMS = (1, 10, 100, 1_000)
_WITH_SOCKETS = tuple(name for name in SUBJECTS if name != "floor")
_WITH_TOOLS = ("ours-exact", *(name for name, facts in SUBJECTS.items() if facts.is_langchain))

CASES: dict[str, Case] = {
    "astream": Case("astream, 1,000 deltas", "astream", calls=3, quick_rounds=5),
    "stream": Case("stream, 1,000 deltas", "stream", calls=3, quick_rounds=5),
    "ainvoke": Case("ainvoke, 4 KB", "ainvoke", Plan(deltas=200), calls=20, quick_rounds=5),
    "abatch": Case("abatch(64), 4 KB each", "abatch", Plan(deltas=200), streams=64, quick_rounds=4),
    "constructor": Case("constructor", "constructor", calls=20, rounds=5, quick_rounds=3),
    "import": Case("import, cold process", "import", rounds=5, quick_rounds=3),
    "tool_calls_short": Case("tool call, 1,000 fragments", "astream", Plan("tools"), rounds=5),
    "tool_calls": Case("tool call, 5,000 fragments", "astream", Plan("tools", 5_000), rounds=3, quick_rounds=1),
    "reasoning": Case("reasoning, 1,000 deltas", "astream", Plan("reasoning"), calls=3),
    "callback": Case("astream, one sync callback handler", "callback", calls=3, quick_rounds=4),
    "events": Case("astream_events v3", "events", calls=2, rounds=7),
    "decode": Case("decoding alone, 1,000 deltas", "decode", calls=3),
    "paced_1": Case(
        "2,000 deltas a second, TLS",
        "astream",
        Plan(pace=2_000),
        rounds=5,
        quick_rounds=3,
        subjects=_WITH_SOCKETS,
        over_tls=True,
    ),
    "paced_20": Case(
        "2,000 deltas a second, TLS, 20 streams",
        "astream",
        Plan(pace=2_000),
        streams=20,
        rounds=3,
        subjects=_WITH_SOCKETS,
        over_tls=True,
    ),
    "memory_model": Case("memory, idle model", "memory_model", calls=50, rounds=3),
    "memory_stream": Case("memory, open stream", "memory_stream", Plan(hold=20), streams=30, rounds=3, quick_rounds=2),
    "memory_left": Case("memory left by 10,000 deltas", "memory_left", Plan(deltas=10_000), rounds=1),
    **{
        f"length_{deltas}": Case(
            f"length of a stream: {deltas:,} deltas",
            "astream",
            Plan(deltas=deltas),
            calls=max(1, 3_000 // deltas),
            rounds=5,
            quick_rounds=3 if deltas in {1_000, 5_000} else 0,
            subjects=QUICK_SUBJECTS,
        )
        for deltas in LENGTHS
    },
    **{
        f"bind_tools_{tools}": Case(
            f"bind_tools of {tools:,}",
            "bind_tools",
            calls=max(1, 500 // tools),
            rounds=7,
            quick_rounds=3 if tools == 50 else 0,
            subjects=_WITH_TOOLS,
            tools=tools,
        )
        for tools in TOOLS
    },
    **{
        f"streams_{streams}": Case(
            f"streams at once: {streams:,}, of 50 deltas",
            "astream",
            Plan(deltas=50),
            calls=max(1, 20 // streams),
            streams=streams,
            rounds=2 if streams == 1_000 else 5,
        )
        for streams in STREAMS
    },
}
