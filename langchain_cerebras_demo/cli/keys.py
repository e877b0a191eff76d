"""``cerebras-demo keys``: where a key would come from, source by source."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from langchain_cerebras_demo.cli.notes import HOW_TO_GO_ON, InputError
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
    from langchain_cerebras_demo.errors import CerebrasError  # noqa: PLC0415
    from langchain_cerebras_demo.keys.chain import to_key_chain  # noqa: PLC0415
    from langchain_cerebras_demo.net.endpoint import to_base_url  # noqa: PLC0415

    if cookies is not None and cookies != "browser":
        check_cookie_file(cookies)
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
        typer.echo("\n" + wrap(f"Calls use {used.source}." if used else f"No key was found. {HOW_TO_GO_ON}"))
    raise typer.Exit(0 if used else EXIT_NONE)


def check_cookie_file(place: str) -> None:
    """Reads a cookie file beforehand: to a chain of sources one that is none is only a source without a key.

    Raises:
        InputError: it is there, and cannot be read as cookies.
    """
    from langchain_cerebras_demo.keys.cookie_file import read_cookie_file  # noqa: PLC0415 - as above

    if not os.path.isfile(place):  # noqa: PTH113 - as in keys.session, which words it
        return
    try:
        read_cookie_file(Path(place))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        remedy = "give a cookies.txt, or the JSON that a cookie-export extension writes"
        raise InputError(f"--cookies: {place!r} cannot be read: {why}: {remedy}") from None


def key_lines(report: Any) -> list[str]:
    """One source for people: what a ``SourceReport`` says, fitted to the terminal."""
    shown = f" {report.found}" if report.found else ""
    inner = " " * 6
    return [
        wrap(
            f"{report.source}{shown} — {report.why}",
            first=f"  {MARKS[report.state]} ",
            rest=inner,
        ),
        *(wrap(f"{where}: {what}", first=inner, rest=inner + "  ") for where, what in report.details),
        *([wrap(report.remedy, first=f"{inner}→ ", rest=inner + "  ")] if report.remedy else []),
    ]
