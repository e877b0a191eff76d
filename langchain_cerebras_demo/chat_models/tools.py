"""Conversion of tools and tool choices to the API's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_cerebras_demo.chat_models.arguments import Tool
from langchain_cerebras_demo.errors import InvalidRequestError, to_refusal
from langchain_cerebras_demo.wire.request import to_nested
from langchain_cerebras_demo.wire.schemas.answer_type import check_tool_name
from langchain_cerebras_demo.wire.schemas.strict import to_strict_schema

_CHOICES = frozenset({"none", "auto", "required"})
_KEYS_IN_ORDER = ("name", "description", "parameters", "strict")
_KEYS = frozenset(_KEYS_IN_ORDER)


def to_tools(tools: Sequence[Tool], *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Return the tools as dicts in the API's form, all or none of them strict: the service refuses a mixture (Roo-Code#10334).

    The schema of a strict tool is rewritten to the rules of strict mode. Any other schema is sent unchanged: it is a hint, and
    the service accepts lists of types, defaults and the like in it.

    Args:
        tools: Pydantic classes, TypedDicts, functions, LangChain tools, or dicts in OpenAI's form (of the Chat Completions
            or the Responses API), Anthropic's or Bedrock's.
        strict: Whether the service makes the arguments follow the schema. It applies to all tools and overrides their own
            flags. ``None``: a tool's own flag also applies to tools without one.

    Raises:
        InvalidRequestError: Something is not a tool, the API does not accept a name, strict mode does not support a schema, or
            tools have different flags.
    """
    converted = [_to_tool(tool) for tool in tools]
    agreed = _agreed_strict(converted) if strict is None else strict
    for tool in converted:
        check_tool_name(tool["function"]["name"])
    return converted if agreed is None else [_with_strict(tool["function"], agreed) for tool in converted]


def to_tool_choice(choice: str | bool | Mapping[str, Any] | None, tools: Sequence[Mapping[str, Any]]) -> Any:
    """Return the tool choice in the API's form; ``None`` if nothing is to be sent.

    Args:
        choice: ``"any"`` or ``True`` for a call of any tool, a tool's name, ``none``, ``auto``, ``required``, a dict, or
            ``None`` or ``False`` for nothing.
        tools: Tools in the API's form.

    Raises:
        InvalidRequestError: No tool has that name.
    """
    if not choice or not tools:  # the service refuses a choice without tools
        return None
    if choice is True or choice == "any":
        return "required"
    if isinstance(choice, str):
        if choice in _CHOICES:
            return choice
        return to_tool_choice({"type": "function", "function": {"name": choice}}, tools)
    named: dict[str, Any] = dict(to_nested(choice))
    names = [tool["function"]["name"] for tool in tools]
    chosen = (named.get("function") or {}).get("name")
    if chosen not in names:
        raise InvalidRequestError(
            f"tool_choice={choice!r} is not the name of a tool: use one of {', '.join(names)}, 'auto', 'any' or 'none'"
        )
    return named


def _to_tool(tool: Tool) -> dict[str, Any]:
    if type(tool) is dict and len(tool) == 2 and tool.get("type") == "function":
        # Already in the API's form, with known keys only: the common case, which needs no conversion.
        given = tool.get("function")
        if type(given) is dict and given.keys() <= _KEYS and given.get("name") and None not in given.values():
            return tool
    # `strict` is not passed to LangChain, which would forbid keys in free mappings.
    try:
        converted = convert_to_openai_tool(dict(to_nested(tool)) if isinstance(tool, Mapping) else tool)
    except ValueError as error:
        raise to_refusal(error) from error
    function = converted.get("function")
    if converted.get("type") != "function":
        raise InvalidRequestError(f"unsupported tool type {converted.get('type')!r}: the API supports functions only")
    if not isinstance(function, Mapping) or not function.get("name"):
        raise InvalidRequestError(f"the tool {tool!r:.200} has no name: add one under 'function'")
    # The API refuses unknown keys; tools of other vendors have some (cache_control, …).
    kept = {key: value for key in _KEYS_IN_ORDER if (value := function.get(key)) is not None}
    return {"type": "function", "function": kept}


def _agreed_strict(tools: Sequence[Mapping[str, Any]]) -> bool | None:
    names: dict[bool, list[str]] = {}
    for tool in tools:
        if "strict" in (function := tool["function"]):
            names.setdefault(bool(function["strict"]), []).append(function["name"])
    if len(names) > 1:
        raise InvalidRequestError(
            f"tools must have the same strict, but {', '.join(names[True])} have True and {', '.join(names[False])} False: "
            "pass strict=True or strict=False with the tools"
        )
    return next(iter(names), None)


def _with_strict(function: Mapping[str, Any], strict: bool) -> dict[str, Any]:
    changed = {**function, "strict": strict}
    if strict and "parameters" in changed:
        try:
            changed["parameters"] = to_strict_schema(changed["parameters"])
        except ValueError as error:
            raise InvalidRequestError(f"the tool {changed['name']!r} cannot be strict: {error}") from None
    return {"type": "function", "function": changed}
