"""What is known of the models: their limits, their lives, and the other names people call them by.

The rows stand in ``data/models.json`` and are read when first asked for. They are what was known on each row's
``fact_date``, never a gate: an id without a row is as good as any, since dedicated endpoints have ids of their own.
Nothing here looks at a clock; today's date is always an argument.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, Final, Literal

__all__ = [
    "BUILT_IN_ALIASES",
    "DEFAULT_MODEL",
    "AliasTable",
    "ModelSpec",
    "Price",
    "ReasoningSpec",
    "RetiredModelWarning",
    "find_spec",
    "live_replacement",
    "model_specs",
    "nearest_ids",
    "retirement_message",
]

DEFAULT_MODEL: Final = "gpt-oss-120b"
"""The id used where none is given: of the models served today, the one the service has kept longest."""

BUILT_IN_ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        # A hyphen too many, and the model without its size: both are what people type.
        "llama-3.1-70b": "llama3.1-70b",
        "llama-3.1-8b": "llama3.1-8b",
        "deepseek-r1": "deepseek-r1-distill-llama-70b",
        "gpt-oss": "gpt-oss-120b",
        "qwen-3.8": "qwen-3.8-27b",
        "gemma-4": "gemma-4-31b",
        "glm-4.7": "zai-glm-4.7",
        "glm-4.6": "zai-glm-4.6",
    }
)
"""Alias to model id. No key is the id of a row, so that no model is hidden."""


class RetiredModelWarning(UserWarning):
    """A model was asked for that its service has retired; the text is that of ``retirement_message``."""


@dataclass(frozen=True, slots=True)
class Price:
    """List price in US dollars for a million tokens, for ``input`` and for ``output``."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class ReasoningSpec:
    """How a model reasons before it answers. ``None`` means unknown, or "has none" for ``switch``.

    Attributes:
        always_on: It cannot be turned off.
        default_on: It reasons where the request says nothing of it.
        switch: What turns it off or sets its depth: one of two request fields, or a word in the prompt.
        efforts: The ``reasoning_effort`` values that the model takes and that have an effect; ``none`` is "off".
        default_effort: The effort where the request names none.
        default_format: The ``reasoning_format`` where the request names none.
        replay: How earlier reasoning goes back: in the message's ``reasoning``, or as think tags in its content.
        closing_tag_only: The content of an answer begins with the reasoning: ``</think>`` ends it, no tag opens it.
    """

    always_on: bool | None
    default_on: bool | None
    switch: Literal["reasoning_effort", "disable_reasoning", "/no_think"] | None
    efforts: tuple[str, ...]
    default_effort: str | None
    default_format: str | None
    replay: Literal["reasoning", "think_tags"] | None
    closing_tag_only: bool | None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model of the service. ``None`` means unknown unless a line below says otherwise; nothing is guessed.

    The two limits come twice because they depend on the account's tier, which a key does not reveal: the first figure
    is the smallest of all tiers and always safe, the second the largest.

    Attributes:
        id: What the request's ``model`` says.
        family: The maker's name for the family.
        context_window_tokens: Prompt and answer together, on the smallest tier.
        context_window_max_tokens: The same on the largest tier.
        max_output_tokens: The answer, reasoning included, on the smallest tier.
        max_output_max_tokens: The same on the largest tier.
        tool_calling: It takes ``tools``.
        parallel_tool_calls: It may ask for several tools in one turn.
        structured_output: It takes ``response_format`` of type ``json_schema`` with ``strict``.
        reasoning: How it reasons; ``None`` for a model that does not.
        inputs: ``text``, ``image``.
        price_usd_per_million_tokens: The list price.
        released: The day it was first served.
        deprecated_on: The day its end was announced; ``None`` also for a model without an end.
        retired_on: The first day without it on the shared endpoints; ``None`` for a model without an end.
        preview: The service calls it a preview: not for production.
        dedicated_only: Dedicated endpoints serve it still, shared ones do not.
        replacement: The id that the service names in its place, itself perhaps retired; ``None`` where there is none.
        fact_date: The day of the newest fact of the row.
        source: Public pages and repositories that state the facts.
        note: Doubts, in words; ``None`` where there are none.
    """

    id: str
    family: str
    context_window_tokens: int | None
    context_window_max_tokens: int | None
    max_output_tokens: int | None
    max_output_max_tokens: int | None
    tool_calling: bool | None
    parallel_tool_calls: bool | None
    structured_output: bool | None
    reasoning: ReasoningSpec | None
    inputs: tuple[str, ...]
    price_usd_per_million_tokens: Price | None
    released: date | None
    deprecated_on: date | None
    retired_on: date | None
    preview: bool | None
    dedicated_only: bool
    replacement: str | None
    fact_date: date
    source: str
    note: str | None

    def life(self, today: date) -> Literal["live", "deprecated", "retired"]:
        """Where the model stands on that day: ``deprecated`` still answers, ``retired`` is a 404.

        A model counts as retired on the day of its retirement itself.
        """
        if self.retired_on is not None and today >= self.retired_on:
            return "retired"
        if self.deprecated_on is not None and today >= self.deprecated_on:
            return "deprecated"
        return "live"

    def cost_usd(self, input_tokens: int, output_tokens: int) -> float | None:
        """US dollars at the list price, an estimate; ``None`` where the price is not known."""
        price = self.price_usd_per_million_tokens
        if price is None:
            return None
        return (input_tokens * price.input + output_tokens * price.output) / 1_000_000


def spec_from_row(row: Mapping[str, Any]) -> ModelSpec:
    """One JSON object of the data file as a ``ModelSpec``.

    Raises:
        KeyError, TypeError: A field is missing or unknown.
        ValueError: A date is not an ISO date.
    """
    fields = dict(row)
    for name in ("released", "deprecated_on", "retired_on", "fact_date"):
        fields[name] = date.fromisoformat(row[name]) if row[name] else None
    if reasoning := row["reasoning"]:
        fields["reasoning"] = ReasoningSpec(**{**reasoning, "efforts": tuple(reasoning["efforts"])})
    if price := row["price_usd_per_million_tokens"]:
        fields["price_usd_per_million_tokens"] = Price(**price)
    fields["inputs"] = tuple(row["inputs"])
    return ModelSpec(**fields)


@functools.cache
def model_specs() -> Mapping[str, ModelSpec]:
    """All rows by id, today's models first; read-only, read from the package once."""
    from importlib import resources  # noqa: PLC0415 - doubles the import time, and only this function needs it

    rows = json.loads(resources.files("langchain_cerebras_demo.data").joinpath("models.json").read_bytes())
    return MappingProxyType({row["id"]: spec_from_row(row) for row in rows})


def find_spec(model_id: str) -> ModelSpec | None:
    """The row of exactly that id, ``None`` for an id without one. An alias is not looked up: resolve it first."""
    return model_specs().get(model_id)


def is_served(spec: ModelSpec, today: date) -> bool:
    """Whether the shared endpoints serve the model and no end has been announced."""
    return spec.life(today) == "live" and not spec.dedicated_only


def live_replacement(model_id: str, today: date) -> str | None:
    """The id to use in place of a model that is on its way out or gone.

    Replacements are followed until one that the shared endpoints serve with no end announced. ``None`` where the model
    needs no replacement, has no row, or its replacements lead nowhere.
    """
    specs = model_specs()
    spec = specs.get(model_id)
    seen: set[str] = set()
    while spec is not None and spec.id not in seen:
        if is_served(spec, today):
            return spec.id if spec.id != model_id else None
        seen.add(spec.id)
        spec = specs.get(spec.replacement or "")
    return None


def retirement_message(model_id: str, today: date) -> str | None:
    """One sentence for people: the id, the date it was retired, what to use instead. ``None`` if it is not retired."""
    spec = find_spec(model_id)
    if spec is None or spec.life(today) != "retired":
        return None
    replacement = live_replacement(model_id, today)
    remedy = f"use {replacement!r} instead" if replacement else "list the models to choose another"
    exception = " (dedicated endpoints still serve it)" if spec.dedicated_only else ""
    return f"The model {model_id!r} was retired on {spec.retired_on}{exception}: {remedy}."


def nearest_ids(name: str, today: date) -> tuple[str, ...]:
    """Up to three names that the author of an unknown one may have meant, best first, for a 404's message.

    Each is the id, or a built-in alias, of a model that is served on that day. The live replacement of a known but
    retired id comes first. Empty where nothing is near.
    """
    served = [spec.id for spec in model_specs().values() if is_served(spec, today)]
    served += [alias for alias, target in BUILT_IN_ALIASES.items() if target in served]
    replacement = live_replacement(name, today)
    near = difflib.get_close_matches(name.lower(), served, n=3, cutoff=0.5)
    names = dict.fromkeys([replacement, *near] if replacement else near)
    return tuple(names)[:3]


class AliasTable(Mapping[str, str]):
    """Other names for model ids: the built-in ones with the user's merged over them. Immutable and hashable.

    An alias may lead to another alias. An alias of itself (``{"gpt-oss": "gpt-oss"}``) is allowed and stands for
    itself: that is how a built-in alias is switched off, for a dedicated endpoint of that name. Two tables are equal
    when they hold the same pairs.

    Args:
        aliases: The user's, alias to model id or to another alias; an ``AliasTable`` gives those it was made of.

    Raises:
        TypeError: ``aliases`` is no mapping, or a name in it no string.
        ValueError: A name is empty, has white space around it or holds a line break or another control character;
            or aliases lead round in a circle.
    """

    __slots__ = ("_aliases", "_own")

    _aliases: Mapping[str, str]
    _own: Mapping[str, str]

    def __init__(self, aliases: Mapping[str, str] | None = None) -> None:
        own = own_aliases({} if aliases is None else aliases)
        for alias, target in own.items():
            check_name(alias, "alias")
            check_name(target, f"target of the alias {alias!r}")
        merged = {**BUILT_IN_ALIASES, **own}
        refuse_circles(merged)
        self._own = MappingProxyType(own)
        self._aliases = MappingProxyType(merged)

    def resolve(self, name: str) -> str:
        """The model id that a name stands for; a name the table does not know is returned as it is.

        Retirement is not looked at: a retired id goes through, and the caller warns with ``retirement_message``.

        Raises:
            TypeError: ``name`` is no string.
            ValueError: ``name`` is empty, has white space around it or holds a control character.
        """
        check_name(name, "model")
        while (target := self._aliases.get(name, name)) != name:
            name = target
        return name

    def merged(self, other: Mapping[str, str]) -> AliasTable:
        """A new table with ``other`` laid over this one; the errors are those of the constructor.

        Of another ``AliasTable`` only what it was given itself counts, so that its built-in aliases do not undo this
        table's changes to them.
        """
        return AliasTable({**self._own, **own_aliases(other)})

    def __getitem__(self, alias: str) -> str:
        return self._aliases[alias]

    def __iter__(self) -> Iterator[str]:
        return iter(self._aliases)

    def __len__(self) -> int:
        return len(self._aliases)

    def __hash__(self) -> int:
        return hash(frozenset(self._aliases.items()))

    def __repr__(self) -> str:
        return f"AliasTable({dict(self._own)!r})" if self._own else "AliasTable()"

    def __reduce__(self) -> tuple[type[AliasTable], tuple[dict[str, str]]]:
        # A mapping proxy neither pickles nor copies; the built-in half comes from the code that unpickles.
        return type(self), (dict(self._own),)


def own_aliases(aliases: Mapping[str, str]) -> dict[str, str]:
    """A copy of the pairs, without the built-in ones where it is an ``AliasTable``."""
    if isinstance(aliases, AliasTable):
        return dict(aliases._own)  # noqa: SLF001 - the table's own helper
    if not isinstance(aliases, Mapping):
        raise TypeError(f"aliases must be a mapping of alias to model id, not {type(aliases).__name__}.")
    return dict(aliases)


def check_name(name: object, what: str) -> None:
    """Refuse what cannot be a model's name: it would end in a header, a log line or a puzzling 404.

    White space around a name is refused rather than cut off, so that the slip is mended where it was made. Raises
    ``TypeError`` for what is no string, else ``ValueError``.
    """
    if not isinstance(name, str):
        raise TypeError(f"The {what} must be a string, not {name!r} ({type(name).__name__}).")
    if not name.strip():
        raise ValueError(f"The {what} is empty ({name!r}); give the name of a model.")
    if name != name.strip():
        raise ValueError(f"The {what} has white space around it: {name!r}; remove it.")
    if not name.isprintable():
        raise ValueError(f"The {what} has a line break or another character that cannot be printed: {name!r}.")


def refuse_circles(aliases: Mapping[str, str]) -> None:
    """Raise ``ValueError`` that names the loop where following the aliases would never end."""
    settled: set[str] = set()
    for start in aliases:
        path: dict[str, None] = {}
        name = start
        while name not in settled and (target := aliases.get(name, name)) != name:
            if name in path:
                loop = [*path][[*path].index(name) :]
                circle = " -> ".join([*loop, name])
                raise ValueError(f"Aliases lead round in a circle: {circle}. Let one of them name a model id.")
            path[name] = None
            name = target
        settled.update(path)
