"""The lines of a file, one after the other, none of them larger than may be held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from langchain_cerebras_demo.bulk.problems import BulkInputError

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is a problem of its row: no model's context holds it, and every worker may hold one."""

_BOM = b"\xef\xbb\xbf"


def open_input(path: Path) -> BinaryIO:
    """The file, opened for reading.

    Raises:
        BulkInputError: it cannot be; says why.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise BulkInputError(f"the input {str(path)!r} cannot be read: {error.strerror}") from None


def read_lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    r"""Each line's number, from 1, and its bytes without the line break (``\n`` or ``\r\n``).

    ``None`` for a line above ``MAX_LINE_BYTES``, which is passed over piece by piece. A BOM at the beginning is left out.
    """
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
            yield number, line.rstrip(b"\r\n")
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)
        yield number, None
