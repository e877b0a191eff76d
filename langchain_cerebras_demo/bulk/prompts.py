"""Rows to prompts: by a template with columns, or as they stand."""

from __future__ import annotations

import string
from typing import Any

import orjson

from langchain_cerebras_demo.bulk.items import Item
from langchain_cerebras_demo.bulk.problems import BulkInputError
from langchain_cerebras_demo.bulk.rows import Row

_SHOWN_COLUMNS = 20


class Prompts:
    """Makes the prompt of each row.

    Args:
        template: a str with ``{column}``; or an object with ``format_messages(**columns)`` or ``invoke(columns)``, as LangChain's
            prompt templates are. ``None``: a row is a str, messages, or has a column ``prompt`` or ``messages``.
        system: said first in every conversation that has no system message of its own.

    Raises:
        BulkInputError: a template that is none.
    """

    def __init__(self, template: Any = None, system: str | None = None) -> None:
        self._template = template
        self._system = system
        self.names = _names_of(template)

    def why_not(self, row: Row) -> str:
        """Why the row cannot be asked, with its place; ``""`` where it can, as far as can be seen without asking."""
        if row.problem:
            return row.problem
        return row.id_problem() or (f"{row.place}: {problem}" if (problem := self._problem(row.value)) else "")

    def to_item(self, row: Row, row_id: str | int) -> Item:
        """The row, ready to be asked under this id; or with its problem."""
        problem, prompt = self.why_not(row), None
        if not problem:
            try:
                prompt = self._with_system(self._to_prompt(row.value))
            except Exception as error:  # noqa: BLE001 - a template is the user's own, and this is one row of many
                problem = f"{row.place}: the prompt cannot be made: {type(error).__name__}: {error}"
        return Item(row_id, prompt, row.number, row.line, problem)

    def _problem(self, value: Any) -> str:
        if self._template is not None:
            return self._missing(value)
        if isinstance(value, dict):
            return _problem_of_columns(value)
        if isinstance(value, str | list | tuple):
            return "" if value and (not isinstance(value, str) or value.strip()) else "the prompt is empty"
        if hasattr(value, "to_messages") or hasattr(value, "content"):
            return ""
        return f"{type(value).__name__} is no kind of prompt: give a text, messages, or an object with 'prompt' or 'messages'"

    def _missing(self, value: Any) -> str:
        if not isinstance(value, dict):
            return f"the template wants columns, and this is a {type(value).__name__}"
        missing = [name for name in self.names if value.get(name) is None]
        if not missing:
            return ""
        return f"the template wants {', '.join(map(repr, missing))}; the columns are {_shown(value)}"

    def _to_prompt(self, value: Any) -> Any:
        if isinstance(self._template, str):
            return self._template.format_map(value)
        if self._template is not None:
            make = getattr(self._template, "format_messages", None)  # a third of what invoke takes
            return self._template.invoke(value) if make is None else make(**value)
        if isinstance(value, dict):
            messages = value.get("messages")  # a cell of a CSV file holds them as JSON
            return (
                value["prompt"]
                if messages is None
                else orjson.loads(messages)
                if isinstance(messages, str)
                else messages
            )
        return [value] if hasattr(value, "content") else value

    def _with_system(self, prompt: Any) -> Any:
        if self._system is None:
            return prompt
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        messages = list(prompt.to_messages() if hasattr(prompt, "to_messages") else prompt)
        if _role(messages[0]) in {"system", "developer"}:
            return messages
        return [{"role": "system", "content": self._system}, *messages]


def _names_of(template: Any) -> tuple[str, ...]:
    """The columns a template wants, in order."""
    if template is None:
        return ()
    if isinstance(template, str):
        try:
            fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        except ValueError as error:
            raise BulkInputError(f"template={template!r}: {error}; a brace of the text is written twice") from None
        names = [field.partition(".")[0].partition("[")[0] for field in fields]
        if "" in names or any(name.isdecimal() for name in names):
            raise BulkInputError(f"template={template!r}: a place without a name: write {{column}}")
        return tuple(dict.fromkeys(names))
    if not hasattr(template, "format_messages") and not hasattr(template, "invoke"):
        raise BulkInputError(
            f"template is a {type(template).__name__}: give a str with {{column}}, or a prompt template"
        )
    return tuple(getattr(template, "input_variables", ()))


def _problem_of_columns(value: dict[str, Any]) -> str:
    prompt, messages = value.get("prompt"), value.get("messages")
    if prompt is not None and messages is not None:
        return "it has a 'prompt' and 'messages': leave one out"
    if prompt is None and messages is None:
        return f"it has neither 'prompt' nor 'messages'; the columns are {_shown(value)}. A template makes prompts of others"
    if messages is not None:
        return "" if messages and isinstance(messages, list | str) else "its 'messages' are no list, or an empty one"
    return "" if isinstance(prompt, str) and prompt.strip() else "its 'prompt' is no text, or an empty one"


def _shown(value: dict[str, Any]) -> str:
    return ", ".join(repr(str(name)[:50]) for name in list(value)[:_SHOWN_COLUMNS]) or "none"


def _role(message: Any) -> Any:
    if isinstance(message, dict):
        return message.get("role")
    return message[0] if isinstance(message, tuple) else getattr(message, "type", None)
