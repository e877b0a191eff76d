"""One row as it was read, before anything is made of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from langchain_cerebras_demo.bulk.items import derive_id


class Row(NamedTuple):
    """One row of an input.

    Args:
        number: from 1.
        line: the line it begins in, from 1; ``None`` where the input has none.
        value: what it holds: a dict of columns, a str, messages.
        problem: why it could not be read; ``""`` where it could.
        raw: its bytes, where it has such; a derived id comes from them.
    """

    number: int
    line: int | None
    value: Any
    problem: str = ""
    raw: bytes | None = None

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"line {self.line}" if self.line is not None else f"row {self.number}"

    @property
    def given_id(self) -> str | int | None:
        """The id that stands in it; ``None`` where there is none that can be used."""
        found = self.value.get("id") if isinstance(self.value, dict) else None
        return found if _is_id(found) else None

    @property
    def id(self) -> str | int:
        """The given id, or the derived one."""
        given = self.given_id
        if given is not None:
            return given
        return derive_id(self.value if self.raw is None else self.raw, self.number)

    def id_problem(self) -> str:
        """What is wrong with the id that stands in it."""
        found = self.value.get("id") if isinstance(self.value, dict) else None
        if found is None or found == "" or _is_id(found):
            return ""
        return f"{self.place}: the id {str(found)[:100]!r} is a {type(found).__name__}: give a text or a whole number"


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""
