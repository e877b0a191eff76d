"""A row of the input, its id, and its conversion to a prompt."""

from __future__ import annotations

import difflib
import hashlib
import sqlite3
import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from langchain_cerebras_demo.bulk import exact_json
from langchain_cerebras_demo.bulk.errors import BulkInputError
from langchain_cerebras_demo.bulk.records import to_plain

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_SHOWN_COLUMNS = 20
_CACHE_KIB = 32 * 1024  # about a million ids; the rest is in a temporary file
_HASH_BYTES = 12


class Row(NamedTuple):
    """One row as it was read.

    Args:
        number: its number, from 1.
        line: the line in which it begins, from 1; ``None`` if the input has no lines.
        value: its content: a dict of columns, a str, or messages.
        problem: why it could not be read; ``""`` if it could.
        raw: its bytes, if available; a derived id is made from them.
    """

    number: int
    line: int | None
    value: Any
    problem: str = ""
    raw: bytes | None = None

    @property
    def place(self) -> str:
        """Where the row is, for messages."""
        return f"line {self.line}" if self.line is not None else f"row {self.number}"

    @property
    def given_id(self) -> str | int | None:
        """The id in the row; ``None`` if it has no valid id."""
        found = self.value.get("id") if isinstance(self.value, dict) else None
        return found if _is_id(found) else None

    @property
    def id(self) -> str | int:
        """The id in the row, or the derived one."""
        given = self.given_id
        if given is not None:
            return given
        return derive_id(self.value if self.raw is None else self.raw, self.number)

    @property
    def columns(self) -> dict[str, Any] | None:
        """The row as columns; a text is the column ``text``, messages are the column ``messages``. ``None`` if it could not be read."""
        value = self.value
        if isinstance(value, dict):
            return value
        if value is None:
            return None
        if isinstance(value, str):
            return {"text": value}
        return {"messages": value if isinstance(value, list | tuple) or hasattr(value, "to_messages") else [value]}

    def id_problem(self) -> str:
        """Return the problem of the id in the row; ``""`` if there is none."""
        found = self.value.get("id") if isinstance(self.value, dict) else None
        if found is None or found == "" or _is_id(found):
            return ""
        return f"{self.place}: the id {str(found)[:100]!r} is a {type(found).__name__}: use a text or an integer"


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the input, ready to be sent.

    Args:
        id: its id in the output, given or derived.
        prompt: the input of the model: a str, messages, or a prompt value.
        row: its number in the input, from 1; 0 if it is unknown.
        line: the line in which it begins, from 1; ``None`` if the input has no lines.
        problem: why it cannot be sent; ``""`` if it can.
        input: its columns; ``None`` if the record does not include them.
        prompt_hash: a hash of the prompt, equal for equal requests; ``""`` if the row cannot be sent.
    """

    id: str | int
    prompt: Any
    row: int
    line: int | None = None
    problem: str = ""
    input: dict[str, Any] | None = None
    prompt_hash: str = ""

    @property
    def place(self) -> str:
        """Where the row is, for messages."""
        return f"line {self.line}" if self.line is not None else f"row {self.row}"

    @property
    def facts(self) -> dict[str, Any]:
        """The fields of its record that do not depend on the answer."""
        return {
            "id": self.id,
            "row": self.row or None,
            "input": self.input,
            "prompt_hash": self.prompt_hash or None,
        }


def derive_id(content: Any, row: int) -> str:
    """Return an id for a row that has none: its number and a hash of its content. It is the same in every run over the same input.

    Args:
        content: the row as it was read: bytes, text, JSON, or LangChain messages.
        row: its number, from 1.
    """
    data = content if isinstance(content, bytes) else _to_bytes(content)
    return f"{row}-{hashlib.blake2b(data, digest_size=8).hexdigest()}"


def to_id_key(row_id: str | int) -> bytes:
    """Return an id as the key of an index; ``"7"`` and ``7`` have the same key."""
    return str(row_id).encode("utf-8", "surrogatepass")


def hash_prompt(prompt: Any) -> str:
    """Return a hash of a prompt. Equal texts or messages have equal hashes in all runs."""
    return hashlib.blake2b(_to_bytes(prompt), digest_size=_HASH_BYTES).hexdigest()


def prompt_text(prompt: Any) -> str:
    """Return a prompt as one text; messages are converted to JSON."""
    return prompt if isinstance(prompt, str) else _to_bytes(prompt).decode("utf-8", "replace")


class IdIndex:
    """The ids seen so far and their rows, in bounded memory: a SQLite database that the system deletes when it is closed.

    A million ids take 35 MB of memory; the rest is in a temporary file. ``"7"`` and ``7`` are the same id, because a table of answers
    could not distinguish them. Threads may use it one at a time. It must be closed.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("CREATE TABLE ids (id BLOB PRIMARY KEY, row INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")  # never committed, because the file is temporary

    def add(self, row_id: str | int, row: int) -> int | None:
        """Add an id and return ``None``, or return the row that already has it."""
        key = to_id_key(row_id)
        try:
            self._database.execute("INSERT INTO ids VALUES (?, ?)", (key, row))
        except sqlite3.IntegrityError:
            first: int = self._database.execute("SELECT row FROM ids WHERE id = ?", (key,)).fetchone()[0]
            return first
        return None

    def close(self) -> None:
        """Release the memory and the file."""
        self._database.close()


class Prompts:
    """Makes prompts from rows.

    Args:
        template: a str with ``{column}``; or an object with ``format_messages(**columns)`` or ``invoke(columns)``, such as
            LangChain's prompt templates. ``None``: a row is a str or messages, or has a column ``prompt`` or ``messages``.
        system: the system prompt of conversations that have none.
        keep_input: whether records include the columns of their rows.

    Raises:
        BulkInputError: the template cannot be used.
    """

    def __init__(self, template: Any = None, system: str | None = None, *, keep_input: bool = True) -> None:
        self._template = template
        self._system = system
        self._keep_input = keep_input
        self.names = _names_of(template)

    def why_not(self, row: Row) -> str:
        """Return why the row cannot be sent, with its place; ``""`` if it can."""
        if row.problem:
            return row.problem
        return row.id_problem() or (f"{row.place}: {problem}" if (problem := self._problem(row.value)) else "")

    def to_item(self, row: Row, row_id: str | int) -> Item:
        """Return the row ready to be sent under this id, or with its problem."""
        problem, prompt = self.why_not(row), None
        columns = row.columns if self._keep_input else None
        if not problem:
            try:
                prompt = self._with_system(self._to_prompt(row.value))
                return Item(row_id, prompt, row.number, row.line, "", columns, hash_prompt(prompt))
            except Exception as error:  # noqa: BLE001 - the user's template may raise anything; other rows continue
                problem = f"{row.place}: the prompt cannot be made: {type(error).__name__}: {error}"
        return Item(row_id, None, row.number, row.line, problem, columns)

    def _problem(self, value: Any) -> str:
        if self._template is not None:
            if isinstance(value, str):
                value = {"text": value}
            if not isinstance(value, dict):
                return f"the template needs columns, and this is a {type(value).__name__}"
            return _problem_of_template(self.names, value)
        if isinstance(value, dict):
            return _problem_of_columns(value)
        if isinstance(value, str | list | tuple):
            return "" if value and (not isinstance(value, str) or value.strip()) else "the prompt is empty"
        if hasattr(value, "to_messages") or hasattr(value, "content"):
            return ""
        return f"{type(value).__name__} is not a prompt: use a text, messages, or an object with 'prompt' or 'messages'"

    def _to_prompt(self, value: Any) -> Any:
        if self._template is not None and isinstance(value, str):
            value = {"text": value}
        if isinstance(self._template, str):
            return self._template.format_map(value)
        if self._template is not None:
            make = getattr(self._template, "format_messages", None)  # three times as fast as invoke
            return self._template.invoke(value) if make is None else make(**value)
        if not isinstance(value, dict):
            return [value] if hasattr(value, "content") else value
        messages = value.get("messages")
        if messages is None:
            return value["prompt"]
        return exact_json.loads(messages) if isinstance(messages, str) else messages  # a CSV cell holds them as JSON

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
    """Return the columns that a template needs, in order."""
    if template is None:
        return ()
    if isinstance(template, str):
        try:
            fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        except ValueError as error:
            raise BulkInputError(f"template={template!r}: {error}; write a literal brace twice: {{{{ }}}}") from None
        names = [field.partition(".")[0].partition("[")[0] for field in fields]
        if "" in names or any(name.isdecimal() for name in names):
            raise BulkInputError(f"template={template!r}: a placeholder without a name: write {{column}}")
        return tuple(dict.fromkeys(names))
    if not hasattr(template, "format_messages") and not hasattr(template, "invoke"):
        raise BulkInputError(
            f"template is a {type(template).__name__}: use a str with {{column}}, or a prompt template"
        )
    return tuple(getattr(template, "input_variables", ()))


def _problem_of_template(names: Iterable[str], value: dict[str, Any]) -> str:
    """Return a message about columns of the template that are missing or null."""
    missing = [repr(name) for name in names if name not in value]
    null = [repr(name) for name in names if name in value and value[name] is None]
    problems = []
    if missing:
        problems.append(f"the template needs {', '.join(missing)}; {_shown(value)}{_hint(names, value)}")
    if null:
        problems.append(f"{', '.join(null)} {'is' if len(null) == 1 else 'are'} null, and the template needs a value")
    return "; ".join(problems)


def _hint(names: Iterable[str], value: dict[str, Any]) -> str:
    """Return a clause that says how a missing column may be meant; ``""`` if nothing is likely."""
    columns = [str(name) for name in value]
    if len(columns) == 1 and ";" in columns[0]:
        return "; the file seems to be separated by semicolons: separate the columns by commas"
    missing = [name for name in names if name not in value]
    if any(not name.replace("-", "_").replace(" ", "_").isidentifier() for name in missing):
        return "; write a literal brace twice: {{ }}"
    lower = {name.lower(): name for name in columns}
    for name in missing:
        if near := difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.7):
            return f"; did you mean {{{lower[near[0]]}}}?"
    return ""


def _problem_of_columns(value: dict[str, Any]) -> str:
    prompt, messages = value.get("prompt"), value.get("messages")
    if prompt is not None and messages is not None:
        return "it has both 'prompt' and 'messages': remove one"
    if prompt is None and messages is None:
        null = next((name for name in ("prompt", "messages") if name in value), None)
        if null is not None:
            return f"its {null!r} is null: set a text"
        if hint := _hint((), value):
            return f"it has neither 'prompt' nor 'messages'; {_shown(value)}{hint}"
        return f"it has neither 'prompt' nor 'messages'; {_shown(value)}. Use a template to make prompts from other columns"
    if messages is not None:
        return "" if messages and isinstance(messages, list | str) else "its 'messages' are empty or not a list"
    return "" if isinstance(prompt, str) and prompt.strip() else "its 'prompt' is empty or not a text"


def _shown(value: dict[str, Any]) -> str:
    return f"the columns are {', '.join(repr(str(name)[:50]) for name in list(value)[:_SHOWN_COLUMNS]) or 'none'}"


def _role(message: Any) -> Any:
    if isinstance(message, dict):
        return message.get("role")
    return message[0] if isinstance(message, tuple) else getattr(message, "type", None)


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _to_bytes(content: Any) -> bytes:
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    if hasattr(content, "to_messages"):
        content = content.to_messages()
    try:
        return orjson.dumps(content, default=to_plain, option=_OPTIONS)
    except TypeError:
        return repr(content).encode("utf-8", "surrogatepass")
