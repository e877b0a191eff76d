"""The targets of the package, and whether the figures of a run reach them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.cases import LENGTHS, SUBJECTS

Value = Callable[[str, str], float]
"""A figure by case and subject; raises ``KeyError`` where there is none."""


@dataclass(frozen=True)
class Target:
    """A bound on one number of a run.

    Args:
        name: For the table.
        bound: The least or the most that the number may be.
        measure: Computes the number from the figures.
        is_floor: Whether it has to be at least the bound; otherwise at most.
        unit: Appended to the numbers.
    """

    name: str
    bound: float
    measure: Callable[[Value], float]
    is_floor: bool = True
    unit: str = "x"


def _times(title: str, case: str, subject: str, bound: float) -> Target:
    return Target(title, bound, lambda value: value(case, "langchain-cerebras") / value(case, subject))


def _of_floors(case: str) -> Callable[[Value], float]:
    """Our cost divided by floor 1 plus floor 2: aiohttp with orjson, and LangChain with a model that does nothing."""
    return lambda value: value(case, "ours-exact") / (value(case, "raw") + value(case, "floor"))


def _exact_length(case: str) -> Callable[[Value], float]:
    """Our cost divided by floor 2 plus one and a half times floor 1."""
    return lambda value: value(case, "ours-exact") / (value(case, "floor") + 1.5 * value(case, "raw"))


def _of_floor_1(case: str) -> Callable[[Value], float]:
    """Our cost, coalesced, divided by floor 1."""
    return lambda value: value(case, "ours-coalesced") / value(case, "raw")


def _least_of_peers(case: str, subject: str) -> Callable[[Value], float]:
    """Our figure divided by the lowest of the LangChain peers that were measured."""

    def measure(value: Value) -> float:
        lowest = []
        for name, facts in SUBJECTS.items():
            if facts.is_langchain:
                try:
                    lowest.append(value(case, name))
                except KeyError:
                    continue
        if not lowest:
            raise KeyError(case)
        return value(case, subject) / min(lowest)

    return measure


def _of_openai(case: str) -> Callable[[Value], float]:
    """Our figure divided by langchain-openai's."""
    return lambda value: value(case, "ours-exact") / value(case, "langchain-openai")


TARGETS: tuple[Target, ...] = (
    _times("astream, exact", "astream", "ours-exact", 12),
    _times("astream, coalesced, full speed", "astream", "ours-coalesced", 35),
    Target("astream, coalesced, paced, 1 stream, of floor 1", 1.25, _of_floor_1("paced_1"), is_floor=False),
    Target("astream, coalesced, paced, 20 streams, of floor 1", 1.25, _of_floor_1("paced_20"), is_floor=False),
    _times("stream, exact", "stream", "ours-exact", 10),
    _times("stream, coalesced", "stream", "ours-coalesced", 30),
    Target("ainvoke, of floor 1 + floor 2", 1.35, _of_floors("ainvoke"), is_floor=False),
    Target("abatch(64), of floor 1 + floor 2", 1.3, _of_floors("abatch"), is_floor=False),
    Target("invoke, of floor 1 + floor 2", 1.6, _of_floors("invoke"), is_floor=False),
    _times("constructor", "constructor", "ours-exact", 500),
    _times("tool call of 5,000 fragments, coalesced", "tool_calls", "ours-coalesced", 20),
    _times("one sync callback handler, coalesced", "callback", "ours-coalesced", 20),
    *(
        Target(
            f"astream of {deltas:,}, exact, of floor 2 + 1.5 floor 1",
            1,
            _exact_length(f"length_{deltas}"),
            is_floor=False,
        )
        for deltas in LENGTHS
    ),
    *(
        Target(f"astream of {deltas:,}, coalesced, of floor 1", 2, _of_floor_1(f"length_{deltas}"), is_floor=False)
        for deltas in LENGTHS
    ),
    Target(
        "memory of an open stream, of the least LangChain peer's",
        1,
        _least_of_peers("memory_stream", "ours-exact"),
        is_floor=False,
    ),
    Target("import, of the least LangChain peer's", 1, _least_of_peers("import", "ours-exact"), is_floor=False),
    Target("import, of langchain-openai's", 0.63, _of_openai("import"), is_floor=False),
    Target("bind_tools of 50, of langchain-openai's", 1.5, _of_openai("bind_tools_50"), is_floor=False),
    Target(
        "structured output, streamed, of the least LangChain peer's",
        1,
        _least_of_peers("structured", "ours-coalesced"),
        is_floor=False,
    ),
)


def reached(target: Target, cases: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how a run compares with a target; ``None`` if a figure that it needs is missing.

    ``badness`` is the number, inverted if necessary so that more is worse; the guard compares two runs by it.
    """

    def value(case: str, subject: str) -> float:
        found: float = cases[case]["figures"][subject]["value"]
        return found

    try:
        number = target.measure(value)
    except (KeyError, ZeroDivisionError):
        return None
    return {
        "name": target.name,
        "wanted": f"{'≥' if target.is_floor else '≤'} {target.bound:g}{target.unit}",
        "reached": f"{number:.2f}{target.unit}" if number < 100 else f"{number:,.0f}{target.unit}",
        "is_reached": number >= target.bound if target.is_floor else number <= target.bound,
        "badness": 1 / number if target.is_floor else number,
    }
