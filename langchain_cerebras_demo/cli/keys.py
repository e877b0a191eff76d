"""``cerebras-demo keys``: where a key would come from, source by source."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from langchain_cerebras_demo.cli.notes import InputError
from langchain_cerebras_demo.cli.options import JsonOption
from langchain_cerebras_demo.cli.terminal import wrap, write_json

EXIT_NONE = 1

MARKS = {"used": "✓", "has none": "-", "failed": "✗", "not asked": "·"}


def keys(
    cookies: Annotated[
        str | None, typer.Option("--cookies", help='A cookie file, or "browser"; as the chat model takes it.')
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show where a key would come from, and what to do without.

    Each source in order, and never a key itself. A signed-in session is asked for its demo key, as a call would do. Exit
    codes: 0 a key was found, 1 none was, 2 wrong usage.
    """
    # Here and not above: --help must not wait for aiohttp and LangChain.
    from langchain_cerebras_demo.endpoint import to_base_url  # noqa: PLC0415
    from langchain_cerebras_demo.errors import CerebrasError  # noqa: PLC0415
    from langchain_cerebras_demo.keychain import to_key_chain  # noqa: PLC0415
    from langchain_cerebras_demo.keys import HOW_TO_GET_A_KEY  # noqa: PLC0415

    try:
        reports = to_key_chain(to_base_url(None), cookies=cookies, is_automatic=True).explain()
    except (ValueError, CerebrasError) as error:
        raise InputError(str(error)) from None
    used = next((report for report in reports if report.state == "used"), None)
    if as_json:
        found = {"used": used.source if used else None, "sources": [report.to_dict() for report in reports]}
        write_json(found, indent=2)
    else:
        typer.echo(wrap("Where a key comes from, in order:") + "\n")
        for report in reports:
            typer.echo("\n".join(key_lines(report)))
        typer.echo("\n" + wrap(f"Calls use {used.source}." if used else f"No key was found. {HOW_TO_GET_A_KEY}"))
    raise typer.Exit(0 if used else EXIT_NONE)


def key_lines(report: Any) -> list[str]:
    """One source for people: what a ``SourceReport`` says, fitted to the terminal."""
    shown = f" {report.found}" if report.found else ""
    inner = " " * 6
    return [
        wrap(f"{report.source}{shown} — {report.why}", first=f"  {MARKS[report.state]} ", rest=inner),
        *(wrap(f"{where}: {what}", first=inner, rest=inner + "  ") for where, what in report.details),
        *([wrap(report.remedy, first=f"{inner}→ ", rest=inner + "  ")] if report.remedy else []),
    ]
