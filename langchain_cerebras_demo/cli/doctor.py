"""``cerebras-demo doctor``: diagnoses failing requests and suggests fixes."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import Any

import typer

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cli.failures import EXIT_FAILED, hide_secrets
from langchain_cerebras_demo.cli.inputs import check_model_name
from langchain_cerebras_demo.cli.options import JsonOption, ModelOption
from langchain_cerebras_demo.cli.terminal import wrap, write_json, write_out

MARKS = {"fine": "✓", "note": "·", "problem": "✗"}


def doctor(
    *,
    model: ModelOption = catalog.DEFAULT_MODEL,
    as_json: JsonOption = False,
) -> None:
    """Diagnose failing requests and suggest fixes.

    Checks versions, terminal, address, proxy, network, clock, keys, an answer and the limits. Never shows a key. If there
    is one, it is used for one tiny request. Exit codes: 0 no problems, 1 at least one problem, 2 wrong usage.
    """
    check_model_name(model)
    from langchain_cerebras_demo.cli.diagnosis import examine_machine, examine_service  # noqa: PLC0415 - for --help

    found = []
    for finding in itertools.chain(examine_machine(), examine_service(model)):
        found.append(finding)
        if not as_json:
            write_out(hide_secrets("\n".join(finding_lines(finding))) + "\n")
    problems = sum(finding.state == "problem" for finding in found)
    if as_json:
        shown = [{name: hide_secrets(text) for name, text in asdict(finding).items()} for finding in found]
        write_json({"ok": not problems, "findings": shown}, indent=2)
    else:
        words = "No problems found." if not problems else f"{problems} problem{'s' if problems > 1 else ''}: see ✗."
        write_out(f"\n{wrap(words)}\n")
    raise typer.Exit(EXIT_FAILED if problems else 0)


def finding_lines(finding: Any) -> list[str]:
    """Return a ``Finding`` as lines that fit the terminal."""
    said = wrap(f"{finding.topic}: {finding.what}", first=f"{MARKS[finding.state]} ", rest="  ")
    mark = "  → " if finding.state == "problem" else "  "
    return [said, wrap(finding.remedy, first=mark, rest=" " * len(mark))] if finding.remedy else [said]
