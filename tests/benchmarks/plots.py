"""Plots as SVG, written by hand: bars of one case, lines over a number. They read in light and in dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tests.benchmarks.cases import LENGTHS, STREAMS, SUBJECTS

WIDTH = 760
_COLOURS = {
    "raw": "#8b949e",
    "floor": "#748ca3",
    "ours-exact": "#e8590c",
    "ours-coalesced": "#f08c00",
    "cerebras-cloud-sdk": "#0c8599",
    "langchain-cerebras": "#1971c2",
    "langchain-openai": "#4c6ef5",
    "pydantic-ai": "#9c36b5",
    "lm15": "#2f9e44",
}
_STYLE = (
    "<style>text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-size:15px;font-weight:600}.faint{fill:#6e7781}"
    "line,polyline{fill:none}.axis{stroke:#d0d7de}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9198a1}.axis{stroke:#3d444d}}</style>"
)
BARS = (
    "astream", "stream", "ainvoke", "abatch", "tool_calls", "reasoning", "callback", "events", "paced_1", "paced_20",
    "constructor", "bind_tools_50", "import", "memory_model", "memory_stream", "memory_left",
)  # fmt: skip


def draw(summary: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The plots of a run: file name to title and SVG."""
    cases = summary["cases"]
    drawn = {name: (cases[name]["title"], bars(cases[name])) for name in BARS if name in cases and _values(cases[name])}
    for name, numbers, title, axis in (
        ("length", LENGTHS, "Cost of a delta by length of the stream", "deltas of the stream"),
        ("streams", STREAMS, "Cost of a delta by number of streams at once", "streams at once"),
    ):
        series = _series(cases, name, numbers)
        if series:
            drawn[name] = (title, lines(title, axis, "µs of CPU a delta", series))
    return drawn


def _values(case: Mapping[str, Any]) -> dict[str, float]:
    return {name: found["value"] for name, found in case["figures"].items() if found.get("value", 0) > 0}


def _series(cases: Mapping[str, Any], name: str, numbers: Sequence[int]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for number in numbers:
        for subject, value in _values(cases.get(f"{name}_{number}", {"figures": {}})).items():
            found.setdefault(subject, []).append((number, value))
    return {subject: points for subject, points in found.items() if len(points) > 1}


def _picture(height: int, title: str, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, _STYLE, f'<text class="title" x="12" y="24">{escape(title)}</text>', *parts, "</svg>\n"])


def bars(case: Mapping[str, Any]) -> str:
    """One bar a subject, shortest first; the axis is linear and begins at nought."""
    values = sorted(_values(case).items(), key=lambda item: item[1])
    most = values[-1][1]
    left, room = 250, WIDTH - 250 - 150
    parts = [f'<text class="faint" x="12" y="44">{escape(_axis(case["unit"]))}, less is better</text>']
    for row, (name, value) in enumerate(values):
        y = 60 + row * 30
        length = max(1.5, room * value / most)
        ratio = case["ratios"].get(name)
        told = _short(value) + (f"  ({_short(ratio)}x)" if ratio and name != "langchain-cerebras" else "")
        parts += [
            f'<text x="{left - 10}" y="{y + 15}" text-anchor="end">{escape(SUBJECTS[name].title)}</text>',
            f'<rect x="{left}" y="{y}" width="{length:.1f}" height="20" rx="2" fill="{_COLOURS[name]}"/>',
            f'<text x="{left + length + 8:.1f}" y="{y + 15}">{escape(told)}</text>',
        ]
    return _picture(76 + 30 * len(values), case["title"], parts)


def _axis(unit: str) -> str:
    return unit if unit.startswith(("KiB", "MiB")) else unit.replace(" ", " of CPU ", 1)


def lines(title: str, across: str, up: str, series: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """One line a subject over a number, both axes logarithmic; names stand at the lines' ends."""
    left, right, top, bottom = 70, WIDTH - 260, 64, 370
    numbers = sorted({number for points in series.values() for number, _ in points})
    values = [value for points in series.values() for _, value in points]
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values) * 1.001))

    def x(number: float) -> float:
        return left + (right - left) * math.log(number / numbers[0]) / math.log(numbers[-1] / numbers[0])

    def y(value: float) -> float:
        return bottom - (bottom - top) * math.log(value / low) / math.log(high / low)

    parts = [f'<text class="faint" x="12" y="44">{escape(up)}, less is better</text>']
    for number in numbers:
        parts.append(
            f'<text class="faint" x="{x(number):.1f}" y="{bottom + 20}" text-anchor="middle">{number:,}</text>'
        )
    parts.append(
        f'<text class="faint" x="{(left + right) / 2}" y="{bottom + 42}" text-anchor="middle">{escape(across)}</text>'
    )
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        parts += [
            f'<line class="axis" x1="{left}" x2="{right}" y1="{y(10**power):.1f}" y2="{y(10**power):.1f}"/>',
            f'<text class="faint" x="{left - 8}" y="{y(10**power) + 4:.1f}" text-anchor="end">{_short(10**power)}</text>',
        ]
    labels = _apart({name: y(points[-1][1]) for name, points in series.items()})
    for name, points in series.items():
        corners = " ".join(f"{x(number):.1f},{y(value):.1f}" for number, value in points)
        parts += [
            f'<polyline points="{corners}" stroke="{_COLOURS[name]}" stroke-width="2.5"/>',
            *(f'<circle cx="{x(n):.1f}" cy="{y(v):.1f}" r="3.5" fill="{_COLOURS[name]}"/>' for n, v in points),
            f'<text x="{right + 12}" y="{labels[name] + 4:.1f}" style="fill:{_COLOURS[name]}">{escape(SUBJECTS[name].title)}</text>',
        ]
    return _picture(430, title, parts)


def _apart(places: Mapping[str, float], least: float = 16) -> dict[str, float]:
    """The labels' heights, moved down where they would overlap."""
    moved: dict[str, float] = {}
    last = -math.inf
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        last = moved[name] = max(place, last + least)
    return moved


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}".removesuffix(".0") if value >= 1 else f"{value:.2g}"
