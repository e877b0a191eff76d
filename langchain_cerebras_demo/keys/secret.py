"""A key or a cookie while it is in our hands: it shows itself to nobody but the header it is for."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, SupportsIndex
from urllib.parse import quote

from langchain_cerebras_demo.errors import KeyFormatError

MARK = "**********"

SHORTEST_KEY = 8
"""A shorter one is no key of any service; it is sent, and not looked for in answers."""

_SALT = os.urandom(32)
# What a key is often copied with. It is refused and not taken off: whoever reads the message mends the source.
QUOTES = "\"'`\u00b4\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\uff02\uff07"
_COPIED_ALONG = (
    ("a variable's name in front of it", re.compile(r"^\W*((export|setx?)\s|env:|[A-Z0-9_]*API_?KEY\s*[=:])")),
    ('"Bearer" in front of it', re.compile(r"\bbearer\s", re.IGNORECASE)),
    ("quotes around it", re.compile(rf"^\s*[{QUOTES}]|[{QUOTES}]\s*$")),
    ("a comment behind it", re.compile(r"\s#")),
    ("a line break (a file often ends in one)", re.compile(r"[\r\n]")),
)

_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


class _Hidden(str):
    """A str that stays hidden in pieces: a debugger may cut a long text before it shows it."""

    __slots__ = ()

    def __getitem__(self, key: SupportsIndex | slice[Any, Any, Any]) -> _Hidden:
        return type(self)(super().__getitem__(key))


class HiddenKey(_Hidden):
    """A key as a str whose ``repr`` is a mark: it has to be a local variable at times, and tracebacks may show those."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<key>"


class DemoKey(HiddenKey):
    """A key that a signed-in session gave. It travels to cerebras.ai over https alone, through whosever hands.

    The mark is the type: it stays on the value through resolvers of the user's own. ``repr`` shows a mark.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<demo key>"


class HiddenCookie(_Hidden):
    """A cookie's value as a str whose ``repr`` is a mark, for the same reason."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<cookie>"


class Secret:
    """Holds one value; ``reveal`` is the only way out. It cannot be pickled and its ``repr`` is a fixed mark.

    Args:
        value: the key or the cookie header.
        source: where it came from, for messages.
    """

    __slots__ = ("_value", "demo", "source")

    def __init__(self, value: str, source: str) -> None:
        self._value = value if isinstance(value, HiddenKey) else HiddenKey(value)
        self.source = source
        self.demo = isinstance(value, DemoKey)

    def reveal(self) -> str:
        """The value, as a str that shows itself in no ``repr``."""
        return self._value

    def bearer(self) -> dict[str, str]:
        """The header that carries a key."""
        return {"Authorization": f"Bearer {self._value}"}

    def matches(self, other: Secret) -> bool:
        """Whether both hold the same value."""
        return self._value == other._value

    def hide(self, text: bytes) -> bytes:
        """``text`` with a mark in the value's place: an answer may repeat what was sent.

        The beginning of the value at the end of ``text`` is hidden, too: an answer may break off there. A value of fewer than
        eight characters is a placeholder ("x", "null") and stays: without it no word would be left whole.
        """
        if len(self._value) < SHORTEST_KEY:
            return text
        mark = MARK.encode()
        # As it is, as JSON may escape it, and as it stands in an address.
        for form in {self._value, self._value.replace("/", "\\/"), quote(self._value, safe="")}:
            text = _without(text, form.encode(), mark)
        return text

    def fingerprint(self) -> str:
        """A name for the value that is the same all over this process and means nothing outside of it."""
        return hashlib.blake2b(self._value.encode(), key=_SALT, digest_size=16).hexdigest()

    def __repr__(self) -> str:
        return MARK

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be pickled")


def _without(text: bytes, secret: bytes, mark: bytes) -> bytes:
    text = text.replace(secret, mark)
    at = text.find(secret[:SHORTEST_KEY], max(0, len(text) - len(secret)))
    while at >= 0 and not secret.startswith(text[at:]):
        at = text.find(secret[:SHORTEST_KEY], at + 1)
    return text if at < 0 else text[:at] + mark


def to_key(value: object, source: str) -> Secret:
    """A key, checked and wrapped.

    Args:
        value: as its source gave it: a str, or an object with ``get_secret_value`` (pydantic's ``SecretStr``).
        source: where it came from, for messages.

    Raises:
        KeyFormatError: it cannot be a header value; the message says why and never shows it.
    """
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    problem = _problem(value)
    if problem or not isinstance(value, str):
        del value  # a traceback that shows locals must not show it
        raise KeyFormatError(f"the key from {source} {problem}")
    return Secret(value, source)


def _problem(value: object) -> str | None:
    if not isinstance(value, str):
        return f"is a {type(value).__name__}, not a str: give the key itself or a callable that returns it"
    if not value:
        return "is empty: give a key, or leave it out"
    copied = [what for what, pattern in _COPIED_ALONG if pattern.search(value)]
    if copied:
        return f"has {' and '.join(copied)}: give the key alone"
    if not value.isascii():
        return "has a letter outside ASCII: it was not copied whole or rightly"
    if not _HEADER_SAFE.fullmatch(value):
        return "has a space or a control character: it was not copied whole or rightly"
    return None
