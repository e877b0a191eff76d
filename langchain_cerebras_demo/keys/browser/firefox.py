"""Firefox's cookies: plain text in SQLite; while Firefox runs, the newest ones are only in the write-ahead log."""

from __future__ import annotations

import sqlite3
from urllib.parse import parse_qsl

from langchain_cerebras_demo.keys.browser.database import UnreadableError, read
from langchain_cerebras_demo.keys.browser.profiles import Profile
from langchain_cerebras_demo.keys.cookies import HOSTS, Cookie

# From this schema version (Firefox 142), the expiry is in milliseconds instead of seconds.
_MILLISECONDS_SINCE = 16

_QUERY = (
    "SELECT host, name, value, path, expiry, lastAccessed, originAttributes FROM moz_cookies WHERE host IN (?, ?, ?)"
)

Jars = dict[str, list[Cookie]]
"""The cookies of each container by its name; the empty name stands for no container."""


def read_jars(profile: Profile) -> Jars:
    """Return the cookies of ``HOSTS`` by container, without those of partitions and private windows.

    Raises:
        UnreadableError: the store cannot be read; the message says why.
    """
    return read(profile.database, _read_rows)


def _read_rows(connection: sqlite3.Connection) -> Jars:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    unit = 1000 if version >= _MILLISECONDS_SINCE else 1
    connection.text_factory = lambda raw: raw.decode(
        "utf-8", "replace"
    )  # one invalid row must not prevent reading the others
    try:
        rows = connection.execute(_QUERY, HOSTS).fetchall()
    except sqlite3.OperationalError as error:
        raise UnreadableError(f"it does not have Firefox's tables ({error})") from None
    jars: Jars = {}
    for host, name, value, path, expiry, last_accessed, attributes in rows:
        is_text = all(isinstance(one, str) for one in (name, value, path, attributes or ""))
        if not is_text or not isinstance(expiry, int | float) or not isinstance(last_accessed, int | float):
            continue
        container = _container(attributes or "")
        if container is None:
            continue
        cookie = Cookie(host, name, value, path, expiry / unit, last_accessed / 1_000_000)
        jars.setdefault(container, []).append(cookie)
    return jars


def _container(attributes: str) -> str | None:
    """Return a container's number, ``""`` for no container, or ``None`` for a cookie of a partition or a private window."""
    found = dict(parse_qsl(attributes.removeprefix("^")))
    if found.pop("firstPartyDomain", "cerebras.ai") != "cerebras.ai":
        return None
    container = found.pop("userContextId", "")
    return None if found else container  # partitionKey, privateBrowsingId, later ones
