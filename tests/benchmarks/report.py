"""From samples to figures: minimum and median, ratios, targets, tables, the guard. Pure: it starts and measures nothing."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks import plots
from tests.benchmarks.cases import CASES, SUBJECTS, YARDSTICK, Case
from tests.benchmarks.targets import TARGETS, reached

Summary = dict[str, Any]

README_CASES = ("astream", "tool_calls", "ainvoke", "abatch")
README_SUBJECTS = ("ours-coalesced", "langchain-cerebras", "langchain-openai")
README_BEGIN, README_END = "<!-- figures: begin -->", "<!-- figures: end -->"


def surroundings(python: Path) -> dict[str, Any]:
    """Return where and when the figures were made."""
    of_python = subprocess.run([str(python), "-V"], check=True, capture_output=True, text=True).stdout.split()[-1]
    now = dt.datetime.now(tz=dt.timezone.utc)
    release = platform.release().partition("-")[0]  # the rest names a private build
    return {
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {release}",
        "python": of_python,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def figure(case: Case, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one subject needed for one unit of a case, or why there is no figure.

    There is none if a single repetition did not deliver every byte.
    """
    if not result["ready"]:
        return {"fault" if result.get("fault") else "missing": result["why"]}
    faults = [sample["fault"] for sample in result["samples"] if sample.get("fault")]
    if faults:
        return {"fault": faults[0]}
    if not result["samples"]:
        return {"missing": "not measured"}
    if "bytes" in result["samples"][0]:
        # The process takes memory from the system in lumps: a sample can be too small, so the median counts.
        scale = 2**20 if case.unit.startswith("MiB") else 2**10
        values = [sample["bytes"] / case.units / scale for sample in result["samples"]]
        return {"value": median(values), "min": min(values), "median": median(values)}
    scale = (1e3 if case.unit.startswith("ms") else 1e6) / case.units
    cpu = [sample["cpu"] * scale for sample in result["samples"]]
    wall = [sample["wall"] * scale for sample in result["samples"]]
    return {
        "value": min(cpu),  # other work on the machine can only add time
        "min": min(cpu),
        "median": median(cpu),
        "wall_min": min(wall),
        "wall_median": median(wall),
    }


def ratios(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the yardstick's figure divided by each subject's; none where either is missing."""
    against = figures.get(YARDSTICK, {}).get("value")
    if against is None:
        return {}
    return {name: against / found["value"] for name, found in figures.items() if found.get("value", 0) > 0}


def summarize(results: Mapping[str, Any]) -> Summary:
    """Return the figures, ratios and targets of a run's samples."""
    cases: dict[str, Any] = {}
    versions: dict[str, dict[str, str]] = {}
    for name, found in results["cases"].items():
        figures = {subject: figure(CASES[name], result) for subject, result in found.items()}
        cases[name] = {
            "title": CASES[name].title,
            "unit": CASES[name].unit,
            "figures": figures,
            "ratios": ratios(figures),
        }
        versions.update({subject: result["versions"] for subject, result in found.items() if "versions" in result})
    about = {key: value for key, value in results.items() if key != "cases"}
    targets = [outcome for target in TARGETS if (outcome := reached(target, cases)) is not None]
    return {**about, "versions": versions, "cases": cases, "targets": targets}


def guard(summary: Summary, published: Summary) -> list[str]:
    """Return what has become more than twice as bad as published, and every incomplete delivery.

    Only ratios are compared, each made within one run, because machines differ.
    """
    before = {target["name"]: target["badness"] for target in published["targets"]}
    worse = [
        f"{target['name']}: {target['reached']} now, more than twice as bad as published"
        for target in summary["targets"]
        if target["badness"] > 2 * before.get(target["name"], float("inf"))
    ]
    short = [
        f"{case['title']}: {SUBJECTS[subject].title} delivered {found['fault']}"
        for case in summary["cases"].values()
        for subject, found in case["figures"].items()
        if "fault" in found and subject.startswith("ours")
    ]
    silent = [] if summary["targets"] or short else ["no target could be measured"]
    return worse + short + silent


def to_markdown(summary: Summary) -> str:
    """Return the targets, the tables of all cases, and the versions."""
    subjects = [name for name in SUBJECTS if any(name in case["figures"] for case in summary["cases"].values())]
    lines = ["# Benchmarks", "", *_targets(summary), "## CPU time and memory", ""]
    lines += [
        "CPU time (user and system, all threads) of the client process for one delta, call, model or import: the minimum of",
        f"the repetitions, and in brackets their median. `x` is the speed-up over {YARDSTICK} in the same run. A case has no",
        "figure if the text, the usage or the number of chunks did not arrive as sent. The process of a paced stream sleeps",
        "between two deltas, so waking up is part of each delta's cost.",
        "",
        *_table(summary["cases"], subjects, _cell),
        "",
        "## Wall time",
        "",
        "The wall time of the same repetitions: the minimum, and in brackets the median.",
        "",
        *_table({name: case for name, case in summary["cases"].items() if _has_wall(case)}, subjects, _wall_cell),
    ]
    return "\n".join([*lines, "", "## Made with", "", *_foot(summary, subjects), ""])


def to_readme(summary: Summary) -> str:
    """Return the README's table: one row for each of its cases, and one plot."""
    subjects = [name for name in README_SUBJECTS if name in summary["versions"]]
    rows = [
        f"| {case['title']} ({case['unit']}) | "
        + " | ".join(_cell(case, name, is_short=True) for name in subjects)
        + " |"
        for case in (summary["cases"][name] for name in README_CASES if name in summary["cases"])
    ]
    made = f"{summary['date']}, Python {summary['python']}, {summary['machine']}"
    return "\n".join(
        [
            "| CPU time | " + " | ".join(SUBJECTS[name].title for name in subjects) + " |",
            "|---|" + "---|" * len(subjects),
            *rows,
            "",
            "Coalesced, the default: tokens that arrive together are one chunk. This is the client's CPU time at full speed; answers do",
            "not arrive sooner.",
            "",
            "![CPU time of a streamed delta](docs/benchmarks/astream.svg)",
            "",
            f"{made}.",
            "",
        ]
    )


def _table(
    cases: Mapping[str, Any], subjects: Sequence[str], cell: Callable[[Mapping[str, Any], str], str]
) -> list[str]:
    head = [
        "| case | " + " | ".join(SUBJECTS[name].title for name in subjects) + " |",
        "|---|" + "---|" * len(subjects),
    ]
    rows = [
        f"| {case['title']}<br>{case['unit']} | " + " | ".join(cell(case, name) for name in subjects) + " |"
        for case in cases.values()
    ]
    return head + rows


def _targets(summary: Summary) -> list[str]:
    if not summary["targets"]:
        return []
    rows = [
        f"| {target['name']} | {target['wanted']} | {target['reached']} | {'yes' if target['is_reached'] else '**no**'} |"
        for target in summary["targets"]
    ]
    return ["## Targets", "", "| target | wanted | measured | reached |", "|---|---|---|---|", *rows, ""]


def _cell(case: Mapping[str, Any], subject: str, *, is_short: bool = False) -> str:
    found = case["figures"].get(subject, {"missing": ""})
    if "fault" in found:
        return f"no figure: {found['fault']}"
    if "value" not in found:
        return "-"
    ratio = case["ratios"].get(subject)
    if is_short:
        return _number(found["value"]) + (f" ({_number(ratio)}x)" if ratio and subject != YARDSTICK else "")
    return f"{_number(found['min'])} ({_number(found['median'])})" + (f"<br>{_number(ratio)}x" if ratio else "")


def _has_wall(case: Mapping[str, Any]) -> bool:
    return any("wall_min" in found for found in case["figures"].values())


def _wall_cell(case: Mapping[str, Any], subject: str) -> str:
    found = case["figures"].get(subject, {})
    return f"{_number(found['wall_min'])} ({_number(found['wall_median'])})" if "wall_min" in found else "-"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"


def _foot(summary: Summary, subjects: Sequence[str]) -> list[str]:
    ran = [
        f"- {SUBJECTS[name].title}: " + ", ".join(f"{package} {version}" for package, version in found.items())
        for name in subjects
        if (found := summary["versions"].get(name))
    ]
    kind = "quick run" if summary["quick"] else "full run"
    made = f"{summary['date']}, {kind} of {summary['seconds']} s, Python {summary['python']}, {summary['machine']}."
    return [made, "", *ran]


def publish(summary: Summary, readme: Path) -> None:
    """Put the short table between the two marks of the README."""
    before, begin, rest = readme.read_text(encoding="utf-8").partition(README_BEGIN)
    _, end, after = rest.partition(README_END)
    if not begin or not end:
        raise ValueError(f"{readme.name} has lost its marks: {README_BEGIN} and {README_END}")
    readme.write_text(f"{before}{begin}\n{to_readme(summary)}{end}{after}", encoding="utf-8")


def write(summary: Summary, folder: Path) -> None:
    """Write ``results.json``, ``index.md`` and the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    drawn = plots.draw(summary)
    for name, (_, picture) in drawn.items():
        (folder / f"{name}.svg").write_text(picture, encoding="utf-8")
    pictures = [line for name, (title, _) in drawn.items() for line in (f"![{title}]({name}.svg)", "")]
    text = to_markdown(summary) + ("\n## Plots\n\n" + "\n".join(pictures) if pictures else "")
    (folder / "index.md").write_text(text, encoding="utf-8")
