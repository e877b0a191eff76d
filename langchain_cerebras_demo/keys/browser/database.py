"""Reads a browser's cookie database without writing next to it, waiting for its lock, or leaving a copy behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

MAX_BYTES = 256 * 1024 * 1024
"""A cookie database is a few MiB; a larger file or write-ahead log is something else."""

_ATTEMPTS = 4
_PAUSE_SECONDS = 0.05
_LOG_VERSION = (
    2  # bytes 18 and 19 of the header: there may be a write-ahead log, https://www.sqlite.org/fileformat.html
)


class UnreadableError(Exception):
    """A store cannot be read. ``str()`` tells the user why and shows no cookie."""


class VanishedError(UnreadableError):
    """A file does not exist (any more), such as the log of a browser that has just been closed."""


def read(database: Path, reader: Callable[[sqlite3.Connection], T]) -> T:
    """Return the result of ``reader``, which is called again if the browser was writing at that moment.

    Raises:
        UnreadableError: the file is not a plain file of this user, too large, or not a database. The reader's own errors are
            raised, too.
        OSError: the file cannot be read, or no longer exists.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with _opened(database) as connection:
                return reader(connection)
        except sqlite3.DatabaseError as error:
            if "malformed" not in str(error) or attempt == _ATTEMPTS:
                problem = str(error)
                break
        time.sleep(_PAUSE_SECONDS * attempt)
    raise UnreadableError(f"{database.name} cannot be read as a database ({problem})")


@contextmanager
def private_folder() -> Iterator[Path]:
    """Provide a folder of mode 0700 that is removed afterwards, even if this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix="cerebras-demo-"))
    guard = _guard(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if guard is not None:
            guard.communicate()


def create_private(path: Path) -> int:
    """Create a file of mode 0600 and return its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def _guard(folder: Path) -> subprocess.Popen[bytes] | None:
    """Start a shell that removes the folder when this process ends: its standard input is then closed, even after SIGKILL."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            return subprocess.Popen(  # noqa: S603 - the folder is an argument, not a part of the script
                ["/bin/sh", "-c", 'cat >/dev/null; rm -rf -- "$0"', str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # so that signals to our process group do not reach it
            )
    return None


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    with _plain_file(database) as descriptor:
        may_have_log = os.pread(descriptor, 20, 0)[18:] == bytes([_LOG_VERSION] * 2) if hasattr(os, "pread") else True
    if may_have_log:  # Firefox, which holds the lock while it runs: the file and its log are copied
        with private_folder() as folder, closing(sqlite3.connect(_copied(database, folder))) as connection:
            yield connection
    else:  # Chromium: nothing is copied, no lock is taken, nothing is written beside the file
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            yield connection


@contextmanager
def _plain_file(path: Path) -> Iterator[int]:
    """Provide a descriptor of a plain file that belongs to this user: not a link, a pipe, or another user's file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as error:
        raise VanishedError(f"{path.name} cannot be opened ({error.strerror})") from None
    except OSError as error:
        if path.is_symlink():
            raise UnreadableError(f"{path.name} is a link out of its profile, which is not followed") from None
        raise UnreadableError(f"{path.name} cannot be opened ({error.strerror})") from None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise UnreadableError(f"{path.name} is not a plain file")
        if hasattr(os, "getuid") and facts.st_uid != os.getuid():
            raise UnreadableError(f"{path.name} belongs to another user")
        if facts.st_size > MAX_BYTES:
            raise UnreadableError(f"{path.name} is larger than {MAX_BYTES:,} bytes")
        yield descriptor
    finally:
        os.close(descriptor)


def _copied(database: Path, folder: Path) -> Path:
    """Return a consistent copy of the database and its log."""
    log = database.with_name(database.name + "-wal")
    copy = folder / "cookies.sqlite"
    for attempt in range(1, _ATTEMPTS + 1):
        before = _state(database, log)
        _copy(database, copy)
        if before[1] is not None:
            with contextlib.suppress(VanishedError):  # its browser was closed: the states differ
                _copy(log, copy.with_name(copy.name + "-wal"))
        if _state(database, log) == before:
            return copy
        for file in folder.iterdir():
            file.unlink()
        time.sleep(_PAUSE_SECONDS * attempt)
    raise UnreadableError(f"{database.name} kept changing while it was read: try again")


def _state(*files: Path) -> tuple[tuple[int, int] | None, ...]:
    found: list[tuple[int, int] | None] = []
    for file in files:
        try:
            facts = file.stat()
            found.append((facts.st_size, facts.st_mtime_ns))
        except FileNotFoundError:
            found.append(None)
    return tuple(found)


def _copy(source: Path, target: Path) -> None:
    with _plain_file(source) as descriptor, open(create_private(target), "wb") as out:
        left = MAX_BYTES  # it may grow while it is read
        while left > 0 and (piece := os.read(descriptor, min(left, 2**20))):
            out.write(piece)
            left -= len(piece)
    if left <= 0:
        raise UnreadableError(f"{source.name} is larger than {MAX_BYTES:,} bytes")
