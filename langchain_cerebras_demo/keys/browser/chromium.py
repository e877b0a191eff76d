"""The cookies of Chromium's family: encrypted with a key that may be in the desktop's keyring.

``browser_cookie3`` decrypts them. It only gets a private database with the rows of ``HOSTS``, so that no other site's cookie
is decrypted or prevents the reading, and the keyring is used only if a row needs it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_cerebras_demo.keys.browser.database import UnreadableError, create_private, private_folder, read
from langchain_cerebras_demo.keys.browser.profiles import Profile
from langchain_cerebras_demo.keys.cookies import HOSTS, Cookie, is_expired

# Seconds from 1601, where Chromium's microseconds begin, to 1970.
_EPOCH = 11_644_473_600

# What browser_cookie3 reads.
_COLUMNS = ("host_key", "path", "is_secure", "expires_utc", "name", "value", "encrypted_value", "is_httponly")

_OTHER_WAYS = 'sign in with Firefox, give the cookies as a file that an extension exports (cookies="cookies.txt"), or use an API key'
_CLOSED = {
    b"v20": "its cookies can only be decrypted by the browser itself (app-bound encryption)",
    b"v12": "its cookies are encrypted with a key of the desktop's secret portal, which only the browser can use",
}


@dataclass(frozen=True)
class Store:
    """The encrypted cookies of ``HOSTS`` in one profile.

    Args:
        version: the schema's version, by which browser_cookie3 knows how a decrypted value begins.
        rows: the rows.
    """

    version: str
    rows: list[dict[str, Any]] = field(repr=False)

    def cookies(self) -> list[Cookie]:
        """Return the cookies without decrypting their values, which are replaced by a placeholder."""
        return [_to_cookie(row, "encrypted") for row in self.rows]


def read_store(profile: Profile, now: float) -> Store:
    """Return the rows of ``HOSTS`` that are not partitioned and not expired at the Unix time ``now``.

    Raises:
        UnreadableError: the store cannot be read; the message says why.
    """
    return read(profile.database, lambda connection: _read_rows(connection, now))


def decrypt(profile: Profile, store: Store) -> list[Cookie]:
    """Return the cookies with their values, without those that cannot be decrypted.

    Raises:
        UnreadableError: none can be decrypted; the message says why and what to do.
    """
    cookies: list[Cookie] = []
    problems = [_CLOSED[prefix] for prefix in _CLOSED if any(_prefix(row) == prefix for row in store.rows)]
    for needs_keyring in (False, True):
        rows = [row for row in store.rows if _prefix(row) not in _CLOSED and _needs_keyring(row) is needs_keyring]
        if not rows:
            continue
        try:
            with private_folder() as folder:
                cookies += _decrypt_rows(profile, Store(store.version, rows), folder, needs_keyring=needs_keyring)
        except UnreadableError as error:
            problems.append(str(error))
    if not cookies:
        raise UnreadableError(f"{problems[0] if problems else 'it has no cookies'}: {_OTHER_WAYS}")
    return cookies


def _read_rows(connection: sqlite3.Connection, now: float) -> Store:
    connection.text_factory = lambda raw: raw.decode(
        "utf-8", "replace"
    )  # one invalid row must not prevent reading the others
    known = {name for _, name, *_ in connection.execute("PRAGMA table_info(cookies)")}
    if not known.issuperset(_COLUMNS):
        raise UnreadableError("it does not have Chromium's tables")
    columns = (*_COLUMNS, *(one for one in ("last_access_utc", "top_frame_site_key") if one in known))
    query = f"SELECT {', '.join(columns)} FROM cookies WHERE host_key IN ({', '.join('?' * len(HOSTS))})"  # noqa: S608 - our own words
    rows = [dict(zip(columns, row, strict=True)) for row in connection.execute(query, HOSTS)]
    version = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    usable = [row for row in rows if _is_usable(row, now)]
    return Store(str(version[0]) if version else "0", usable)


def _is_usable(row: dict[str, Any], now: float) -> bool:
    has_value = bool(row["value"]) or (isinstance(row["encrypted_value"], bytes) and len(row["encrypted_value"]) > 3)
    is_sound = isinstance(row["expires_utc"], int) and isinstance(row["name"], str) and isinstance(row["path"], str)
    return has_value and is_sound and not row.get("top_frame_site_key") and not is_expired(_to_cookie(row, ""), now)


def _to_cookie(row: dict[str, Any], value: str) -> Cookie:
    used = row.get("last_access_utc")
    return Cookie(
        row["host_key"],
        row["name"],
        value,
        row["path"],
        row["expires_utc"] / 1_000_000 - _EPOCH if row["expires_utc"] else None,
        used / 1_000_000 - _EPOCH if isinstance(used, int) and used else 0.0,
    )


def _prefix(row: dict[str, Any]) -> bytes:
    return b"" if row["value"] else bytes(row["encrypted_value"])[:3]


def _needs_keyring(row: dict[str, Any]) -> bool:
    """Return whether decrypting needs the keyring; on Linux, v10 uses a fixed password instead."""
    return sys.platform in {"darwin", "win32"} or _prefix(row) == b"v11"


def _decrypt_rows(profile: Profile, store: Store, folder: Path, *, needs_keyring: bool) -> list[Cookie]:
    file = folder / "cookies"
    _write(file, store)
    try:
        decryptor = _make_keyring_decryptor(profile, file) if needs_keyring else _make_fixed_decryptor(file)
    except Exception as error:  # noqa: BLE001 - KeyError, ValueError, OSError and others
        problem = _keyring_problem(error)
    else:
        with contextlib.suppress(Exception):
            return _load(decryptor, store)
        # One invalid row fails the whole database: try each row alone.
        cookies = []
        for number, row in enumerate(store.rows):
            one = Store(store.version, [row])
            decryptor.cookie_file = str(folder / str(number))
            _write(folder / str(number), one)
            with contextlib.suppress(Exception):
                cookies += _load(decryptor, one)
        if cookies:
            return cookies
        problem = "its cookies cannot be decrypted with the key found" + (
            "; is the keyring locked?" if needs_keyring else ""
        )
    raise UnreadableError(problem)


def _write(file: Path, store: Store) -> None:
    """Write the private database: these rows in the tables that browser_cookie3 reads."""
    os.close(create_private(file))
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(f"CREATE TABLE cookies ({', '.join(_COLUMNS)})")
        connection.execute("CREATE TABLE meta (key, value)")
        connection.execute("INSERT INTO meta VALUES ('version', ?)", (store.version,))
        connection.executemany(
            f"INSERT INTO cookies VALUES ({', '.join('?' * len(_COLUMNS))})",  # noqa: S608 - question marks
            [[row[column] for column in _COLUMNS] for row in store.rows],
        )


def _make_keyring_decryptor(profile: Profile, file: Path) -> Any:
    import browser_cookie3  # noqa: PLC0415 - the extra `browser`; 0.2 s

    key_file = next((up / "Local State" for up in profile.database.parents if (up / "Local State").exists()), None)
    return getattr(browser_cookie3, profile.browser)(cookie_file=str(file), key_file=key_file and str(key_file))


def _make_fixed_decryptor(file: Path) -> Any:
    import browser_cookie3  # noqa: PLC0415 - as above

    # Made without its constructor, which asks the keyring first and fails without D-Bus
    # (https://github.com/borisbabic/browser_cookie3/issues/206).
    decryptor = object.__new__(browser_cookie3.ChromiumBased)
    decryptor.browser, decryptor.cookie_file, decryptor.domain_name = "", str(file), ""
    decryptor.salt, decryptor.iv, decryptor.length = b"saltysalt", b" " * 16, 16
    # A fixed password by design: components/os_crypt/sync/os_crypt_linux.cc of Chromium.
    decryptor.v10_key = hashlib.pbkdf2_hmac("sha1", browser_cookie3.CHROMIUM_DEFAULT_PASSWORD, b"saltysalt", 1, 16)
    return decryptor


def _load(decryptor: Any, store: Store) -> list[Cookie]:
    values = {(one.domain, one.path, one.name): one.value for one in decryptor.load()}
    rows = [(row, values.get((row["host_key"], row["path"], row["name"]))) for row in store.rows]
    return [_to_cookie(row, value) for row, value in rows if isinstance(value, str) and value]


def _keyring_problem(error: Exception) -> str:
    if sys.platform == "darwin":
        return "the keychain did not return the key of its cookies"
    if sys.platform == "win32":
        return "Windows did not return the key of its cookies"
    if not os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        why = "there is no D-Bus session: DBUS_SESSION_BUS_ADDRESS is not set"
    else:
        why = f"it is locked or not running: {type(error).__name__}"
    return f"its cookies are encrypted with a key in the desktop's keyring, which could not be read ({why})"
