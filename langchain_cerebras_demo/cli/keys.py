"""``cerebras-demo keys``: show the key sources in order, and which of them has a key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from langchain_cerebras_demo.cli.failures import EXIT_FAILED, HOW_TO_CONTINUE
from langchain_cerebras_demo.cli.inputs import InputError
from langchain_cerebras_demo.cli.options import JsonOption
from langchain_cerebras_demo.cli.terminal import wrap, write_json

MARKS = {"used": "✓", "has none": "-", "failed": "✗", "not asked": "·"}


def keys(
    cookies: Annotated[
        str | None,
        typer.Option("--cookies", metavar="FILE", help='A cookie file, or "browser"; as for the chat model.'),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show where a key would come from, and what to do if there is none.

    Lists each source in order, and never shows a key. Asks a signed-in session for its demo key, as a request would do.
    Exit codes: 0 a key was found or none is needed, 1 none was found, 2 wrong usage.
    """
    # Here and not above: --help must not wait for aiohttp and LangChain.
    from langchain_cerebras_demo.errors import CerebrasError  # noqa: PLC0415
    from langchain_cerebras_demo.keys.chain import to_key_chain  # noqa: PLC0415
    from langchain_cerebras_demo.net.endpoint import is_loopback, to_base_url  # noqa: PLC0415

    if cookies is not None and cookies != "browser":
        check_cookie_file(cookies)
    try:
        base_url = to_base_url(None)
        is_embedded = base_url == "local"  # no source is asked for a key for it
        reports = [] if is_embedded else to_key_chain(base_url, cookies=cookies, is_automatic=True).explain()
    except (ValueError, CerebrasError) as error:
        raise InputError(str(error)) from None
    used = next((report for report in reports if report.state == "used"), None)
    has_failed = any(report.state == "failed" for report in reports)
    needs_none = is_embedded or (is_loopback(base_url) and not has_failed)
    if as_json:
        found = {"used": used.source if used else None, "sources": [report.to_dict() for report in reports]}
        write_json(found, indent=2)
    elif is_embedded:
        typer.echo(wrap("No key is needed: CEREBRAS_BASE_URL is local, so the embedded model answers."))
    else:
        typer.echo(wrap("Where a key comes from, in order:") + "\n")
        for report in reports:
            typer.echo("\n".join(key_lines(report)))
        if used:
            ending = f"Calls use {used.source}."
        elif needs_none:
            ending = f"No key was found; requests to {urlsplit(base_url).netloc} are sent without one."
        else:
            ending = f"No key was found. {HOW_TO_CONTINUE}"
        typer.echo("\n" + wrap(ending))
    raise typer.Exit(0 if used or needs_none else EXIT_FAILED)


def check_cookie_file(place: str) -> None:
    """Check that a cookie file can be read; the chain would only report that the source has no key.

    Raises:
        InputError: the file exists, but contains no readable cookies.
    """
    from langchain_cerebras_demo.keys.cookies import read_cookie_file  # noqa: PLC0415 - as above

    if not os.path.isfile(place):  # noqa: PTH113 - as in keys.session, which has the message for it
        return
    try:
        read_cookie_file(Path(place))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        remedy = "use a cookies.txt, or the JSON that a cookie-export extension writes"
        raise InputError(f"--cookies: {place!r} cannot be read: {why}: {remedy}") from None


def key_lines(report: Any) -> list[str]:
    """Return a ``SourceReport`` as lines that fit the terminal."""
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
