"""The output file: one line for each answered row, appended and never changed.

A record is written to the system as soon as the answer arrives: a killed process loses only the requests in flight. The file
is synced every few seconds and at the end: a power cut loses no more than that, and a resumed run removes a torn line. Rows
that failed are in ``<output>.failures.jsonl``, which every run begins anew; a resumed run sends them again.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from langchain_cerebras_demo.bulk.errors import BulkOutputError
from langchain_cerebras_demo.bulk.journal import Journal
from langchain_cerebras_demo.bulk.records import BulkRecord
from langchain_cerebras_demo.bulk.rows import IdIndex

SYNC_SECONDS = 5.0
"""The seconds of answers that a power cut can lose."""

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_UNSYNCABLE = {errno.EINVAL, errno.ENOTSUP, errno.EROFS}  # a pipe or a device, which has nothing to sync


class Output:
    """The files of one run. It has to be closed.

    Args:
        path: the output file; the journal and the failures are beside it.
        settings: what the answers depend on.
        resume: whether an existing output is continued; if there is none, a new one is begun.
        source: the input file, if it is one.

    Attributes:
        done: the ids of the rows that an earlier run has answered.

    Raises:
        BulkOutputError: the folder is missing or not writable; the input would be overwritten; there is an output and
            ``resume`` is False; another run uses it, or it was made with other settings.
    """

    def __init__(
        self, path: Path, settings: Mapping[str, Any], *, resume: bool = False, source: Path | None = None
    ) -> None:
        self.path = path
        self.failures_path = failures_path(path)
        check_place(path, source)
        with contextlib.ExitStack() as undo:
            self._journal = Journal(path)
            undo.callback(self._journal.close)
            self._open(settings, resume=resume)
            self.done = mend(path)
            undo.callback(self.done.close)
            self._records = _AppendOnly(path)
            undo.pop_all()
        self._failures: _AppendOnly | None = None

    def _open(self, settings: Mapping[str, Any], *, resume: bool) -> None:
        exists = self.path.exists() and self.path.stat().st_size > 0
        if exists and not resume:
            raise BulkOutputError(f"{str(self.path)!r} exists already: resume it, or name another output")
        before = self._journal.settings() if exists else None
        if exists and before is None:
            raise BulkOutputError(
                f"{str(self.path)!r} has no journal ({self._journal.path.name!r}), so its settings are unknown: "
                "name another output"
            )
        if before is None:
            os.close(_open_to_append(self.path))
            self._journal.begin(settings)
            _sync_folder(self.path.parent)
        else:
            self._journal.check(settings, before)
        self.failures_path.unlink(missing_ok=True)

    def write(self, record: BulkRecord) -> None:
        """Write a record to the output, or to the failures if its row failed.

        Raises:
            BulkOutputError: the disk is full, or the file cannot be written any more; no part of the line remains.
        """
        if record.is_good:
            self._records.append(record.to_json())
            return
        if self._failures is None:
            self._failures = _AppendOnly(self.failures_path)
        self._failures.append(record.to_json())

    def sync(self) -> None:
        """Sync everything written so far; it may be called on another thread.

        Raises:
            BulkOutputError: the disk refuses.
        """
        self._records.sync()

    def close(self, ending: Mapping[str, Any] | None = None) -> None:
        """Sync and close the files.

        Args:
            ending: how the run ended, for the journal.
        """
        try:
            self._records.close()
            if self._failures is not None:
                self._failures.close()
            if ending is not None:
                with contextlib.suppress(BulkOutputError):  # the disk is full: the records matter more
                    self._journal.note(ending)
        finally:
            self.done.close()
            self._journal.close()


class _AppendOnly:
    """A file to which lines are appended, completely or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open_to_append(path)
        self._end = os.fstat(self._file).st_size
        self._is_dirty = False

    def append(self, line: bytes) -> None:
        data = line + b"\n"
        try:
            written = os.write(self._file, data)
            if written < len(data):  # the disk is nearly full: writing the rest raises the reason
                os.write(self._file, data[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise self._problem(error) from None
        self._end += len(data)
        self._is_dirty = True

    def sync(self) -> None:
        if self._is_dirty:
            self._is_dirty = False
            try:
                os.fsync(self._file)
            except OSError as error:
                if error.errno not in _UNSYNCABLE:
                    raise self._problem(error) from None

    def close(self) -> None:
        try:
            self.sync()
        finally:
            os.close(self._file)

    def _problem(self, error: OSError) -> BulkOutputError:
        why = "the disk is full" if error.errno in _FULL else str(error.strerror)
        return BulkOutputError(
            f"{str(self._path)!r} cannot be written: {why}. Earlier answers are kept: free some space and resume"
        )


class _Line(NamedTuple):
    start: int
    end: int
    id: str | int | None  # None: not the record of an answered row


def mend(path: Path) -> IdIndex:
    """Return the ids of the answered rows of an output; remove everything else from it.

    A torn end is cut off; for damage before the end, as after a power cut, the file is rewritten beside and renamed.
    """
    done, good_end, is_torn = IdIndex(), 0, False
    try:
        for line in _lines(path):
            if line.id is None:
                continue
            is_torn = is_torn or line.start != good_end
            good_end = line.end
            done.add(line.id, 0)
        if is_torn:
            _rewrite(path)
        elif good_end < path.stat().st_size:
            with contextlib.suppress(OSError):
                os.truncate(path, good_end)
    except BaseException:
        done.close()
        raise
    return done


def _lines(path: Path) -> Iterator[_Line]:
    end = 0
    with path.open("rb") as file:
        if not path.is_file():  # a device, such as /dev/full, has no end
            return
        for data in file:
            start, end = end, end + len(data)
            try:
                record = BulkRecord.from_json(data) if data.endswith(b"\n") else None
            except ValueError:
                record = None
            yield _Line(start, end, record.id if record is not None and record.is_good else None)


def _rewrite(path: Path) -> None:
    beside = path.with_name(f"{path.name}.mended")
    with path.open("rb") as old, beside.open("wb") as new:
        for line in _lines(path):
            if line.id is not None:
                old.seek(line.start)
                new.write(old.read(line.end - line.start))
        new.flush()
        os.fsync(new.fileno())
    beside.replace(path)
    _sync_folder(path.parent)


def check_place(path: Path, source: Path | None) -> None:
    """Check that the output can be written where it is named.

    Args:
        path: the output file.
        source: the input file, if it is one.

    Raises:
        BulkOutputError: the folder is missing, the output is a folder, or it or the failures would overwrite the input.
    """
    if not path.parent.is_dir():
        raise BulkOutputError(f"the folder of the output, {str(path.parent)!r}, does not exist: create it first")
    if path.is_dir():
        raise BulkOutputError(f"the output {str(path)!r} is a folder: name a file")
    for ours in (path, failures_path(path)):
        if source is not None and source.exists() and ours.exists() and ours.samefile(source):
            raise BulkOutputError(f"the output {str(ours)!r} is the input: name another file")


def failures_path(path: Path) -> Path:
    """Return the file of the failed rows of the output ``path``."""
    return path.with_name(f"{path.name}.failures.jsonl")


def _open_to_append(path: Path) -> int:
    try:
        return os.open(path, _FLAGS, 0o666)
    except OSError as error:
        raise BulkOutputError(f"the output {str(path)!r} cannot be written: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    """Sync the folder, so that a new file's name is on the disk too."""
    if os.name == "posix":
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
