"""Tools and tool choices as users give them, to the API's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_cerebras_demo.chat_models.fields import Tool
from langchain_cerebras_demo.chat_models.schemas import check_tool_name, to_lenient_schema, to_strict_schema

_CHOICES = frozenset({"none", "auto", "required"})


def to_tools(tools: Sequence[Tool], *, strict: bool | None = None) -> list[dict[str, Any]]:
    """The tools as plain dicts in the API's form.

    Args:
        tools: pydantic classes, TypedDicts, functions, LangChain tools, or dicts in OpenAI's or Anthropic's form.
        strict: whether the service holds the arguments to the schema; ``None`` leaves what each tool says.

    Raises:
        ValueError: a name that the API does not take, or a strict schema that it cannot do.
    """
    converted = [_to_tool(tool, strict) for tool in tools]
    for tool in _with_equal_strict(converted):
        function = tool["function"]
        check_tool_name(function["name"])
        if "parameters" in function:
            fit = to_strict_schema if function.get("strict") else to_lenient_schema
            function["parameters"] = fit(function["parameters"])
    return converted


def to_tool_choice(choice: str | bool | Mapping[str, Any] | None, tools: Sequence[Mapping[str, Any]]) -> Any:
    """The tool choice in the API's form; ``None`` where nothing is to be sent.

    Args:
        choice: ``"any"`` or ``True`` for a call of any tool, a tool's name, ``none``, ``auto``, ``required``, a dict as
            it is, ``None`` or ``False`` for nothing.
        tools: in the API's form.

    Raises:
        ValueError: a name that is none of the tools'.
    """
    if not choice or not tools:  # a choice without tools is refused by the service
        return None
    if choice is True or choice == "any":
        return "required"
    if isinstance(choice, str):
        if choice in _CHOICES:
            return choice
        return to_tool_choice({"type": "function", "function": {"name": choice}}, tools)
    names = [tool["function"]["name"] for tool in tools]
    chosen = (choice.get("function") or {}).get("name")
    if chosen not in names:
        raise ValueError(
            f"tool_choice={choice!r} names no tool: give one of {', '.join(names)}, 'auto', 'any' or 'none'"
        )
    return dict(choice)


def _to_tool(tool: Tool, strict: bool | None) -> dict[str, Any]:
    converted = convert_to_openai_tool(tool, strict=strict)
    function = converted.get("function")
    if converted.get("type") != "function" or not isinstance(function, Mapping):
        raise ValueError(f"a tool of type {converted.get('type')!r} is not taken: the API knows functions alone")
    # The API refuses keys that it does not know; others' tools bring some (cache_control, …).
    kept = {
        key: function[key] for key in ("name", "description", "parameters", "strict") if function.get(key) is not None
    }
    return {"type": "function", "function": kept}


def _with_equal_strict(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One ``strict`` for all: the service refuses a request that mixes them (Roo-Code#10334).

    A promise that one tool cannot keep is not made for it, so mixed means that none is strict.
    """
    given = {tool["function"].get("strict", False) for tool in tools}
    if len(given) > 1:
        for tool in tools:
            tool["function"]["strict"] = False
    return tools
