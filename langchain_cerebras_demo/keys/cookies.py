"""Stored cookies, and which of them a browser would send to the session endpoint: those and no others are taken.

The rules are those of RFC 6265 section 5.4 (host, path, expiry) and of the ``__Host-`` prefix
(https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Set-Cookie#cookie_prefixes), with hosts compared as
whole strings: ``notcerebras.ai`` and ``cerebras.ai.evil.test`` are somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from langchain_cerebras_demo.keys.secret import HiddenCookie

HOSTS = ("inference.cerebras.ai", ".inference.cerebras.ai", ".cerebras.ai")
"""The hosts whose cookies may be read, as browsers store them: with a dot in front where subdomains share it."""

NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""What a cookie's name may be: a token, RFC 6265 section 4.1.1."""

VALUE = re.compile(r"[\x20-\x3a\x3c-\x7e]*")
"""What of a value goes into a header: wider than the RFC's cookie-octet, as browsers are; never ``;`` or a break."""

_PATH = "/api/auth/session"

_SESSION_NAME = re.compile(r"(__Secure-|__Host-)?(next-auth|authjs)\.session-token(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Cookie:
    """One cookie as a browser or a file keeps it.

    Args:
        host: as stored; see ``HOSTS``.
        name: its name.
        value: its value; ``repr`` never shows it.
        path: where on the host it belongs.
        expires: Unix time in seconds, ``None`` for one that ends with the browser.
        last_used: Unix time in seconds when the browser last sent or set it; 0 where that is unknown.
    """

    host: str
    name: str
    value: str = field(repr=False)
    path: str = "/"
    expires: float | None = None
    last_used: float = 0.0


def to_session(cookies: Iterable[Cookie], now: float) -> dict[str, str]:
    """Names and values of the cookies that a browser would send to the session endpoint at the Unix time ``now``.

    Of two with one name the one with the longer path wins, then the one of the narrower host.
    """
    belonging = [cookie for cookie in cookies if _belongs(cookie, now)]
    belonging.sort(key=lambda cookie: (len(cookie.path), -HOSTS.index(cookie.host)))
    return {cookie.name: HiddenCookie(cookie.value) for cookie in belonging}


def is_session_cookie(name: str) -> bool:
    """Whether a cookie of this name is the session itself, or a numbered piece of it, by the names of NextAuth and Auth.js."""
    return _SESSION_NAME.fullmatch(name) is not None


def is_expired(cookie: Cookie, now: float) -> bool:
    """Whether the cookie's time is over at the Unix time ``now``."""
    return cookie.expires is not None and cookie.expires <= now


def _belongs(cookie: Cookie, now: float) -> bool:
    if cookie.host not in HOSTS or not cookie.value or is_expired(cookie, now):
        return False
    if not NAME.fullmatch(cookie.name) or not VALUE.fullmatch(cookie.value):
        return False  # no header can carry it: one odd preference must not cost the session
    if cookie.name.startswith("__Host-") and (cookie.host.startswith(".") or cookie.path != "/"):
        return False  # no browser would have kept it
    return cookie.path == _PATH or _PATH.startswith(cookie.path.rstrip("/") + "/")
