"""``cerebras-demo models``: the models with their aliases, context windows, prices and retirement dates."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, datetime, timezone
from typing import Annotated, Any

import typer

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cli.inputs import InputError
from langchain_cerebras_demo.cli.options import JsonArrayOption
from langchain_cerebras_demo.cli.terminal import note, write_json, write_table

HEADS = ("Model", "Aliases", "Context", "Answer", "$ in", "$ out", "Status")


def models(
    *,
    remote: Annotated[
        bool,
        typer.Option("--remote", help="Ask the service which models the key may use; without a key, its public list."),
    ] = False,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh", help="Update the catalogue from the service's public list, and save it for later runs."
        ),
    ] = False,
    shows_all: Annotated[bool, typer.Option("--all", "-a", help="Include retired models.")] = False,
    as_json: JsonArrayOption = False,
) -> None:
    """List the models: context windows, prices, retirement dates.

    Context windows and answers are in tokens, for free trials and for paid accounts; prices are US dollars per million
    tokens; retirement dates are in the column "Status". Unknown values are empty, or "not known" for a model without a
    catalogue row.
    """
    today = datetime.now(tz=timezone.utc).date()
    if refresh:
        refresh_catalog()
    if remote:
        rows = [to_row(model["id"], today) for model in ask_service()]
    else:
        rows = [to_row(model, today) for model in catalog.model_specs()]
    retired = [] if remote or shows_all else [row for row in rows if row["life"] == "retired"]
    rows = [row for row in rows if row not in retired]
    if as_json:
        write_json(rows, indent=2)
        return
    write_table(HEADS, [to_cells(row) for row in rows])
    if retired:
        note(f"{len(retired)} retired models are not shown; use --all to see them")


def to_row(model: str, today: date) -> dict[str, Any]:
    """Return the facts about a model for JSON: its catalogue row, its aliases, and its status on that day."""
    spec = catalog.find_spec(model)
    facts = {name: value for name, value in asdict(spec).items() if name not in {"source", "note"}} if spec else {}
    return {
        **facts,
        "id": model,
        "aliases": [alias for alias, target in catalog.BUILT_IN_ALIASES.items() if target == model],
        "life": spec.life(today) if spec else None,
        "use_instead": catalog.live_replacement(model, today),
    }


def to_cells(row: dict[str, Any]) -> list[str]:
    """Return a row of the table."""
    if row["life"] is None:  # no row of the catalogue
        return [row["id"], ", ".join(row["aliases"]), *["not known"] * 4, ""]
    price = row.get("price_usd_per_million_tokens") or {}
    return [
        row["id"],
        ", ".join(row["aliases"]),
        _span(row.get("context_window_tokens"), row.get("context_window_max_tokens")),
        _span(row.get("max_output_tokens"), row.get("max_output_max_tokens")),
        *(f"{price[name]:.2f}" if name in price else "" for name in ("input", "output")),
        _life(row),
    ]


def refresh_catalog() -> None:
    """Update the catalogue for this process and for later ones.

    Raises:
        InputError: ``CEREBRAS_BASE_URL`` is ``local``, and the embedded model has no such list.
        CerebrasError: the request failed, or the list could not be saved.
    """
    from langchain_cerebras_demo.cli.answer import base_url_of, open_client  # noqa: PLC0415 - --help must not wait
    from langchain_cerebras_demo.errors import CerebrasError  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.net.portal import portal  # noqa: PLC0415 - as above

    if base_url_of(is_local=False) == "local":
        raise InputError("--refresh needs the service's list of models, but CEREBRAS_BASE_URL is local: unset it")
    client = open_client(is_local=False)
    try:
        portal.run(lambda: client.refresh_catalog(save=True))
    except (OSError, RuntimeError) as problem:
        if isinstance(problem, CerebrasError):
            raise
        raise CerebrasError(f"the list of models could not be saved: {problem}") from None


def ask_service() -> list[dict[str, Any]]:
    """Return the models that the key may use, or the service's public list if there is no key.

    Raises:
        CerebrasError: the request failed.
        APIResponseValidationError: the answer has a row without an id.
    """
    from langchain_cerebras_demo.cli.answer import open_client  # noqa: PLC0415 - --help must not wait for it
    from langchain_cerebras_demo.errors import APIResponseValidationError, MissingKeyError  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.net.portal import portal  # noqa: PLC0415 - as above

    client = open_client(is_local=False)
    try:
        rows: list[Any] = portal.run(client.list_models)
    except MissingKeyError:
        note("no key was found, so this is the public list; a key may give access to only some of the models")
        rows = portal.run(lambda: client.list_models(public=True))
    if not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows):
        raise APIResponseValidationError("the list of models has a row without an id", status_code=200)
    return rows


def _span(low: int | None, high: int | None) -> str:
    if low is None:
        return ""
    return f"{low:,}" if high in {None, low} else f"{low:,} - {high:,}"


def _life(row: dict[str, Any]) -> str:
    facts = [
        f"{row['life']} {row['retired_on']}" if row["life"] == "retired" else row["life"] or "",
        f"until {row['retired_on']}" if row["life"] == "deprecated" and row["retired_on"] else "",
        "preview" if row.get("preview") and row["life"] != "retired" else "",
        "dedicated only" if row.get("dedicated_only") else "",
        f"use {row['use_instead']}" if row["use_instead"] else "",
    ]
    return ", ".join(filter(None, facts))
