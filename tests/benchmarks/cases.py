"""The cases that are measured, and the subjects they are measured on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tests.benchmarks.prepared import Plan

Action = Literal[
    "astream",
    "stream",
    "invoke",
    "ainvoke",
    "abatch",
    "structured",
    "adding",
    "constructor",
    "bind_tools",
    "import",
    "first_call",
    "memory_rest",
    "callback",
    "events",
    "memory_model",
    "memory_stream",
    "memory_left",
    "decode",
]


@dataclass(frozen=True)
class SubjectFacts:
    """A library or model that is measured: its title, its environment, and the packages whose versions are reported."""

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
    "lm15": SubjectFacts("lm15 OpenAIChatLM", "lm15", ("lm15",)),
}
YARDSTICK = "langchain-cerebras"
QUICK_SUBJECTS = ("raw", "floor", "ours-exact", "ours-coalesced", YARDSTICK)


@dataclass(frozen=True)
class Case:
    """One thing that is measured.

    Args:
        title: For tables.
        action: What a client does.
        plan: The answer that it gets.
        calls: How often it does it in one measured repetition, one after the other.
        streams: How many run at once.
        rounds: The number of repetitions; the subjects take turns.
        quick_rounds: The same with ``--quick``; 0 leaves the case out.
        subjects: Who is measured; by default all that can do it.
        over_tls: Whether the server is reached over https.
        tools: How many tools are bound.
        strict_dicts: Whether these are dicts, bound with ``strict=True``; otherwise LangChain tools.
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
    strict_dicts: bool = False

    @property
    def units(self) -> int:
        """The number of units in one repetition; a figure is given for one unit."""
        per_call = self.plan.deltas if self.unit == "µs a delta" else 1
        return self.calls * self.streams * per_call

    @property
    def unit(self) -> str:
        """The unit of this case's figures."""
        return {
            "invoke": "µs a call",
            "ainvoke": "µs a call",
            "abatch": "µs a call",
            "constructor": "µs a model",
            "bind_tools": "µs a call",
            "import": "ms an import",
            "first_call": "ms a process",
            "memory_rest": "MiB a process",
            "structured": "ms an answer",
            "adding": "ms for all",
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
    "invoke": Case("invoke, 4 KB", "invoke", Plan(deltas=200), calls=20, quick_rounds=5),
    "structured": Case(
        "structured output, streamed, 10,000 characters", "structured", Plan("json", 560), rounds=5, quick_rounds=2
    ),
    "adding": Case("adding 10,000 chunks, one by one", "adding", Plan(deltas=10_000), rounds=3, quick_rounds=1),
    "constructor": Case("constructor", "constructor", calls=20, rounds=5, quick_rounds=3),
    "import": Case("import, cold process", "import", rounds=5, quick_rounds=3),
    "first_call": Case("import and first answer, cold process", "first_call", Plan(deltas=200), rounds=5),
    "memory_rest": Case("memory of a process at rest, after one answer", "memory_rest", Plan(deltas=200), rounds=1),
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
    "bind_tools_strict": Case(
        "bind_tools of 50 dicts, strict",
        "bind_tools",
        calls=10,
        rounds=7,
        subjects=_WITH_TOOLS,
        tools=50,
        strict_dicts=True,
    ),
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
