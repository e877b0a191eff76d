"""The options that several commands share, and what the shell completes for them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any

import typer

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cli.notes import note

LOCAL_MODEL = "smollm2-135m"
"""As ``local.LOCAL_MODEL``, which ``--help`` must not load."""

_WANTS_JSON = "langchain_cerebras_demo.wants_json"

EFFORTS = ("none", "low", "medium", "high")
"""What the API takes as ``reasoning_effort``; ``wire.request`` checks it."""


def model_names() -> dict[str, str]:
    """The ids of models that are served, and their aliases, each with a word on what it is."""
    today = datetime.now(tz=timezone.utc).date()
    served = {spec.id: spec.family for spec in catalog.model_specs().values() if catalog.is_served(spec, today)}
    aliases = {alias: f"alias of {target}" for alias, target in catalog.BUILT_IN_ALIASES.items() if target in served}
    return {**served, **aliases}


def complete_model(incomplete: str) -> list[Any]:
    """For the shell: the model names that begin so, as (name, help)."""
    return [(name, what) for name, what in model_names().items() if name.startswith(incomplete)]


def complete_effort(incomplete: str) -> list[Any]:
    """For the shell: the reasoning efforts that begin so."""
    return [effort for effort in EFFORTS if effort.startswith(incomplete)]


def wants_json(ctx: Any) -> bool:
    """Whether the command of this context, or one below it, was given ``--json``."""
    return bool(ctx.meta.get(_WANTS_JSON))


def note_embedded_only(ctx: Any) -> None:
    """Says that ``--model`` and ``--reasoning`` do nothing with the embedded model, where one was given."""
    given = [f"--{name}" for name in ("model", "reasoning") if _is_given(ctx, name)]
    if given:
        verb = "does" if len(given) == 1 else "do"
        note(f"{' and '.join(given)} {verb} nothing here: the embedded model is the only one on this machine")


def _is_given(ctx: Any, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE" and ctx.params[name] != LOCAL_MODEL


def _keep_json(ctx: typer.Context, value: bool) -> bool:
    ctx.meta[_WANTS_JSON] = value  # shared with the contexts above: the guard stands there
    return value


ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="Model id or alias.", autocompletion=complete_model, show_default=True)
]
SystemOption = Annotated[str | None, typer.Option("--system", "-s", help="What the model is told beforehand.")]
LocalOption = Annotated[bool, typer.Option("--local", help="Ask the small model on this machine: no key, no network.")]
ReasoningOption = Annotated[
    str | None,
    typer.Option(
        "--reasoning",
        "-r",
        metavar="EFFORT",
        help="How much to think first: none, low, medium or high. The thoughts go to standard error.",
        autocompletion=complete_effort,
    ),
]
StatsOption = Annotated[
    bool, typer.Option("--stats", help="Say afterwards how long it took: first token, tokens a second.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.", callback=_keep_json)]
JsonArrayOption = Annotated[
    bool, typer.Option("--json", help="Print a JSON array, one object a model.", callback=_keep_json)
]
