"""Makes JSON values that fit a schema, from a prompt's numbers, quoted strings and proper names.

The same schema and prompt always give the same value, so that a test can put the expected values into its prompt.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 8
MAX_QUOTE = 200

_NUMBER = re.compile(r"(?<![\w.])-?\d{1,15}(?:\.\d{1,9})?(?!\w)")
_QUOTED = re.compile(r'"([^"\n]+)"|“([^”\n]+)”|「([^」\n]+)」|(?<!\w)\'([^\'\n]+)\'(?!\w)')
# "San Francisco, CA" in "the weather in San Francisco, CA?": capitals that do not open the sentence
_PROPER = re.compile(r"(?<=[\w,] )[A-Z][\w'-]*(?:,? [A-Z][\w'-]*)*")

_BY_FORMAT = {
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class Facts:
    """The numbers and strings of a prompt, returned in their order; the last one is repeated.

    Args:
        text: The prompt.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.numbers = _NUMBER.findall(text)
        self.quoted = ["".join(found)[:MAX_QUOTE] for found in _QUOTED.findall(text)]
        self.strings = self.quoted or _PROPER.findall(text)

    def number(self, name: str) -> float | None:
        """Return the number directly after ``name`` ("age: 30"), else the next one, or ``None``."""
        if named := re.search(
            rf"\b{re.escape(name)}\W{{1,3}}?(-?\d{{1,15}}(?:\.\d{{1,9}})?)\b", self.text, re.IGNORECASE
        ):
            return float(named[1])
        if not self.numbers:
            return None
        return float(self.numbers.pop(0) if len(self.numbers) > 1 else self.numbers[0])

    def string(self, name: str) -> str:
        """Return the next quoted string or proper name; if the prompt has none, ``name`` and the prompt's beginning."""
        if not self.strings:
            return f"{name}: {self.text[:80].strip()}"
        return self.strings.pop(0) if len(self.strings) > 1 else self.strings[0]

    def mentions(self, name: str) -> bool:
        """Return whether the prompt mentions ``name`` and does not exclude it ("no punchline")."""
        spoken = re.escape(name.replace("_", " ")).replace(r"\ ", "[ _]")
        if not re.search(rf"\b{spoken}", self.text, re.IGNORECASE):
            return False
        return not re.search(rf"\b(?:no|without)\s+(?:(?:a|the)\s+)?{spoken}", self.text, re.IGNORECASE)


def invent(schema: Any, name: str, facts: Facts, root: Mapping[str, Any] | None = None, depth: int = 0) -> Any:
    """Return a value that fits a JSON schema.

    Args:
        schema: The schema; a value that is not an object counts as the schema that allows everything.
        name: The value's name, for strings that the prompt does not contain.
        facts: Where the value comes from.
        root: The whole schema, for ``$ref``; ``None`` = ``schema`` itself.
        depth: The depth of the value; from 8, lists are empty and optional properties omitted.
    """
    schema = schema if isinstance(schema, dict) and depth < 2 * MAX_DEPTH else {}  # some schemas have no finite value
    root = schema if root is None else root
    schema = resolved(schema, root, depth)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return next((value for value in schema["enum"] if facts.mentions(str(value))), schema["enum"][0])
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object":
        return invent_members(schema, facts, root, depth)
    if kind == "array":
        items = list(schema.get("prefixItems", ()))
        fewest = schema.get("minItems", 1 if depth < MAX_DEPTH and schema.get("maxItems") != 0 else 0)
        items += [schema.get("items")] * (fewest - len(items))
        return [invent(item, name, facts, root, depth + 1) for item in items]
    return invent_scalar(kind, schema, name, facts)


def resolved(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
    """Return the schema with ``$ref``, ``allOf`` and one branch of ``anyOf`` or ``oneOf`` resolved."""
    for _ in range(MAX_DEPTH):
        branches = schema.get("anyOf") or schema.get("oneOf")
        if "$ref" in schema:
            _, _, name = str(schema["$ref"]).rpartition("/")
            schema = root.get("$defs", root.get("definitions", {})).get(name, {})
        elif branches:
            null = [branch for branch in branches if branch.get("type") == "null"]
            real = [branch for branch in branches if branch.get("type") != "null"]
            schema = (null + real if depth >= MAX_DEPTH else real + null)[0]
        elif schema.get("allOf"):
            rest = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                rest = {**resolved(part, root, depth), **rest}
            schema = rest
        else:
            return schema
    return schema


def invent_members(schema: Mapping[str, Any], facts: Facts, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return an object with the required properties and those that the prompt mentions."""
    required = schema.get("required", ())
    members = {
        **schema.get("properties", {}),
        **{key: {} for key in required if key not in schema.get("properties", {})},
    }
    return {
        key: invent(member, key, facts, root, depth + 1)
        for key, member in members.items()
        if key in required or (depth < MAX_DEPTH and facts.mentions(key))
    }


def invent_scalar(kind: str, schema: Mapping[str, Any], name: str, facts: Facts) -> Any:
    """Return a string, number, boolean or null."""
    if kind == "null":
        return None
    if kind == "boolean":
        return not re.search(r"\b(?:false|no|not)\b", facts.text, re.IGNORECASE)
    if kind in {"integer", "number"}:
        found = within(facts.number(name) or 0.0, schema, whole=kind == "integer")
        return int(found) if found == math.floor(found) else found
    text = _BY_FORMAT.get(schema.get("format", "")) or facts.string(name)
    return text[: schema.get("maxLength")].ljust(schema.get("minLength", 0), "x")


def within(value: float, schema: Mapping[str, Any], *, whole: bool) -> float:
    """Return the nearest value within the schema's limits."""
    step = schema.get("multipleOf", 1 if whole else 0)
    nudge = step or 1e-6
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf - nudge) + nudge)
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - nudge)
    value = min(max(value, low), high)
    if step:
        value = round(math.ceil(value / step) * step, 9)
        value -= step if value > high else 0
    return value


def invent_object(facts: Facts) -> dict[str, Any]:
    """Return an object for ``json_object``, which has no schema: its keys are the quoted names of the prompt."""
    keys = [text for text in facts.quoted if text.isidentifier()] or ["answer"]
    asked = facts.text[:80].strip()
    return {key: f"{key}: {asked}" for key in keys}
