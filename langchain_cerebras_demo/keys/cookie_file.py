"""Cookies in a file: Netscape's cookies.txt, or the JSON that cookie-export extensions write.

The way out where a browser's own store cannot be read. The formats: https://curl.se/docs/http-cookies.html for the first,
with the ``#HttpOnly_`` mark that browsers' exports add; for the second a list of objects with ``domain``, ``name``,
``value``, ``path`` and ``expirationDate`` (EditThisCookie, Cookie-Editor), or such a list as ``cookies`` of an object
(Playwright's and Puppeteer's storage state, with ``expires``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from langchain_cerebras_demo.keys.cookies import HOSTS, Cookie
from langchain_cerebras_demo.keys.secret import HiddenCookie

MAX_BYTES = 16 * 1024 * 1024
"""An export of a whole browser is some MiB; above this it is no such thing."""

_HTTP_ONLY = "#HttpOnly_"
_FIELDS = 7


def read_cookie_file(path: Path) -> list[Cookie]:
    """The cookies of our hosts in the file; all others are dropped unseen.

    Raises:
        OSError: it cannot be read.
        ValueError: it is neither of the two formats; the message names the line, never its content.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    problem = None
    try:
        return _parsed(content)
    except ValueError as error:
        problem = str(error)
    finally:
        del content  # a traceback that shows locals must not show them
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
            raise ValueError(f"line {number} has not the seven fields of a cookies.txt, with tabs between them")
        domain, with_subdomains, path, _secure, expires, name, value = fields
        # 0 is curl's word for a cookie that ends with the browser.
        yield _to_cookie(domain, name, value, path, float(expires) or None, is_shared=with_subdomains.upper() == "TRUE")


def _from_json(text: str) -> Iterator[Cookie]:
    try:
        found: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValueError("it is no valid JSON") from None
    rows = found.get("cookies") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise ValueError("its JSON is no list of cookies, nor an object with such a list as `cookies`")  # noqa: TRY004 - of the file
    for number, row in enumerate(rows, start=1):
        problem = _problem(row)
        if problem:
            raise ValueError(f"cookie {number} of its JSON {problem}")
        expires = row.get("expirationDate", row.get("expires"))
        is_dated = isinstance(expires, int | float) and expires >= 0  # -1 is Playwright's word for none
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
        return "is no object"
    missing = [name for name in ("domain", "name", "value") if not isinstance(row.get(name), str)]
    if missing:
        return f"has no text as {missing[0]!r}"
    return "" if isinstance(row.get("path", "/"), str) else "has a path that is no text"


def _to_cookie(domain: str, name: str, value: str, path: str, expires: float | None, *, is_shared: bool) -> Cookie:
    """With the host as browsers store it: a dot in front where subdomains share the cookie."""
    host = domain.strip().lower().removeprefix(".")
    return Cookie(f".{host}" if is_shared else host, name, HiddenCookie(value), path, expires)
