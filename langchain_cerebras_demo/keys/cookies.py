"""Cookies of cerebras.ai: selects those that a browser would send to the session endpoint, and reads cookie files.

The rules for sending are those of RFC 6265 section 5.4 (host, path, expiry) and of the ``__Host-`` prefix
(https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Set-Cookie#cookie_prefixes). Hosts are compared as whole
strings: ``notcerebras.ai`` and ``cerebras.ai.evil.test`` belong to others.

Files, for browsers whose own store cannot be read, are Netscape's cookies.txt (https://curl.se/docs/http-cookies.html, with
the ``#HttpOnly_`` mark that browsers' exports add) or the JSON that cookie-export extensions write: a list of objects with
``domain``, ``name``, ``value``, ``path`` and ``expirationDate`` (EditThisCookie, Cookie-Editor), or an object with such a list
as ``cookies`` (Playwright's and Puppeteer's storage state, with ``expires``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from langchain_cerebras_demo.keys.secret import HiddenCookie

HOSTS = ("inference.cerebras.ai", ".inference.cerebras.ai", ".cerebras.ai")
"""The hosts whose cookies may be read, as browsers store them: a leading dot means that subdomains share the cookie."""

NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""A valid cookie name: a token of RFC 6265 section 4.1.1."""

VALUE = re.compile(r"[\x20-\x3a\x3c-\x7e]*")
"""A value that a header can carry: wider than the RFC's cookie-octet, as in browsers, but without ``;`` and line breaks."""

_PATH = "/api/auth/session"

_SESSION_NAME = re.compile(r"(__Secure-|__Host-)?(next-auth|authjs)\.session-token(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Cookie:
    """One cookie as a browser or a file stores it.

    Args:
        host: as stored; see ``HOSTS``.
        name: its name.
        value: its value; ``repr`` never shows it.
        path: the path on the host.
        expires: Unix time in seconds, ``None`` if it ends with the browser.
        last_used: Unix time in seconds when the browser last sent or set it; 0 if unknown.
    """

    host: str
    name: str
    value: str = field(repr=False)
    path: str = "/"
    expires: float | None = None
    last_used: float = 0.0


def to_session(cookies: Iterable[Cookie], now: float) -> dict[str, str]:
    """Return names and values of the cookies that a browser would send to the session endpoint at the Unix time ``now``.

    Of two with the same name, the one with the longer path wins, then the one with the narrower host.
    """
    belonging = [cookie for cookie in cookies if _belongs(cookie, now)]
    belonging.sort(key=lambda cookie: (len(cookie.path), -HOSTS.index(cookie.host)))
    return {cookie.name: HiddenCookie(cookie.value) for cookie in belonging}


def is_session_cookie(name: str) -> bool:
    """Return whether a cookie of this name is the session of NextAuth or Auth.js, or a numbered piece of it."""
    return _SESSION_NAME.fullmatch(name) is not None


def is_expired(cookie: Cookie, now: float) -> bool:
    """Return whether the cookie has expired at the Unix time ``now``."""
    return cookie.expires is not None and cookie.expires <= now


def _belongs(cookie: Cookie, now: float) -> bool:
    if cookie.host not in HOSTS or not cookie.value or is_expired(cookie, now):
        return False
    if not NAME.fullmatch(cookie.name) or not VALUE.fullmatch(cookie.value):
        return False  # no header can carry it; one odd cookie must not spoil the session
    if cookie.name.startswith("__Host-") and (cookie.host.startswith(".") or cookie.path != "/"):
        return False  # no browser would have stored it
    return cookie.path == _PATH or _PATH.startswith(cookie.path.rstrip("/") + "/")


MAX_BYTES = 16 * 1024 * 1024
"""An export of a whole browser is a few MiB; a larger file is something else."""

_HTTP_ONLY = "#HttpOnly_"
_FIELDS = 7


def read_cookie_file(path: Path) -> list[Cookie]:
    """Return the cookies of ``HOSTS`` in the file; all others are ignored.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file has neither of the two formats; the message names the line, never its content.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    problem = None
    try:
        return _parsed(content)
    except ValueError as error:
        problem = str(error)
    finally:
        del content  # tracebacks that show locals must not show them
    raise ValueError(problem)


def _parsed(content: bytes) -> list[Cookie]:
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    is_json = text.lstrip()[:1] in {"[", "{"}
    return [cookie for cookie in (_from_json(text) if is_json else _from_netscape(text)) if cookie.host in HOSTS]


def _from_netscape(text: str) -> Iterator[Cookie]:
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.removeprefix(_HTTP_ONLY)
        if not entry.strip() or entry.startswith("#"):
            continue
        fields = entry.split("\t")
        if len(fields) != _FIELDS or not fields[4].strip().removeprefix("-").replace(".", "", 1).isdecimal():
            raise ValueError(f"line {number} does not have the seven fields of a cookies.txt, separated by tabs")
        domain, with_subdomains, path, _secure, expires, name, value = fields
        # In curl's format, 0 means a cookie that ends with the browser.
        yield _to_cookie(domain, name, value, path, float(expires) or None, is_shared=with_subdomains.upper() == "TRUE")


def _from_json(text: str) -> Iterator[Cookie]:
    try:
        found: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValueError("it is not valid JSON") from None
    rows = found.get("cookies") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise ValueError("its JSON is neither a list of cookies nor an object with such a list as `cookies`")  # noqa: TRY004 - of the file
    for number, row in enumerate(rows, start=1):
        problem = _problem(row)
        if problem:
            raise ValueError(f"cookie {number} of its JSON {problem}")
        expires = row.get("expirationDate", row.get("expires"))
        is_dated = isinstance(expires, int | float) and expires >= 0  # Playwright writes -1 for none
        is_shared = not row.get("hostOnly", not row["domain"].startswith("."))
        yield _to_cookie(
            row["domain"],
            row["name"],
            row["value"],
            row.get("path", "/"),
            float(expires) if is_dated else None,
            is_shared=is_shared,
        )


def _problem(row: Any) -> str:
    if not isinstance(row, dict):
        return "is not an object"
    missing = [name for name in ("domain", "name", "value") if not isinstance(row.get(name), str)]
    if missing:
        return f"has no text as {missing[0]!r}"
    return "" if isinstance(row.get("path", "/"), str) else "has a path that is not text"


def _to_cookie(domain: str, name: str, value: str, path: str, expires: float | None, *, is_shared: bool) -> Cookie:
    """Return the cookie with its host as browsers store it: a leading dot means that subdomains share it."""
    host = domain.strip().lower().removeprefix(".")
    return Cookie(f".{host}" if is_shared else host, name, HiddenCookie(value), path, expires)
