"""The output files of a run: one appended line for each answered row, and the table that is made from them.

Records are written as soon as the answers arrive, so a killed process loses only the requests in flight. Records of answers that arrive
together are written together. The file is synced every few seconds and at the end, so a power cut loses only the answers since then; a
resumed run removes an incomplete line. Failed rows are in ``<output>.failures.jsonl``, which each run starts empty; a resumed run sends
them again.

With ``ordered``, the file is put in the order of the rows when the run ends: a sorted copy replaces it.

If the output is a table (``.csv``, ``.tsv``, ``.json``, ``.parquet``), the records are in ``<output>.records.jsonl``, and the table
is made from them at the end of each run.
"""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from langchain_cerebras_demo.bulk.answered import Answered
from langchain_cerebras_demo.bulk.errors import BulkOutputError
from langchain_cerebras_demo.bulk.journal import Journal
from langchain_cerebras_demo.bulk.records import BulkRecord, Stored, to_line
from langchain_cerebras_demo.bulk.tables import (
    LAST,
    RECORD_SUFFIXES,
    TABLE_SUFFIXES,
    AnswerTable,
    TableIndex,
    import_pyarrow,
    needs_pyarrow,
    number_in,
    parse_line,
    read_objects,
)

_ANSWERED, _FAILED = 0, 1  # the numbers of the files of a table

SYNC_SECONDS = 5.0
"""The time between two syncs: the most that a power cut can lose, in seconds of answers."""

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_UNSYNCABLE = {errno.EINVAL, errno.ENOTSUP, errno.EROFS}  # a pipe or a device, which has nothing to sync


class Output:
    """The output files of one run. It must be closed.

    Args:
        path: the output file; the journal, the failures and a table's records are in the same folder.
        settings: the settings that the answers depend on.
        resume: whether to continue an existing output; without one, a new output is begun.
        source: the input file, if it is one.
        ordered: whether a file of records is put in the order of the rows when it is closed. Tables always are in that order.

    Attributes:
        records_path: the file of the answered rows: the output itself, or the records of its table.
        done: the rows that are answered.

    Raises:
        BulkOutputError: the folder is missing or not writable; the input would be overwritten; there is an output and
            ``resume`` is False; another run uses it, or it was made with other settings.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        *,
        resume: bool = False,
        source: Path | None = None,
        ordered: bool = False,
    ) -> None:
        self.path = path
        self.is_table = is_table(path)
        self._is_ordered = ordered and not self.is_table
        self.records_path = records_path(path)
        self.failures_path = failures_path(path)
        check_place(path, source)
        with contextlib.ExitStack() as undo:
            self._journal = Journal(path)
            undo.callback(self._journal.close)
            self._open(settings, resume=resume)
            self.done = mend(self.records_path)
            weakref.finalize(self, self.done.close)  # still used by `to_table` after the run
            undo.callback(self.done.close)
            self._records = _AppendOnly(self.records_path)
            self._reader = self.records_path.open("rb")
            undo.pop_all()
        # Filled while records are written, which is cheaper than to read them again at the end.
        self._index = TableIndex() if self.is_table and not self.done.has_rows else None
        self._has_replaced = False
        self._failures: _AppendOnly | None = None

    def _open(self, settings: Mapping[str, Any], *, resume: bool) -> None:
        exists = _has_content(self.records_path)
        if (exists or _has_content(self.path)) and not resume:
            raise BulkOutputError(f"{str(self.path)!r} already exists: pass resume=True, or use another output")
        before = self._journal.settings() if exists or self.is_table else None
        if before is not None and _has_content(self.path) and not self.records_path.exists():
            raise BulkOutputError(
                f"the answers of {str(self.path)!r} are missing ({self.records_path.name!r}), so all rows would be sent again: put "
                "that file back, or name another output"
            )
        if before is None and (exists or _has_content(self.path)):
            raise BulkOutputError(
                f"{str(self.path)!r} has no journal ({self._journal.path.name!r}), so its settings are unknown: "
                "name another output"
            )
        if not exists:  # without answers, settings may change
            before = None
        if before is None:
            os.close(_open_to_append(self.records_path))
            self._journal.begin(settings)
            _sync_folder(self.path.parent)
        else:
            self._journal.check(settings, before)
        self.failures_path.unlink(missing_ok=True)

    def write(self, records: Sequence[BulkRecord]) -> Stored:
        """Write records to the output, and those of failed rows to the failures.

        Returns:
            The records that were written, each completely, and the problem with the others: a ``BulkOutputError`` if the disk is full or
            a file cannot be written any more, or the exception of a value that cannot be converted to JSON.
        """
        good: list[tuple[BulkRecord, bytes]] = []
        failed: list[tuple[BulkRecord, bytes]] = []
        problem: Exception | None = None
        for record in records:
            fields = record.to_dict()
            try:
                line = to_line(fields)
            except Exception as error:  # noqa: BLE001 - a value of the user's own; the caller raises it
                problem = error
                continue
            (good if record.is_good else failed).append((record, line))
            if self._index is not None and not self._index.note(fields, _ANSWERED if record.is_good else _FAILED):
                self._drop_index()
        written: list[BulkRecord] = []
        if good:
            offsets, full = self._records.append([line for _, line in good])
            written += (record for record, _ in good[: len(offsets)])
            self._note_answers(written, offsets)
            self._note_lines(_ANSWERED, written, offsets)
            problem = full or problem
        if failed:
            if self._failures is None:
                self._failures = _AppendOnly(self.failures_path)
            offsets, full = self._failures.append([line for _, line in failed])
            failures = [record for record, _ in failed[: len(offsets)]]
            self._note_lines(_FAILED, failures, offsets)
            written += failures
            problem = full or problem
        return Stored(written, problem)

    def _note_answers(self, records: Iterable[BulkRecord], offsets: Iterable[int]) -> None:
        """Note the positions of answers for equal rows, and which rows have been answered before."""
        for record, offset in zip(records, offsets, strict=True):
            if record.prompt_hash:
                self.done.add_prompt(record.prompt_hash, offset)
            if self.done.has_rows and record.id in self.done:  # the row has changed, and was answered again
                self._has_replaced = True
                self.done.note_number(record.id, record.row)

    def _note_lines(self, file: int, records: Iterable[BulkRecord], offsets: Iterable[int]) -> None:
        if self._index is not None:
            for record, offset in zip(records, offsets, strict=True):
                self._index.add(record.row or LAST, file, offset)

    def _drop_index(self) -> None:
        if self._index is not None:
            self._index.close()
            self._index = None

    def find_answer(self, prompt_hash: str) -> BulkRecord | None:
        """Return the record of the row that was answered to an equal prompt; ``None`` if there is none."""
        offset = self.done.find_prompt(prompt_hash)
        if offset is None:
            return None
        self._reader.seek(offset)
        record = BulkRecord.from_json(self._reader.readline())
        return record if record.prompt_hash == prompt_hash else None

    def table(
        self, types: Mapping[str, Any] | None = None, *, is_whole_input: bool = False, is_over: bool = False
    ) -> AnswerTable:
        """Return the table of all rows that have been answered or have failed so far, in the order of the input.

        Args:
            types: Arrow types of the input's columns.
            is_whole_input: whether this run has read its input to the end: answers to rows that are not in it are left out.
            is_over: whether no more records will be written.
        """
        files = (self.records_path, self.failures_path)
        if is_over and self._index is not None:
            index, self._index = self._index, None
            return AnswerTable(files, index, dict(types or {}))

        def place_of(record: dict[str, Any]) -> int | None:
            number = self._number_of(record)
            return number_in(record) if number is None and not is_whole_input else number

        return AnswerTable(files, TableIndex.read(files, place_of), dict(types or {}))

    def _number_of(self, record: dict[str, Any]) -> int | None:
        """Return the number of a record's row in this run's input; ``None`` if an earlier run wrote it, and this one has not read the row."""
        return self.done.number_of(record["id"]) if record["id"] in self.done else number_in(record)

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
            self._drop_index()
            self._reader.close()
            self._records.close()
            if self._failures is not None:
                self._failures.close()
            if self._is_ordered:
                self._put_in_order()
            elif self._has_replaced:
                mend(self.records_path).close()
            if ending is not None:
                with contextlib.suppress(BulkOutputError):  # the disk is full: the records matter more
                    self._journal.note(ending)
        finally:
            self._journal.close()

    def _put_in_order(self) -> None:
        """Sort the records by the numbers of their rows, and remove replaced ones. Rows that this run has not read come last."""
        found = _scan(self.records_path)
        with closing(found.answered) as answered:
            for _, record in read_objects(self.records_path):
                answered.note_number(record["id"], self._number_of(record) or LAST)
            if found.is_torn or any(before > after for before, after in pairwise(answered.offsets())):
                _rewrite(self.records_path, answered.offsets())


class _AppendOnly:
    """A file to which lines are appended, each completely or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open_to_append(path)
        self.end = os.fstat(self._file).st_size
        self._is_dirty = False

    def append(self, lines: Sequence[bytes]) -> tuple[list[int], BulkOutputError | None]:
        """Append lines. Return the positions of those that were written, and the error of the others if there are any."""
        data = b"".join([line + b"\n" for line in lines])
        offsets = list(accumulate((len(line) + 1 for line in lines), initial=self.end))
        left = data
        try:
            while left:  # if the disk is nearly full, writing the rest raises the reason
                left = left[os.write(self._file, left) :]
        except OSError as error:
            self.end += data.rfind(b"\n", 0, len(data) - len(left)) + 1  # the lines that are complete
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.end)
            return offsets[: offsets.index(self.end)], self._problem(error)
        finally:
            self._is_dirty = True  # after writing: a sync on another thread may have come before its end
        self.end = offsets.pop()
        return offsets, None

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
    prompt_hash: str = ""


class _Scan(NamedTuple):
    answered: Answered
    end: int  # the end of the last valid line
    is_torn: bool  # damaged before the end, or with an outdated line whose row was answered again


def mend(path: Path) -> Answered:
    """Return the answered rows of an output; remove everything else from it.

    An incomplete last line is cut off. If there is damage before the end, as after a power cut, a repaired copy replaces the file;
    also if a row was answered again because its prompt had changed: then only its last answer is kept.
    """
    answered, end, is_torn = _scan(path)
    try:
        if is_torn:
            _rewrite(path, (line.start for line in _lines(path) if _is_last_answer(line, answered)))
        elif end < path.stat().st_size:
            with contextlib.suppress(OSError):
                os.truncate(path, end)
    except BaseException:
        answered.close()
        raise
    if is_torn:  # the positions of the lines have changed
        answered.close()
        answered = _scan(path).answered
    return answered


def read_answered(path: Path) -> Answered:
    """Return the answered rows of an output without changing it; none if it does not exist."""
    return _scan(path).answered if path.is_file() else Answered()


def _scan(path: Path) -> _Scan:
    answered, end, is_torn = Answered(), 0, False
    try:
        for line in _lines(path):
            if line.id is None:
                continue
            is_new = answered.add_row(line.id, line.prompt_hash, line.start)
            if line.prompt_hash:
                answered.add_prompt(line.prompt_hash, line.start)
            is_torn = is_torn or line.start != end or not is_new
            end = line.end
    except BaseException:
        answered.close()
        raise
    return _Scan(answered, end, is_torn)


def _lines(path: Path) -> Iterator[_Line]:
    end = 0
    with path.open("rb") as file:
        if not path.is_file():  # reading a device, such as /dev/full, would never end
            return
        for data in file:
            start, end = end, end + len(data)
            found = parse_line(data)
            if found is None or found.get("error") is not None:
                yield _Line(start, end, None)
            else:
                prompt_hash = found.get("prompt_hash")
                yield _Line(start, end, found["id"], prompt_hash if isinstance(prompt_hash, str) else "")


def _is_last_answer(line: _Line, answered: Answered) -> bool:
    known = None if line.id is None else answered.find_row(line.id)
    return known is not None and known.offset == line.start


def _rewrite(path: Path, offsets: Iterable[int]) -> None:
    """Replace the file by one with the lines at these positions, in their order. It is replaced completely or not at all."""
    beside = path.with_name(f"{path.name}.mended")
    try:
        with path.open("rb") as old, beside.open("wb") as new:
            for offset in offsets:
                old.seek(offset)
                new.write(old.readline())
            new.flush()
            os.fsync(new.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise BulkOutputError(
            f"{str(path)!r} cannot be rewritten: {error.strerror}. All answers are kept: resume after fixing this"
        ) from None
    _sync_folder(path.parent)


def check_place(path: Path, source: Path | None) -> None:
    """Check that the output can be written at this path.

    Args:
        path: the output file.
        source: the input file, if it is one.

    Raises:
        BulkOutputError: the folder is missing, the output is a folder, or it or the failures would overwrite the input.
    """
    if not path.parent.is_dir():
        raise BulkOutputError(f"the folder of the output, {str(path.parent)!r}, does not exist: create it first")
    if path.is_dir():
        raise BulkOutputError(f"the output {str(path)!r} is a folder: use a file")
    suffix = path.suffix.lower()
    if not suffix:
        raise BulkOutputError(
            f"the output {str(path)!r} has no suffix: name it {path.name}.csv, .tsv, .json, .parquet or .jsonl"
        )
    if suffix not in (*TABLE_SUFFIXES, *RECORD_SUFFIXES):
        known = ", ".join((*TABLE_SUFFIXES, *RECORD_SUFFIXES))
        raise BulkOutputError(f"the output {str(path)!r} has none of the suffixes {known}: rename it")
    if needs_pyarrow(path):
        import_pyarrow(f"{str(path)!r}: Parquet")
    for ours in (path, records_path(path), failures_path(path)):
        if source is not None and source.exists() and ours.exists() and ours.samefile(source):
            raise BulkOutputError(f"the output {str(ours)!r} is the input: use another file")


def is_table(path: Path) -> bool:
    """Return whether an output of that name is a table; otherwise it is a file of records."""
    return path.suffix.lower() in TABLE_SUFFIXES


def records_path(path: Path) -> Path:
    """Return the file of the answered rows of the output ``path``."""
    return path.with_name(f"{path.name}.records.jsonl") if is_table(path) else path


def failures_path(path: Path) -> Path:
    """Return the file of the failed rows of the output ``path``."""
    return path.with_name(f"{path.name}.failures.jsonl")


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _open_to_append(path: Path) -> int:
    try:
        return os.open(path, _FLAGS, 0o666)
    except OSError as error:
        raise BulkOutputError(f"the output {str(path)!r} cannot be written: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    """Sync the folder, so that the name of a new file is on the disk."""
    if os.name == "posix":
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
