"""The output file: good records alone, one line each, only ever added to.

A record is one ``write`` to the system the moment it is there: when the process is killed, all that was answered is in the
file, but for what was under way. Every few seconds, and at the end, the file is synced: a power cut loses no more than that,
and what it has torn is taken out when the run is resumed. Rows that failed stand in ``<output>.failures.jsonl``, which every run
begins anew; a resumed run asks them again.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from langchain_cerebras_demo.bulk.index import IdIndex
from langchain_cerebras_demo.bulk.journal import Journal
from langchain_cerebras_demo.bulk.problems import BulkOutputError
from langchain_cerebras_demo.bulk.records import BulkRecord

SYNC_SECONDS = 5.0
"""What a power cut can lose, in seconds of answers."""

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_UNSYNCABLE = {errno.EINVAL, errno.ENOTSUP, errno.EROFS}  # a pipe or a device, which has nothing to sync


class Output:
    """The files of one run. It has to be closed.

    Args:
        path: the output file; the journal and the failures stand beside it.
        settings: what the answers depend on.
        resume: whether an output that is there is gone on with; where there is none, a new one begins.
        source: the input file, if it is one.

    Raises:
        BulkOutputError: the folder is missing or not writable; the input would be overwritten; there is an output and
            ``resume`` is False; another run has it, or other settings made it.
    """

    def __init__(
        self, path: Path, settings: Mapping[str, Any], *, resume: bool = False, source: Path | None = None
    ) -> None:
        self.path = path
        self.failures_path = _failures_of(path)
        check_place(path, source)
        self._journal = Journal(path)
        try:
            self.done = self._open(settings, resume=resume)
        except BaseException:
            self._journal.close()
            raise
        self._records = _Appended(path)
        self._failures: _Appended | None = None

    def _open(self, settings: Mapping[str, Any], *, resume: bool) -> IdIndex:
        """The ids that are done already."""
        is_there = self.path.exists() and self.path.stat().st_size > 0
        if is_there and not resume:
            raise BulkOutputError(f"{str(self.path)!r} is there already: resume it, or name another output")
        before = self._journal.settings() if is_there else None
        if is_there and before is None:
            raise BulkOutputError(
                f"{str(self.path)!r} has no journal ({self._journal.path.name!r}), so nobody knows what made it: name another output"
            )
        if before is None:
            os.close(_open_to_add(self.path))
            self._journal.begin(settings)
            _sync_folder(self.path.parent)
        else:
            self._journal.check(settings, before)
        self.failures_path.unlink(missing_ok=True)
        return mend(self.path)

    def write(self, record: BulkRecord) -> None:
        """Keeps a record: a good one in the output, another among the failures.

        Raises:
            BulkOutputError: the disk is full, or the file cannot be written any more; no part of a line stays behind.
        """
        if record.is_good:
            self._records.add(record.to_json())
            return
        if self._failures is None:
            self._failures = _Appended(self.failures_path)
        self._failures.add(record.to_json())

    def sync(self) -> None:
        """All that was written is on the disk when this returns; it may be called on another thread.

        Raises:
            BulkOutputError: the disk does not take it.
        """
        self._records.sync()

    def close(self, ending: Mapping[str, Any] | None = None) -> None:
        """Syncs and lets go.

        Args:
            ending: how the run ended, for the journal.
        """
        try:
            self._records.close()
            if self._failures is not None:
                self._failures.close()
            if ending is not None:
                with contextlib.suppress(BulkOutputError):  # a full disk: the records are what counts
                    self._journal.note(ending)
        finally:
            self._journal.close()


class _Appended:
    """A file that lines are added to, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open_to_add(path)
        self._end = os.fstat(self._file).st_size
        self._is_dirty = False

    def add(self, line: bytes) -> None:
        data = line + b"\n"
        try:
            written = os.write(self._file, data)
            if written < len(data):  # the disk is nearly full: the rest says why
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
            f"{str(self._path)!r} cannot be written: {why}. What was answered before is kept: make room and resume"
        )


class _Line(NamedTuple):
    start: int
    end: int
    id: str | int | None  # None: it is no good record


def mend(path: Path) -> IdIndex:
    """The ids of the good records of an output; whatever is none is taken out of it.

    The end is simply cut off; for damage before it, as a power cut may leave, the file is written anew beside and renamed.
    """
    done, good_end, is_torn = IdIndex(), 0, False
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
    return done


def _lines(path: Path) -> Iterator[_Line]:
    end = 0
    with path.open("rb") as file:
        if not path.is_file():  # a device, as /dev/full: it never ends
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
    """Looks whether the output can be where it is to be.

    Args:
        path: the output file.
        source: the input file, if it is one.

    Raises:
        BulkOutputError: its folder is missing, it is a folder itself, or it or the failures would overwrite the input.
    """
    if not path.parent.is_dir():
        raise BulkOutputError(f"the folder of the output, {str(path.parent)!r}, does not exist: make it first")
    if path.is_dir():
        raise BulkOutputError(f"the output {str(path)!r} is a folder: name a file")
    for ours in (path, _failures_of(path)):
        if source is not None and source.exists() and ours.exists() and ours.samefile(source):
            raise BulkOutputError(f"the output {str(ours)!r} is the input: name another file")


def _failures_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.failures.jsonl")


def _open_to_add(path: Path) -> int:
    try:
        return os.open(path, _FLAGS, 0o666)
    except OSError as error:
        raise BulkOutputError(f"the output {str(path)!r} cannot be written: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    """A new file's name is on the disk too."""
    if os.name == "posix":
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
