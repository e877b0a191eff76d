"""The options that several commands share, and their shell completion."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Annotated, Any

import typer

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cli.inputs import InputError, option_of, parameter_names
from langchain_cerebras_demo.cli.terminal import note

LOCAL_MODEL = "smollm2-135m"
"""The same as ``local.LOCAL_MODEL``, which is not imported so that ``--help`` is fast."""

_WANTS_JSON = "langchain_cerebras_demo.wants_json"

EFFORTS = ("none", "low", "medium", "high")
"""The API's values of ``reasoning_effort``, for completion; ``wire.request`` checks them."""


_WORDS: Mapping[str, tuple[str, ...]] = {
    "reasoning_effort": EFFORTS,
    "reasoning_format": ("none", "parsed", "text_parsed", "raw", "hidden"),
    "service_tier": ("auto", "default", "flex", "priority"),
}
"""Values of parameters, for completion."""


def model_names() -> dict[str, str]:
    """Return the ids of models that are served, and their aliases, each with a short description."""
    today = datetime.now(tz=timezone.utc).date()
    served = {spec.id: spec.family for spec in catalog.model_specs().values() if catalog.is_served(spec, today)}
    aliases = {alias: f"alias of {target}" for alias, target in catalog.BUILT_IN_ALIASES.items() if target in served}
    return {**served, **aliases}


def complete_model(incomplete: str) -> list[Any]:
    """Complete a model name for the shell: pairs of name and description."""
    return [(name, what) for name, what in model_names().items() if name.startswith(incomplete)]


def complete_effort(incomplete: str) -> list[Any]:
    """Complete a reasoning effort for the shell."""
    return [effort for effort in EFFORTS if effort.startswith(incomplete)]


def complete_parameter(incomplete: str) -> list[Any]:
    """Complete the name of a parameter for the shell, or its value if it is one of a few words."""
    name, equals, _ = incomplete.partition("=")
    names = [known for known in parameter_names() if known == name or (not equals and known.startswith(name))]
    if names == [name] or (len(names) == 1 and names[0] in _WORDS):
        return [pair for word in _WORDS.get(names[0], ("",)) if (pair := f"{names[0]}={word}").startswith(incomplete)]
    return [] if equals else [f"{name}=" for name in names]


def wants_json(ctx: Any) -> bool:
    """Return whether ``--json`` was given to the command of this context, or to one below it."""
    return bool(ctx.meta.get(_WANTS_JSON))


def note_embedded_only(ctx: Any, parameters: Mapping[str, Any]) -> None:
    """Note which of the given options have no effect with the embedded model.

    Args:
        ctx: the command's context.
        parameters: the parameters of its requests, from ``to_parameters``.

    Raises:
        InputError: the reasoning effort is not one of the API's. For other models, the catalogue has their efforts.
    """
    from langchain_cerebras_demo.local.dialect import CEREBRAS_ONLY  # noqa: PLC0415 - --help must not wait for it

    effort = parameters.get("reasoning_effort")
    if effort is not None and effort not in EFFORTS:
        raise InputError(f"--reasoning {effort}: give one of {', '.join(EFFORTS)}")
    given = ["--model"] if _is_given(ctx, "model") else []
    given += [option_of(name) for name in parameters if name in CEREBRAS_ONLY]
    if not given:
        return
    listed = " and ".join(filter(None, (", ".join(given[:-1]), given[-1])))
    note(f"{listed} {'has' if len(given) == 1 else 'have'} no effect with the embedded model")


def _is_given(ctx: Any, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE" and ctx.params[name] != LOCAL_MODEL


def _keep_json(ctx: typer.Context, value: bool) -> bool:
    ctx.meta[_WANTS_JSON] = value  # shared with the contexts above, where the guard reads it
    return value


# One letter has one meaning in all commands: -a --all, -c --concurrency, -f --file, -i --image, -m --model, -o --option,
# -r --reasoning, -s --system, -t --template, -x --extract.

MODEL_VARIABLE = "CEREBRAS_DEMO_MODEL"

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        envvar=MODEL_VARIABLE,
        help="Model id or alias.",
        autocompletion=complete_model,
        show_default=True,
    ),
]
SystemOption = Annotated[str | None, typer.Option("--system", "-s", metavar="TEXT", help="System prompt.")]
LocalOption = Annotated[
    bool,
    typer.Option("--local", help="Use the small model on this machine: no key; its first use downloads 93 MB."),
]
ReasoningOption = Annotated[
    str | None,
    typer.Option(
        "--reasoning",
        "-r",
        metavar="EFFORT",
        help="Reasoning effort: none, low, medium or high. The reasoning goes to standard error.",
        autocompletion=complete_effort,
    ),
]

EffortOption = Annotated[
    str | None,
    typer.Option(
        "--reasoning",
        "-r",
        metavar="EFFORT",
        help="Reasoning effort: none, low, medium or high.",
        autocompletion=complete_effort,
    ),
]

# Numbers are read as text and checked like the arguments of the chat model, so that the errors are the same.
TemperatureOption = Annotated[
    str | None, typer.Option("--temperature", metavar="NUMBER", help="Randomness of the answer, 0 to 2.")
]
MaxTokensOption = Annotated[
    str | None,
    typer.Option("--max-tokens", metavar="NUMBER", help="Maximum number of tokens in the answer, including reasoning."),
]
SeedOption = Annotated[
    str | None,
    typer.Option("--seed", metavar="NUMBER", help="Seed for repeatable answers (best effort)."),
]
StopOption = Annotated[
    list[str] | None, typer.Option("--stop", metavar="TEXT", help="Stop sequence; repeatable, up to four.")
]
OtherOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="NAME=VALUE",
        help="Any other parameter, such as top_p=0.9; repeatable.",
        autocompletion=complete_parameter,
    ),
]

StatsOption = Annotated[
    bool, typer.Option("--stats", help="Show the time to the first token, tokens per second and more afterwards.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.", callback=_keep_json)]
JsonArrayOption = Annotated[
    bool, typer.Option("--json", help="Print a JSON array, one object per model.", callback=_keep_json)
]
