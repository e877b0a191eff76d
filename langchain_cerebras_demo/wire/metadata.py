"""Reads the metadata of an answer: ids, token counts, times and log probabilities, also with unexpected types.

Invalid metadata never fails an answer. What cannot be read is left out, and the debug log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger("langchain_cerebras_demo")

_LARGEST_FIGURE = 1e15  # larger than in any answer: above it, a figure is a mistake


@dataclass(slots=True)
class Usage:
    """Token counts of the whole answer; ``completion_tokens`` include the reasoning. ``None``: not reported."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | None = None
    image_tokens: int | None = None
    reasoning_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class FactReader:
    """Reads the metadata of one answer."""

    def __init__(self) -> None:
        self._left_out: set[str] = set()

    def leave_out(self, what: str) -> None:
        """Log, once per answer, that ``what`` cannot be read."""
        if what not in self._left_out:
            self._left_out.add(what)
            _log.debug("left out of an answer because it cannot be read: %s", what)

    def word(self, of: Mapping[str, Any], key: str) -> str | None:
        """Return a short text, such as an id, or ``None`` for an empty one. A number is converted to text."""
        value = of.get(key)
        if not value or isinstance(value, str):
            return value or None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        self.leave_out(key)
        return None

    def usage(self, value: Any) -> Usage | None:
        """Return the token counts; ``None`` if none of the main ones can be read."""
        usage = self._members(value, "usage")
        prompt = self._members(usage.get("prompt_tokens_details"), "usage.prompt_tokens_details")
        completion = self._members(usage.get("completion_tokens_details"), "usage.completion_tokens_details")
        main = [self._count(usage, key) for key in ("prompt_tokens", "completion_tokens", "total_tokens")]
        if main == [None, None, None]:
            return None
        prompt_tokens, completion_tokens, total_tokens = (count or 0 for count in main)
        # It was at the top level in July 2026 and in the details in August: read both.
        image_tokens = self._count(prompt, "image_tokens")
        return Usage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=total_tokens or prompt_tokens + completion_tokens,
            cached_tokens=self._count(prompt, "cached_tokens"),
            image_tokens=self._count(usage, "image_tokens") if image_tokens is None else image_tokens,
            reasoning_tokens=self._count(completion, "reasoning_tokens"),
            accepted_prediction_tokens=self._count(completion, "accepted_prediction_tokens"),
            rejected_prediction_tokens=self._count(completion, "rejected_prediction_tokens"),
        )

    def time_info(self, value: Any) -> dict[str, float] | None:
        """Return the times; ``None`` if there are none."""
        members = self._members(value, "time_info")
        figures = {key: to_figure(time) for key, time in members.items()}
        read = {key: figure for key, figure in figures.items() if figure is not None}
        if len(read) < len(members):
            self.leave_out("time_info")  # without the keys: logs do not repeat text of the server
        return read or None

    def tokens(self, logprobs: Any, name: str) -> list[dict[str, Any]]:
        """Return the tokens of a list of log probabilities."""
        content = self._members(logprobs, name).get("content") or []
        tokens = content if isinstance(content, list) else [content]
        read = [token for token in tokens if isinstance(token, dict)]
        if len(read) < len(tokens):
            self.leave_out(name)
        return read

    def _members(self, value: Any, name: str) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        if value is not None:
            self.leave_out(name)
        return {}

    def _count(self, of: Mapping[str, Any], key: str) -> int | None:
        value = of.get(key)
        if value is None or (type(value) is int and 0 <= value <= _LARGEST_FIGURE):  # the usual cases
            return value
        count = to_count(value)
        if count is None:
            self.leave_out(f"usage.{key}")
        return count


def to_figure(value: Any) -> float | None:
    """Return a number, which may be given as text; ``None`` for anything else, and for negative or absurdly large numbers."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value <= _LARGEST_FIGURE else None


def to_count(value: Any) -> int | None:
    """Return a whole number, which may be given as a float or text; otherwise ``None``, as ``to_figure``."""
    figure = to_figure(value)
    return int(figure) if figure is not None and figure == int(figure) else None
