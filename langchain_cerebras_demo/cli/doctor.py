"""``cerebras-demo doctor``: what is in the way of an answer, and what to do about it."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import Any

import typer

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cli.guard import EXIT_FAILED, hide_secrets
from langchain_cerebras_demo.cli.options import JsonOption, ModelOption
from langchain_cerebras_demo.cli.terminal import wrap, write_json, write_out

MARKS = {"fine": "✓", "note": "·", "problem": "✗"}


def doctor(
    *,
    model: ModelOption = catalog.DEFAULT_MODEL,
    as_json: JsonOption = False,
) -> None:
    """Find out what is in the way of an answer, and what to do.

    Looks at versions, terminal, address, proxy, network, clock, keys, an answer and the limits. Never shows a key. If there
    is one, one tiny question is asked with it. Exit codes: 0 nothing is in the way, 1 something is.
    """
    from langchain_cerebras_demo.cli.service import examine_service  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.cli.surroundings import examine_machine  # noqa: PLC0415 - --help must not wait for it

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
        words = "Nothing is in the way." if not problems else f"{problems} problem{'s' if problems > 1 else ''}: see ✗."
        write_out(f"\n{wrap(words)}\n")
    raise typer.Exit(EXIT_FAILED if problems else 0)


def finding_lines(finding: Any) -> list[str]:
    """One ``Finding`` for people, fitted to the terminal."""
    said = wrap(f"{finding.topic}: {finding.what}", first=f"{MARKS[finding.state]} ", rest="  ")
    return [said, wrap(finding.remedy, first="  → ", rest="    ")] if finding.remedy else [said]
