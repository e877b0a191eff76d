"""JSON as servers write it, where orjson is too strict: a byte order mark, NaN, half of a surrogate pair.

A character outside the basic plane is two surrogates in a JSON escape. Where a server cuts its text by such halves, each
piece holds a string that no encoding takes. Halves that belong together are joined; one that stays alone becomes U+FFFD.
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
# The end of a piece that may go on in the next: the first half of a pair, or an escape that is not whole.
_OPEN_ESCAPE = re.compile(
    r"(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?|\\(?:u[0-9a-fA-F]{0,3})?)\Z"
)


def loads(data: bytes) -> Any:
    """The value of a JSON document, with text that every encoding takes.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        try:
            return mend_all(loads_with_halves(data))
        except (ValueError, RecursionError):
            raise error from None  # the better words


def loads_with_halves(data: bytes) -> Any:
    """The value of a document that orjson has refused: its texts may hold halves; NaN and infinities are ``None``.

    Raises:
        ValueError, RecursionError: it is not JSON, or nested too deeply.
    """
    text = data.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "surrogatepass")
    return json.loads(text, parse_constant=lambda _: None, parse_float=_to_finite)


def _to_finite(text: str) -> float | None:
    figure = float(text)
    return figure if math.isfinite(figure) else None


def mend(text: str) -> str:
    """``text`` with pairs of halves joined, and U+FFFD for a half that is alone."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mend_all(value: Any, but: str | None = None) -> Any:
    """``value`` with every text in it mended, except those under the key ``but``."""
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, dict):
        return {mend(key): inner if key == but else mend_all(inner, but) for key, inner in value.items()}
    return [mend_all(inner, but) for inner in value] if isinstance(value, list) else value


class Halves:
    """Texts that come in pieces: half a character at the end of a piece waits for the text's next piece."""

    def __init__(self) -> None:
        self._held: dict[Hashable, str] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    def join(self, key: Hashable, piece: str) -> str:
        """What is whole by now of the text called ``key``."""
        return mend(self._hold(key, self._held.pop(key, "") + piece))

    def join_json(self, key: Hashable, piece: str) -> str:
        """The same for the text of a JSON document, in which an escape may be a half as well."""
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
        """``text`` without the half that it ends in."""
        if not text or not "\ud800" <= text[-1] <= "\udbff":
            return text
        self._held[key] = text[-1]
        return text[:-1]

    def rest(self) -> dict[Any, str]:
        """What was held back of each text, mended: no more pieces will come."""
        held, self._held = self._held, {}
        return {key: mend(_ESCAPE.sub(_mend_escape, text)) for key, text in held.items()}


def _is_escaped(text: str, place: int) -> bool:
    """Whether the backslash at ``place`` is the second one of an escaped backslash."""
    return (place - len(text[:place].rstrip("\\"))) % 2 == 1


def _mend_escape(found: re.Match[str]) -> str:
    escape = found[0]
    return "\\ufffd" if len(escape) == _LONE_ESCAPE_CHARACTERS else escape
