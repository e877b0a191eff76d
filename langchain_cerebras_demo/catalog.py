"""The catalogue of models: limits, capabilities, retirement dates, and aliases.

The rows are in ``data/models.json`` and are read when first needed. They state what was known on each row's ``fact_date``. An
id without a row is accepted, because dedicated endpoints have their own ids. The service's public list can override the rows
(``refresh``), in this process or also in later ones. Nothing here reads a clock: today's date is always an argument.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from types import MappingProxyType
from typing import Any, Final, Literal

from langchain_cerebras_demo.cache_folder import saved_models

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
    "refresh",
    "retirement_message",
    "unknown_model_hint",
]

DEFAULT_MODEL: Final = "gpt-oss-120b"
"""The default model: of the models served today, the one that has been served longest."""

BUILT_IN_ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Common variants: with another hyphen, or without the size.
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
"""Aliases and their model ids. No alias is the id of a row, so that no model is hidden."""


class RetiredModelWarning(UserWarning):
    """The requested model has been retired; the text is that of ``retirement_message``."""


@dataclass(frozen=True, slots=True)
class Price:
    """List price in US dollars per million tokens, for ``input`` and for ``output``."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class ReasoningSpec:
    """How a model reasons before it answers. ``None`` means unknown.

    Attributes:
        efforts: The ``reasoning_effort`` values that the model accepts and that have an effect; ``none`` switches reasoning
            off. Empty if they are not known.
        default_effort: The effort of requests without one.
        refused_formats: The ``reasoning_format`` values that the model does not support.
        replay: How earlier reasoning is sent: in the message's ``reasoning``, or as think tags in its content.
        closing_tag_only: Whether the content of an answer begins with the reasoning, without an opening tag, up to
            ``</think>``.
    """

    efforts: tuple[str, ...] = ()
    default_effort: str | None = None
    refused_formats: tuple[str, ...] = ()
    replay: Literal["reasoning", "think_tags"] | None = None
    closing_tag_only: bool | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model of the service. ``None`` means unknown unless stated otherwise below; nothing is guessed.

    There are two figures for context window and answer, because they depend on the account's tier, which a key does not
    show: the first is that of free trials, which is safe for every account, the second that of paid accounts.

    Attributes:
        id: The id for the request's ``model``.
        family: The vendor's name of the family.
        context_window_tokens: The context window, for prompt and answer together, in a free trial.
        context_window_max_tokens: The same on a paid account.
        max_output_tokens: The longest answer, including reasoning, in a free trial.
        max_output_max_tokens: The same on a paid account.
        tool_calling: Whether it accepts ``tools``.
        parallel_tool_calls: Whether it may call several tools in one turn.
        structured_output: Whether it accepts ``response_format`` of type ``json_schema`` with ``strict``.
        response_format_with_tools: Whether it accepts ``tools`` and ``response_format`` in one request. The service asks not
            to combine them unless the model's page allows it, so ``None`` counts as no. It decides how agents get
            structured answers.
        reasoning: How it reasons; ``None`` for a model that does not.
        inputs: The kinds of input: ``text``, ``image``. Empty if they are not known.
        image_tokens: The most tokens that one image counts.
        price_usd_per_million_tokens: The list price.
        released: The day it was first served.
        deprecated_on: The day its retirement was announced; ``None`` also if none was announced.
        retired_on: The first day on which the shared endpoints do not serve it; ``None`` if no day is known.
        preview: Whether the service calls it a preview, not meant for production.
        dedicated_only: Whether only dedicated endpoints still serve it.
        replacement: The replacement that the service names, which may be retired itself; ``None`` if there is none.
        fact_date: The day of the newest fact in the row.
        source: The public pages and repositories with the facts.
        note: Doubts about the facts; ``None`` if there are none.
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
    response_format_with_tools: bool | None
    reasoning: ReasoningSpec | None
    inputs: tuple[str, ...]
    image_tokens: int | None
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
        """Return the model's status on that day: ``deprecated`` still answers, ``retired`` is a 404.

        A model counts as retired on the day of its retirement itself.
        """
        if self.retired_on is not None and today >= self.retired_on:
            return "retired"
        if self.deprecated_on is not None and today >= self.deprecated_on:
            return "deprecated"
        return "live"

    def cost_usd(self, input_tokens: int, output_tokens: int) -> float | None:
        """Estimate the cost in US dollars at the list price; ``None`` if the price is not known."""
        price = self.price_usd_per_million_tokens
        if price is None:
            return None
        return (input_tokens * price.input + output_tokens * price.output) / 1_000_000


def spec_from_row(row: Mapping[str, Any]) -> ModelSpec:
    """Return one JSON object of the data file as a ``ModelSpec``.

    Raises:
        KeyError, TypeError: A field is missing or unknown.
        ValueError: A date is not an ISO date.
    """
    fields = dict(row)
    for name in ("released", "deprecated_on", "retired_on", "fact_date"):
        fields[name] = date.fromisoformat(row[name]) if row[name] else None
    if reasoning := row["reasoning"]:
        lists = {name: tuple(reasoning[name]) for name in ("efforts", "refused_formats")}
        fields["reasoning"] = ReasoningSpec(**{**reasoning, **lists})
    if price := row["price_usd_per_million_tokens"]:
        fields["price_usd_per_million_tokens"] = Price(**price)
    fields["inputs"] = tuple(row["inputs"])
    return ModelSpec(**fields)


# -- the current rows


@dataclass(frozen=True, slots=True)
class _Catalogue:
    specs: Mapping[str, ModelSpec]
    listed: frozenset[str] | None = None  # the ids of the public list, if it has been read


_in_force: _Catalogue | None = None


def _catalogue() -> _Catalogue:
    """Return the current rows: the package's, overridden by a saved public list if it is newer.

    Files are read for the first question. ``client`` asks it when it is imported, so that no event loop waits for them.
    """
    global _in_force  # noqa: PLW0603 - one catalogue a process
    if _in_force is None:
        built_in = _Catalogue(_built_in_specs())
        rows, day = saved_models() or ([], date.min)
        is_newer = day > max(spec.fact_date for spec in built_in.specs.values())
        _in_force = _with_public_list(built_in, rows, day) if is_newer else built_in
    return _in_force


@functools.cache
def _built_in_specs() -> Mapping[str, ModelSpec]:
    from importlib import resources  # noqa: PLC0415 - doubles the import time, and only this function needs it

    rows = json.loads(resources.files("langchain_cerebras_demo.data").joinpath("models.json").read_bytes())
    return MappingProxyType({row["id"]: spec_from_row(row) for row in rows})


def model_specs() -> Mapping[str, ModelSpec]:
    """Return all rows by id, today's models first; read-only."""
    return _catalogue().specs


def refresh(rows: Iterable[Any], today: date) -> None:
    """Override the package's rows with the service's public list, in this process.

    The list has context windows and answer lengths of paid accounts, capabilities, prices, and which models are served. Other
    facts are kept. Only models of the list are then suggested as replacements.

    Args:
        rows: As ``list_models(public=True)`` returns them. A row without an id is ignored, and so is a list without ids.
        today: The day of the list.
    """
    global _in_force  # noqa: PLW0603 - as above
    _in_force = _with_public_list(_Catalogue(_built_in_specs()), rows, today)


def _with_public_list(catalogue: _Catalogue, rows: Iterable[Any], day: date) -> _Catalogue:
    listed = {row["id"]: row for row in rows if isinstance(row, Mapping) and isinstance(row.get("id"), str)}
    if not listed:
        return catalogue
    specs = {model: _from_public_row(row, catalogue.specs.get(model), day) for model, row in listed.items()}
    return _Catalogue(MappingProxyType({**specs, **catalogue.specs, **specs}), frozenset(listed))


def _from_public_row(row: Mapping[str, Any], known: ModelSpec | None, day: date) -> ModelSpec:
    """Return the spec of a row of the public list, with the other known facts about the model."""
    spec = known or replace(_UNKNOWN, id=row["id"], family=str(row.get("owned_by") or ""))
    limits, can, pricing = (_mapping(row.get(name)) for name in ("limits", "capabilities", "pricing"))
    has_future_end = spec.retired_on is not None and spec.retired_on > day
    is_ending = has_future_end or row.get("deprecated") is True
    changes: dict[str, Any] = {
        "deprecated_on": (spec.deprecated_on or day) if is_ending else None,
        "retired_on": spec.retired_on if has_future_end else None,
        "dedicated_only": False,
        "released": spec.released or _day(row.get("created")),
        "price_usd_per_million_tokens": _price(pricing) or spec.price_usd_per_million_tokens,
        "fact_date": day,
        "source": "; ".join(filter(None, (f"the service's public list ({day})", spec.source))),
    }
    # The list has the figures of paid accounts.
    for limit, name in (("max_context_length", "context_window"), ("max_completion_tokens", "max_output")):
        if count := _count(limits.get(limit)):
            floor = getattr(spec, f"{name}_tokens")
            changes |= {f"{name}_max_tokens": count, f"{name}_tokens": min(floor, count) if floor else None}
    for ability, name in _ABILITIES.items():
        if isinstance(can.get(ability), bool):
            changes[name] = can[ability]
    if isinstance(row.get("preview"), bool):
        changes["preview"] = row["preview"]
    if isinstance(can.get("reasoning"), bool):
        changes["reasoning"] = (spec.reasoning or ReasoningSpec()) if can["reasoning"] else None
    if isinstance(can.get("vision"), bool):
        changes["inputs"] = ("text", "image") if can["vision"] else ("text",)
    return replace(spec, **changes)


_ABILITIES = {
    "tools": "tool_calling",
    "parallel_tool_calls": "parallel_tool_calls",
    "structured_outputs": "structured_output",
}

_UNKNOWN = ModelSpec(
    id="",
    family="",
    context_window_tokens=None,
    context_window_max_tokens=None,
    max_output_tokens=None,
    max_output_max_tokens=None,
    tool_calling=None,
    parallel_tool_calls=None,
    structured_output=None,
    response_format_with_tools=None,
    reasoning=None,
    inputs=(),
    image_tokens=None,
    price_usd_per_million_tokens=None,
    released=None,
    deprecated_on=None,
    retired_on=None,
    preview=None,
    dedicated_only=False,
    replacement=None,
    fact_date=date.min,
    source="",
    note=None,
)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _price(pricing: Mapping[str, Any]) -> Price | None:
    """Return a price in dollars per million tokens; the list has dollars per token, as strings."""
    try:
        a_token = [float(pricing[name]) for name in ("prompt", "completion")]
    except (KeyError, TypeError, ValueError):
        return None
    return Price(*(round(price * 1_000_000, 6) for price in a_token))


def _day(created: Any) -> date | None:
    """Return the day of a Unix time; the list has 0 if it is not known."""
    try:
        return datetime.fromtimestamp(created, tz=timezone.utc).date() if created else None
    except (TypeError, ValueError, OverflowError, OSError):
        return None


# -- questions


def find_spec(model_id: str) -> ModelSpec | None:
    """Return the row of exactly that id, or ``None``. Aliases are not resolved."""
    return model_specs().get(model_id)


def is_served(spec: ModelSpec, today: date) -> bool:
    """Return whether the shared endpoints serve the model and no retirement has been announced.

    If the public list has been read, models that it does not name are not served.
    """
    listed = _catalogue().listed
    return spec.life(today) == "live" and not spec.dedicated_only and (listed is None or spec.id in listed)


def live_replacement(model_id: str, today: date) -> str | None:
    """Return the id to use in place of a model that is deprecated or retired.

    Replacements are followed until one that the shared endpoints serve, without an announced retirement. ``None`` if the
    model needs no replacement or has no row, or if none of its replacements is served.
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
    """Return a sentence with the id, its retirement date and its replacement; ``None`` if the model is not retired."""
    spec = find_spec(model_id)
    if spec is None or spec.life(today) != "retired":
        return None
    replacement = live_replacement(model_id, today)
    remedy = f"use {replacement!r} instead" if replacement else "list the models to choose another"
    exception = " (dedicated endpoints still serve it)" if spec.dedicated_only else ""
    return f"The model {model_id!r} was retired on {spec.retired_on}{exception}: {remedy}."


def nearest_ids(name: str, today: date) -> tuple[str, ...]:
    """Return up to three names that are similar to an unknown one, best first; empty if there are none.

    Each is the id, or a built-in alias, of a model that is served on that day. For a retired id, its live replacement comes
    first.
    """
    served = [spec.id for spec in model_specs().values() if is_served(spec, today)]
    served += [alias for alias, target in BUILT_IN_ALIASES.items() if target in served]
    replacement = live_replacement(name, today)
    near = difflib.get_close_matches(name.lower(), served, n=3, cutoff=0.5)
    names = dict.fromkeys([replacement, *near] if replacement else near)
    return tuple(names)[:3]


def unknown_model_hint(model_id: str, today: date) -> str:
    """Return a hint for a model that is not served: its replacement, similar ids, or the ids that are served.

    The model itself is never suggested, even if its row says that it is served.
    """
    if replacement := live_replacement(model_id, today):
        return f"Use {replacement!r} instead."
    table = AliasTable()
    near = [name for name in nearest_ids(model_id, today) if table.resolve(name) != model_id]
    if near:
        return f"Known ids near {model_id!r}: {', '.join(near)}."
    served = [spec.id for spec in model_specs().values() if is_served(spec, today) and spec.id != model_id]
    return f"Served are {', '.join(served[:_SHOWN_IDS])}." if served else ""


_SHOWN_IDS = 5


class AliasTable(Mapping[str, str]):
    """Aliases of model ids: the built-in ones, overridden by the user's. Immutable and hashable.

    An alias may refer to another alias. An alias of itself (``{"gpt-oss": "gpt-oss"}``) is allowed: it switches off a
    built-in alias, for a dedicated endpoint of that name. Two tables are equal if they have the same pairs.

    Args:
        aliases: The user's aliases, to a model id or to another alias; an ``AliasTable`` stands for the aliases that it was
            made with.

    Raises:
        TypeError: ``aliases`` is not a mapping, or a name in it is not a string.
        ValueError: A name is empty, has white space around it, or contains a line break or another control character; or
            aliases refer to each other in a circle.
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
        """Return the model id of an alias; any other name is returned unchanged.

        Retired ids are returned, too; the caller warns with ``retirement_message``.

        Raises:
            TypeError: ``name`` is not a string.
            ValueError: ``name`` is empty, has white space around it, or contains a control character.
        """
        check_name(name, "model")
        while (target := self._aliases.get(name, name)) != name:
            name = target
        return name

    def merged(self, other: Mapping[str, str]) -> AliasTable:
        """Return a new table with the aliases of ``other`` overriding this one's; the errors are those of the constructor.

        The built-in aliases of another ``AliasTable`` are ignored, so that they do not undo this table's changes to them.
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
        # A mapping proxy cannot be pickled or copied; the built-in aliases come from the code that unpickles.
        return type(self), (dict(self._own),)


def own_aliases(aliases: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of the pairs, without the built-in ones of an ``AliasTable``."""
    if isinstance(aliases, AliasTable):
        return dict(aliases._own)  # noqa: SLF001 - the table's own helper
    if not isinstance(aliases, Mapping):
        raise TypeError(f"aliases is a {type(aliases).__name__}: give a mapping of aliases to model ids.")
    return dict(aliases)


def check_name(name: object, what: str) -> None:
    """Refuse what cannot be a model's name, and would otherwise lead to a 404 or a broken log line.

    White space around a name is refused, not removed, so that the mistake is corrected at its source.

    Raises:
        TypeError: It is not a string.
        ValueError: It is empty, has white space around it, or contains a control character.
    """
    if not isinstance(name, str):
        raise TypeError(f"The {what} must be a string, not {name!r} ({type(name).__name__}).")
    if not name.strip():
        raise ValueError(f"The {what} is empty ({name!r}); give the name of a model.")
    if name != name.strip():
        raise ValueError(f"The {what} has white space around it: {name!r}; remove it.")
    if not name.isprintable():
        raise ValueError(f"The {what} has a line break or another control character: {name!r}; remove it.")


def refuse_circles(aliases: Mapping[str, str]) -> None:
    """Raise ``ValueError``, which names the aliases, if they refer to each other in a circle."""
    settled: set[str] = set()
    for start in aliases:
        path: dict[str, None] = {}
        name = start
        while name not in settled and (target := aliases.get(name, name)) != name:
            if name in path:
                loop = [*path][[*path].index(name) :]
                circle = " -> ".join([*loop, name])
                raise ValueError(f"Aliases refer to each other in a circle: {circle}. Give one of them a model id.")
            path[name] = None
            name = target
        settled.update(path)
