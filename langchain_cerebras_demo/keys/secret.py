"""A key or a cookie in memory: it is shown nowhere but in the header that carries it."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, SupportsIndex
from urllib.parse import quote

from langchain_cerebras_demo.errors import KeyFormatError

MARK = "**********"

SHORTEST_KEY = 8
"""No service has shorter keys; a shorter one is sent, but not searched for in answers."""

_SALT = os.urandom(32)
# Text that is often copied along with a key. It is refused instead of removed, so that the source gets corrected.
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
    """A str whose slices are hidden, too: a debugger may shorten a long text before it shows it."""

    __slots__ = ()

    def __getitem__(self, key: SupportsIndex | slice[Any, Any, Any]) -> _Hidden:
        return type(self)(super().__getitem__(key))


class HiddenKey(_Hidden):
    """A key as a str whose ``repr`` is a mark: it must be a local variable at times, and tracebacks may show those."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<key>"


class DemoKey(HiddenKey):
    """The key of a signed-in session. It is sent to cerebras.ai over https only, whichever code passes it on.

    The type marks the value, also through the user's own resolvers. ``repr`` shows a mark.
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
    """A holder of one value that only ``reveal`` returns. It cannot be pickled, and its ``repr`` is a fixed mark.

    Args:
        value: the key or the cookie header.
        source: where it came from, for messages.
    """

    __slots__ = ("_fingerprint", "_forms", "_value", "demo", "source")

    def __init__(self, value: str, source: str) -> None:
        self._value = value if isinstance(value, HiddenKey) else HiddenKey(value)
        self._fingerprint = ""
        self._forms: frozenset[bytes] | None = None
        self.source = source
        self.demo = isinstance(value, DemoKey)

    def reveal(self) -> str:
        """Return the value, as a str whose ``repr`` is a mark."""
        return self._value

    def bearer(self) -> dict[str, str]:
        """Return the header that carries a key."""
        return {"Authorization": f"Bearer {self._value}"}

    def matches(self, other: Secret) -> bool:
        """Return whether both hold the same value."""
        return self._value == other._value

    def hide(self, text: bytes) -> bytes:
        """Return ``text`` with the value replaced by a mark: an answer may repeat what was sent.

        A beginning of the value at the end of ``text`` is hidden, too: an answer may be cut off there. A value of fewer than
        eight characters is a placeholder ("x", "null") and is kept, because hiding it would hide parts of ordinary words.
        """
        if len(self._value) < SHORTEST_KEY:
            return text
        if self._forms is None:
            # Unchanged, as JSON may escape it, and as a URL quotes it.
            forms = (self._value, self._value.replace("/", "\\/"), quote(self._value, safe=""))
            self._forms = frozenset(form.encode() for form in forms)
        for form in self._forms:
            text = _without(text, form, MARK.encode())
        return text

    def fingerprint(self) -> str:
        """Return a name for the value that is the same everywhere in this process and meaningless outside of it."""
        if not self._fingerprint:
            self._fingerprint = hashlib.blake2b(self._value.encode(), key=_SALT, digest_size=16).hexdigest()
        return self._fingerprint

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
    """Return a key, checked and wrapped.

    Args:
        value: from its source: a str, or an object with ``get_secret_value`` (pydantic's ``SecretStr``).
        source: where it came from, for messages.

    Raises:
        KeyFormatError: it cannot be a header value; the message says why and never shows it.
    """
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    problem = _problem(value)
    if problem or not isinstance(value, str):
        del value  # tracebacks that show locals must not show it
        raise KeyFormatError(f"the key from {source} {problem}")
    return Secret(value, source)


def _problem(value: object) -> str | None:
    if not isinstance(value, str):
        return f"is a {type(value).__name__}, not a str: pass the key itself or a callable that returns it"
    if not value:
        return "is empty: pass a key, or omit it"
    copied = [what for what, pattern in _COPIED_ALONG if pattern.search(value)]
    if copied:
        return f"has {' and '.join(copied)}: pass the key alone"
    if not value.isascii():
        return "has a character outside ASCII: it was not copied correctly"
    if not _HEADER_SAFE.fullmatch(value):
        return "has a space or a control character: it was not copied correctly"
    return None
