"""The small file beside the output: which settings made it, and whose it is at the moment."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from langchain_cerebras_demo.bulk.fingerprint import differences
from langchain_cerebras_demo.bulk.problems import BulkOutputError

_VERSION = 1


class Journal:
    """``<output>.journal``: one line of JSON with the settings, then one a run with how it ended.

    It is locked while a run has it; the system lets go of the lock when the process ends, however it ends.

    Args:
        output: the output file.

    Raises:
        BulkOutputError: another run has it, or it cannot be opened.
    """

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.journal")
        self._output = output
        self._file = _open(self.path)
        try:
            _lock(self._file)
        except OSError as error:
            os.close(self._file)
            if isinstance(error, BlockingIOError | PermissionError):
                raise BulkOutputError(
                    f"another run is writing {str(output)!r}: wait for its end, or name another output"
                ) from None
            raise BulkOutputError(
                f"{str(self.path)!r} cannot be locked: {error.strerror}: name another folder"
            ) from None

    def settings(self) -> dict[str, Any] | None:
        """What made the output; ``None`` where the file is new, or its first line was not finished.

        Raises:
            BulkOutputError: it is no journal of ours.
        """
        first, end, _ = self.path.read_bytes().partition(b"\n")
        if not end:
            return None
        try:
            header = orjson.loads(first)
            settings: dict[str, Any] = header["settings"]
            if header["version"] == _VERSION:
                return settings
        except (orjson.JSONDecodeError, TypeError, KeyError):
            pass
        raise BulkOutputError(
            f"{str(self.path)!r} is no journal that this version can read: name another output, or move it away"
        )

    def begin(self, settings: Mapping[str, Any]) -> None:
        """A new output begins: the settings become the first line, and it is on the disk when this returns.

        Raises:
            BulkOutputError: as ``note``.
        """
        os.ftruncate(self._file, 0)
        self.note({"version": _VERSION, "settings": settings})

    def note(self, fact: Mapping[str, Any]) -> None:
        """One more line.

        Raises:
            BulkOutputError: the disk is full.
        """
        try:
            os.lseek(self._file, 0, os.SEEK_END)
            os.write(self._file, orjson.dumps(fact) + b"\n")
            os.fsync(self._file)
        except OSError as error:
            raise BulkOutputError(f"{str(self.path)!r} cannot be written: {error.strerror}") from None

    def check(self, settings: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        """Refuses other settings than those that made the output.

        Raises:
            BulkOutputError: names every difference.
        """
        changed = differences(before, settings)
        if changed:
            raise BulkOutputError(
                f"{str(self._output)!r} was made with other settings: {'; '.join(changed)}. Resume with the same, or name another output"
            )

    def close(self) -> None:
        """Lets go of the output. A journal in which nothing was written goes away."""
        if os.fstat(self._file).st_size == 0:
            with contextlib.suppress(OSError):  # Windows removes no open file
                self.path.unlink()
        os.close(self._file)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as error:
        raise BulkOutputError(f"{str(path)!r} cannot be written: {error.strerror}") from None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, 1 << 30, os.SEEK_SET)  # a byte that nobody writes: a locked one cannot be read
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
