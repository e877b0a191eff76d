"""One row of the input, ready to be asked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from langchain_cerebras_demo.bulk.records import to_plain

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the input.

    Args:
        id: its name in the output; given or derived.
        prompt: what the model is called with: a str, messages, or a prompt value.
        row: its number, from 1.
        line: the line it begins in, from 1; ``None`` where the input has no lines.
        problem: why it cannot be asked; ``""`` where it can.
    """

    id: str | int
    prompt: Any
    row: int
    line: int | None = None
    problem: str = ""

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"line {self.line}" if self.line is not None else f"row {self.row}"


def derive_id(content: Any, row: int) -> str:
    """A name for a row that has none: its number and a hash of what it holds, equal in every run over the same input.

    Args:
        content: the row as it was read: bytes, text, JSON, or LangChain messages.
        row: its number, from 1.
    """
    data = content if isinstance(content, bytes) else _to_bytes(content)
    return f"{row}-{hashlib.blake2b(data, digest_size=8).hexdigest()}"


def _to_bytes(content: Any) -> bytes:
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    try:
        return orjson.dumps(content, default=to_plain, option=_OPTIONS)
    except TypeError:
        return repr(content).encode("utf-8", "surrogatepass")
