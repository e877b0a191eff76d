"""Answer headers: the rate limits and the wish to be left alone for a while.

Names and units: https://inference-docs.cerebras.ai/support/rate-limits. Since 2026 an answer carries a limit and what is left of it,
for requests and tokens, a minute, an hour and a day; in 2025 it was requests a day and tokens a minute, with resets in float
seconds. ``retry-after`` is HTTP's own (RFC 9110, 10.2.3), ``retry-after-ms`` the SDKs' finer one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache

from langchain_cerebras_demo.records import AnnouncedLimit, Limit, RateLimitSnapshot

# A limit beyond any account's; above it a header is a mistake and not a figure.
_MAX_FIGURE = 1e15

_MAX_WAIT_SECONDS = 366 * 86_400.0


_WINDOWS = tuple(limit for limit in Limit if limit.unit)

# The place of each header's figure: of which window it is, and which of the three figures.
_PLACES = {
    f"x-ratelimit-{figure}-{limit.unit}-{limit.period}": (window, place)
    for window, limit in enumerate(_WINDOWS)
    for place, figure in enumerate(("limit", "remaining", "reset"))
}


def to_snapshot(headers: Mapping[str, str]) -> RateLimitSnapshot:
    """Return the rate limits that ``headers`` (names in lower case) announce; a figure that is not a sane number is ``None``."""
    found: dict[int, list[float | None]] = {}
    for name, text in headers.items():
        if (place := _PLACES.get(name)) and (figure := _figure(text)) is not None:
            found.setdefault(place[0], [None, None, None])[place[1]] = figure
    if not found:
        return RateLimitSnapshot()
    windows = (AnnouncedLimit(_WINDOWS[window], *_to_counts(*found[window])) for window in sorted(found))
    return RateLimitSnapshot(tuple(windows), _unix_date(headers.get("date")))


def to_retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """The seconds that the server asks to wait, ``None`` where it asks for nothing readable.

    A date is counted from the answer's own ``date`` header: the server's clock against itself, whatever ours says. Without
    one it is counted from ``now``, the local clock's Unix time in seconds; there a wait of more than a year is a mistake.
    """
    milliseconds = _figure(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    wish = headers.get("retry-after")
    seconds = _figure(wish)
    if seconds is not None or wish is None:
        return seconds
    until, sent = _date(wish), _date(headers.get("date"))
    if until is None:
        return None
    if sent is not None:
        return max(0.0, (until - sent).total_seconds())
    if now is None:
        return None
    wait = until.timestamp() - now
    return max(0.0, wait) if wait <= _MAX_WAIT_SECONDS else None


def to_request_id(headers: Mapping[str, str]) -> str | None:
    """The service's name for the request. Gateways and Cloudflare name it; ``inference-id`` is the answer's own id."""
    names = (headers.get(name, "").strip() for name in ("x-request-id", "cf-ray", "inference-id"))
    return next((to_printable(name) for name in names if name), None)


def to_printable(value: str) -> str:
    r"""A header's value as text that can be printed and logged; other bytes than UTF-8 become escapes such as ``\xe9``."""
    if value.isprintable():
        return value
    # HTTP libraries decode with "surrogateescape", which keeps such bytes as lone surrogates.
    text = value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _date(text: str | None) -> datetime | None:
    """An HTTP date in one of its three forms (RFC 9110, 5.6.7), ``None`` for anything else; without a zone it is GMT."""
    try:
        date = parsedate_to_datetime(text or "")
    except (TypeError, ValueError, OverflowError):
        return None
    if date.tzinfo is None and text and not text.endswith("-0000"):  # mail's sign for an unknown zone
        date = date.replace(tzinfo=timezone.utc)
    return date if date.tzinfo is not None else None


@lru_cache(maxsize=8)  # the header changes once a second
def _unix_date(text: str | None) -> float | None:
    date = _date(text)
    return date.timestamp() if date is not None else None


def _to_counts(
    limit: float | None, remaining: float | None, reset: float | None
) -> tuple[int | None, int | None, float | None]:
    return None if limit is None else int(limit), None if remaining is None else int(remaining), reset


def _figure(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        figure = float(text)
    except ValueError:
        return None
    return figure if math.isfinite(figure) and 0 <= figure <= _MAX_FIGURE else None
