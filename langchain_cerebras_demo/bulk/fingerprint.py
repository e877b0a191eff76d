"""What the answers of a run depend on, in clear and without a key: so that a resumed run can say what has changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
_SHOWN_CHARACTERS = 120
_NOTHING = object()
_HIDDEN = "**********"
_SECRET_NAME = re.compile(r"api_?key|secret|password|authorization", re.IGNORECASE)


def fingerprint(runnable: Any, template: Any = None, system: str | None = None, schema: Any = None) -> dict[str, Any]:
    """The settings that an answer depends on, as JSON.

    Args:
        runnable: the model or chain. Of a chat model: its identifying parameters; of a binding: what is bound; of a sequence: its
            steps; of what can be serialised by LangChain: that, in which secrets are marks; of anything else the type's name.
        template: makes prompts of rows.
        system: said first.
        schema: what the answers are to be.
    """
    settings = {
        "model": _describe(runnable),
        "template": template if isinstance(template, str | None) else _describe(template),
        "system": system,
        "schema": _describe_schema(schema),
    }
    decoded: dict[str, Any] = _without_secrets(orjson.loads(orjson.dumps(settings, default=_plain, option=_OPTIONS)))
    return decoded


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One sentence a setting that is not what it was: ``model.temperature was 0.2 and is 0.7``."""
    old, new = dict(_flat(before)), dict(_flat(now))
    return [
        f"{name} {_said(old.get(name, _NOTHING), 'was')} and {_said(new.get(name, _NOTHING), 'is')}"
        for name in {**old, **new}
        if old.get(name, _NOTHING) != new.get(name, _NOTHING)
    ]


def _said(value: Any, verb: str) -> str:
    if value is _NOTHING:
        return f"{verb} not set"
    text = orjson.dumps(value).decode()
    return f"{verb} {text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + '…'}"


def _flat(value: Any, name: str = "") -> Any:
    """Pairs of a dotted name and a value that is no object; ``None`` is a setting that is not there."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif value is not None:
        yield name, value


def _describe(thing: Any) -> Any:
    if hasattr(thing, "bound") and hasattr(thing, "kwargs"):  # first: a binding shows the attributes of what it binds
        return {"bound": _describe(thing.bound), "kwargs": thing.kwargs}
    parameters = getattr(thing, "_identifying_params", None)  # LangChain's own name for exactly this
    if isinstance(parameters, Mapping):
        return dict(parameters)
    steps = getattr(thing, "steps", None)
    if isinstance(steps, list):
        return {str(number): _describe(step) for number, step in enumerate(steps)}
    shown = getattr(thing, "pretty_repr", None)  # a prompt template: its text
    if shown is not None:
        return {"type": type(thing).__name__, "text": shown()}
    return _plain(thing)


def _without_secrets(value: Any) -> Any:
    """JSON without what a foreign model may have put among its parameters."""
    if isinstance(value, dict):
        return {
            name: _HIDDEN if _SECRET_NAME.search(name) and isinstance(inner, str) else _without_secrets(inner)
            for name, inner in value.items()
        }
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """Serialisable objects by LangChain's own form, in which a secret is a mark; of others the type's name alone."""
    to_json = getattr(value, "to_json", None)
    if to_json is not None and not isinstance(value, type):
        return to_json()
    return f"{type(value).__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def _describe_schema(schema: Any) -> Any:
    if schema is None or isinstance(schema, Mapping):
        return schema
    make = getattr(schema, "model_json_schema", None)
    if make is not None:
        return make()
    annotations = getattr(schema, "__annotations__", {})
    return {
        "title": getattr(schema, "__name__", str(schema)),
        "fields": {name: str(kind) for name, kind in annotations.items()},
    }
