"""Reads JSON that orjson refuses but servers send: with a byte order mark, NaN, or half of a surrogate pair.

In JSON escapes, a character outside the basic plane is a pair of surrogates. If a server splits its text between them, each
piece contains a string that cannot be encoded. Halves that belong together are joined; a lone one becomes U+FFFD.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable
from typing import Any

import orjson

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_SURROGATE = re.compile("[\ud800-\udfff]")
# In the text of a JSON document: a pair of escapes, a lone one, any other escape. The order matters.
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.", re.DOTALL
)
_LONE_ESCAPE_CHARACTERS = 6
# The end of a piece that may continue in the next one: the first half of a pair, or an incomplete escape.
_OPEN_ESCAPE = re.compile(
    r"(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?|\\(?:u[0-9a-fA-F]{0,3})?)\Z"
)


def loads(data: bytes) -> Any:
    """Return the value of a JSON document; all its texts can be encoded.

    Raises:
        ValueError: it is not valid JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        try:
            return mend_all(loads_with_halves(data))
        except (ValueError, RecursionError):
            raise error from None  # its message is clearer


def loads_with_halves(data: bytes) -> Any:
    """Return the value of a document that orjson has refused. Its texts may contain halves; NaN and infinities are ``None``.

    Raises:
        ValueError, RecursionError: it is not valid JSON, or nested too deeply.
    """
    text = data.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "surrogatepass")
    return json.loads(text, parse_constant=lambda _: None, parse_float=_to_finite)


def _to_finite(text: str) -> float | None:
    figure = float(text)
    return figure if math.isfinite(figure) else None


def mend(text: str) -> str:
    """Return ``text`` with pairs of halves joined, and U+FFFD for a lone half."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mend_all(value: Any, but: str | None = None) -> Any:
    """Return ``value`` with ``mend`` applied to every text in it, except those under the key ``but``."""
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, dict):
        return {mend(key): inner if key == but else mend_all(inner, but) for key, inner in value.items()}
    return [mend_all(inner, but) for inner in value] if isinstance(value, list) else value


class Halves:
    """Texts that arrive in pieces: half a character at the end of a piece is held back for the text's next piece."""

    def __init__(self) -> None:
        self._held: dict[Hashable, str] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    def join(self, key: Hashable, piece: str) -> str:
        """Return what is complete of the text called ``key``, with this piece."""
        return mend(self._hold(key, self._held.pop(key, "") + piece))

    def join_json(self, key: Hashable, piece: str) -> str:
        """Return the same for the text of a JSON document, in which an escape may be incomplete as well."""
        text = self._held.pop(key, "") + piece
        if "\\" not in text:
            return mend(self._hold(key, text))
        if (found := _OPEN_ESCAPE.search(text)) and not _is_escaped(text, found.start()):
            self._held[key] = text[found.start() :]
            text = text[: found.start()]
        else:
            text = self._hold(key, text)
        return mend(_ESCAPE.sub(_mend_escape, text))

    def _hold(self, key: Hashable, text: str) -> str:
        """Return ``text`` without a half at its end, which is held back."""
        if not text or not "\ud800" <= text[-1] <= "\udbff":
            return text
        self._held[key] = text[-1]
        return text[:-1]

    def rest(self) -> dict[Any, str]:
        """Return what was held back of each text, when no more pieces will arrive."""
        held, self._held = self._held, {}
        return {key: mend(_ESCAPE.sub(_mend_escape, text)) for key, text in held.items()}


def _is_escaped(text: str, place: int) -> bool:
    """Return whether the backslash at ``place`` is the second one of an escaped backslash."""
    return (place - len(text[:place].rstrip("\\"))) % 2 == 1


def _mend_escape(found: re.Match[str]) -> str:
    escape = found[0]
    return "\\ufffd" if len(escape) == _LONE_ESCAPE_CHARACTERS else escape
