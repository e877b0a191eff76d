"""Which tools an answer calls: what the choice demands, else what the user's words ask for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_cerebras_demo.testing.models import LoopbackModel

__all__ = ["chosen_tools"]

# Words of a tool's name that say nothing of its subject.
EMPTY_WORDS = """
    a an and by call do find for from function get in is it lookup make my new of on or query run search set the to tool
    use with
"""
_BETWEEN_WORDS = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")


def chosen_tools(body: Mapping[str, Any], model: LoopbackModel, question: str) -> list[dict[str, Any]]:
    """The functions to call, in order; empty = none.

    ``auto`` calls what the question asks for and this turn has not called yet; ``required`` calls something in any
    case; a named choice calls that one. Several at once only where the model can and the request does not forbid it.
    """
    tools = [tool["function"] for tool in body.get("tools") or ()]
    choice = body.get("tool_choice") or "auto"
    if not tools or choice == "none":
        return []
    if isinstance(choice, dict):
        return [tool for tool in tools if tool["name"] == choice["function"]["name"]]
    called = called_names(body["messages"])
    fresh = [tool for tool in tools if tool["name"] not in called]
    asked = [tool for tool in fresh if is_asked_for(tool["name"], question)]
    if not asked and choice == "required":
        asked = (fresh or tools)[:1]
    parallel = model.parallel_tool_calls and body.get("parallel_tool_calls") is not False
    return asked if parallel else asked[:1]


def called_names(messages: list[Mapping[str, Any]]) -> set[str]:
    """The tools called since the last user message."""
    names: set[str] = set()
    for message in reversed(messages):
        if message["role"] == "user":
            break
        names |= {call["function"]["name"] for call in message.get("tool_calls") or ()}
    return names


def is_asked_for(name: str, question: str) -> bool:
    """Whether the question holds the tool's name, or every word of it that says something."""
    if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", question, re.IGNORECASE):
        return True
    telling = words_of(name) - words_of(EMPTY_WORDS)
    spoken = words_of(question)
    return bool(telling) and all(
        word in spoken or (len(word) > 3 and any(heard.startswith(word) for heard in spoken)) for word in telling
    )


def words_of(text: str) -> set[str]:
    """The words of a sentence, of a ``snake_case`` or of a ``camelCase`` name, in lower case."""
    return {word.lower() for word in _BETWEEN_WORDS.split(text) if word}
