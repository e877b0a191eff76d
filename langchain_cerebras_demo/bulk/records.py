"""What came of one row, as it is handed out and as it stands in the output file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import orjson

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


@dataclass(frozen=True, slots=True)
class BulkRecord:
    """One row's answer, or why it has none.

    Args:
        id: the row's own, or the derived one.
        content: the answer's text; ``None`` where there is no answer, a list where the model answers in blocks.
        reasoning: the thoughts that came with it.
        tool_calls: the calls of the answer, each ``{"name", "args", "id"}``; ``None`` where there are none.
        parsed: the value where a schema was given; in the output file its JSON.
        finish_reason: the service's word: ``"length"`` is an answer that was cut off.
        usage: LangChain's ``usage_metadata``: ``input_tokens``, ``output_tokens``, ``total_tokens`` and details.
        timing: ``seconds`` from asking to the answer, waits included; besides, the service's own ``time_info`` of the last call.
        attempts: requests sent for it; 0 for an answer from a cache.
        refusals: how many of them were refused by a rate limit (429), and so are no failures of the row.
        error: ``None``, or ``{"type": class, "message": text}``.
    """

    id: str | int
    content: str | list[Any] | None = None
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    parsed: Any = None
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    timing: Mapping[str, Any] | None = None
    attempts: int = 0
    refusals: int = 0
    error: Mapping[str, str] | None = None

    @property
    def is_good(self) -> bool:
        """Whether the row has its answer."""
        return self.error is None

    @property
    def total_tokens(self) -> int:
        """Tokens of prompt and answer as the service counted them; 0 where it said nothing."""
        return int((self.usage or {}).get("total_tokens") or 0)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, the values as they are."""
        return {name: getattr(self, name) for name in _NAMES}

    def to_json(self) -> bytes:
        """One line of the output file, without its line break: UTF-8, and never a line break within."""
        fields_ = self.to_dict()
        try:
            return orjson.dumps(fields_, default=to_plain, option=_OPTIONS)
        except TypeError:  # a number of more than 64 bits, half a surrogate pair: orjson writes neither
            return json.dumps(fields_, default=to_plain, skipkeys=True).encode()

    @classmethod
    def from_json(cls, line: bytes | str) -> BulkRecord:
        """The record of a line. ``parsed`` is then JSON, and no longer an instance.

        Raises:
            ValueError: it is no JSON object, or has no ``id``.
        """
        try:
            decoded = orjson.loads(line)
        except orjson.JSONDecodeError:
            decoded = json.loads(line)
        if not isinstance(decoded, dict) or not isinstance(decoded.get("id"), str | int):
            raise ValueError("the line is no record: it is no JSON object with an id")  # noqa: TRY004 - of a text, not of a type
        return cls(**{name: decoded[name] for name in _NAMES if name in decoded})


_NAMES = tuple(field.name for field in fields(BulkRecord))


def to_plain(value: Any) -> Any:
    """JSON of what orjson has no word for: pydantic's models by their own, anything else as its text."""
    dump = getattr(value, "model_dump", None)
    return str(value) if dump is None else dump(mode="json")
