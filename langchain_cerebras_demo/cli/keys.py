"""``cerebras-demo keys``: where a key would come from, source by source."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from langchain_cerebras_demo.cli.notes import note
from langchain_cerebras_demo.endpoint import to_base_url
from langchain_cerebras_demo.errors import CerebrasError
from langchain_cerebras_demo.keychain import to_key_chain
from langchain_cerebras_demo.keys import HOW_TO_GET_A_KEY, SourceReport

EXIT_NONE = 1

_MARKS = {"used": "✓", "has none": "-", "failed": "✗", "not asked": "·"}


def keys(
    cookies: Annotated[
        str | None, typer.Option("--cookies", help='A cookie file, or "browser"; as the chat model takes it.')
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Show where a key would come from, in order, and what to do where there is none. Never shows one.

    A signed-in session is asked for its demo key, as a call would do. Exit codes: 0 a key was found, 1 none was, 2 wrong
    usage.
    """
    try:
        reports = to_key_chain(to_base_url(None), cookies=cookies, is_automatic=True).explain()
    except (ValueError, CerebrasError) as error:
        note(str(error))
        raise typer.Exit(2) from None
    used = next((report for report in reports if report.state == "used"), None)
    if as_json:
        found = {"used": used.source if used else None, "sources": [report.to_dict() for report in reports]}
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        typer.echo("Where a key comes from, in order:\n")
        for report in reports:
            typer.echo("\n".join(_lines(report)))
        typer.echo(f"\nCalls use {used.source}." if used else f"\nNo key was found. {HOW_TO_GET_A_KEY}")
    raise typer.Exit(0 if used else EXIT_NONE)


def _lines(report: SourceReport) -> list[str]:
    shown = f" {report.found}" if report.found else ""
    return [
        f"  {_MARKS[report.state]} {report.source}{shown} — {report.why}",
        *(f"      {where}: {what}" for where, what in report.details),
        *([f"      → {report.remedy}"] if report.remedy else []),
    ]
