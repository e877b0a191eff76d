"""Headers of answers: rate limits, the wait before a retry, and the request's id.

Names and units: https://inference-docs.cerebras.ai/support/rate-limits. Since 2026, answers have the limit and the remainder
for requests and tokens, per minute, hour and day; in 2025, for requests per day and tokens per minute, with resets in seconds
as floats. ``retry-after`` is that of HTTP (RFC 9110, 10.2.3), ``retry-after-ms`` a finer one of the SDKs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache

from langchain_cerebras_demo.records import AnnouncedLimit, Limit, RateLimitSnapshot

# Higher than any account's limit: a larger figure is a mistake.
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
    """Return the seconds that the server asks to wait; ``None`` if the header is missing or cannot be read.

    A date is compared with the answer's own ``date`` header, so that the local clock does not matter. Without that header,
    it is compared with ``now``, the local clock's Unix time in seconds; then, more than a year is ignored as a mistake.
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
    """Return the service's id for the request, from a gateway or Cloudflare, else ``inference-id``, the answer's own id."""
    names = (headers.get(name, "").strip() for name in ("x-request-id", "cf-ray", "inference-id"))
    return next((to_printable(name) for name in names if name), None)


def to_printable(value: str) -> str:
    r"""Return a header's value as text that can be printed and logged; invalid UTF-8 becomes escapes such as ``\xe9``."""
    if value.isprintable():
        return value
    # HTTP libraries decode with "surrogateescape", which keeps such bytes as lone surrogates.
    text = value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _date(text: str | None) -> datetime | None:
    """Return an HTTP date in one of its three forms (RFC 9110, 5.6.7); without a zone, it is GMT. Otherwise ``None``."""
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
