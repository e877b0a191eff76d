"""Output to the terminal: text, JSON, tables and notes, without control characters.

Answers go to stdout. Notes, which are sentences about what the command does, go to stderr.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import typer

# Control characters, which a terminal executes instead of showing: an answer or an error message could hide, forge or send
# something with them. C0 and DEL become their pictures (from U+2400), C1 the replacement character, and a carriage return
# is dropped.
_CONTROLS: dict[int, str | None] = {
    **{code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t\r"},
    ord("\r"): None,
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
}

_FALLBACK_COLUMNS = 80
_NARROWEST = 10
_TABLE_GAP = 2


def printable(text: str) -> str:
    """Return ``text`` without the control characters that a terminal would execute; line feeds and tabs are kept."""
    return text.translate(_CONTROLS)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether the stream is a terminal; false if it is closed or missing."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def columns(stream: TextIO | None = None) -> int | None:
    """Return the width of the terminal behind a stream (default: stdout) in characters; ``None`` for a pipe or a file."""
    if not is_terminal(stream or sys.stdout):
        return None
    return max(shutil.get_terminal_size((_FALLBACK_COLUMNS, 24)).columns, _NARROWEST)


def takes_style(stream: TextIO | None) -> bool:
    """Return whether text may be bold or dim: on a capable terminal without ``NO_COLOR`` (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def dim(text: str, stream: TextIO | None) -> str:
    """Return ``text`` dimmed, if the stream supports that."""
    return typer.style(text, dim=True) if text and takes_style(stream) else text


def wrap(text: str, *, first: str = "", rest: str = "", stream: TextIO | None = None) -> str:
    """Return ``text`` in lines that fit the terminal, or as one line for a pipe.

    Args:
        text: one paragraph.
        first: the beginning of the first line.
        rest: the beginning of every other line.
        stream: where the text will go; stdout by default.
    """
    width = columns(stream)
    if width is None or len(first) + len(text) <= width:
        return first + text
    if width < len(rest) + _NARROWEST:
        rest = ""
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=False
    )


def write_out(text: str) -> None:
    """Write to stdout at once: unchanged to a pipe or a file, without control characters to a terminal.

    Nothing happens if there is no stdout (``>&-``, ``pythonw``), as with ``print``.
    """
    if sys.stdout is None:
        return
    sys.stdout.write(printable(text) if is_terminal(sys.stdout) else text)
    sys.stdout.flush()


def write_json(value: Any, *, indent: int | None = None) -> None:
    """Write one JSON value and a line feed to stdout; letters beyond ASCII are escaped unless stdout is UTF-8."""
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
    write_out(json.dumps(value, ensure_ascii=encoding != "utf8", indent=indent, default=str) + "\n")


def write_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows to stdout; the first column holds the name of each row.

    A pipe always gets columns. A table that is wider than the terminal is written as one block per row.
    """
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    needed = sum(widths) + _TABLE_GAP * (len(widths) - 1)
    width = columns()
    if width is None or needed <= width:
        _write_columns(heads, rows, needed)
        return
    for row in rows:
        write_out(wrap(row[0]) + "\n")
        for head, cell in zip(heads[1:], row[1:], strict=True):
            if cell:
                write_out(wrap(f"{head}: {cell}", first="  ", rest="    ") + "\n")


def _write_columns(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> None:
    from rich.console import Console  # noqa: PLC0415 - --help must not wait for rich
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    header_style = "bold" if takes_style(sys.stdout) else ""
    table = Table(box=None, pad_edge=False, padding=(0, _TABLE_GAP, 0, 0), header_style=header_style)
    for head in heads:
        table.add_column(Text(head), no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(file=sys.stdout, width=width + _TABLE_GAP, highlight=False)
    with console.capture() as captured:
        console.print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def write_error(text: str) -> None:
    """Write to stderr at once, unchanged; nothing happens if there is no stderr."""
    if sys.stderr is not None:
        sys.stderr.write(text)
        sys.stderr.flush()


def note(text: str) -> None:
    """Write a sentence to stderr, after the command's name; on one line, unless the terminal is too narrow."""
    line = f"cerebras-demo: {printable(text)}"
    typer.echo(line if "\n" in line else wrap(line, stream=sys.stderr), err=True)


def count(number: int, what: str) -> str:
    """Return a number with its noun: ``1 row``, ``2,000 rows``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


@contextlib.contextmanager
def noting(*, is_debug: bool = False) -> Iterator[None]:
    """Show warnings and the package's log as notes inside the context.

    Args:
        is_debug: whether to show the whole log instead of INFO and above.
    """

    def note_warning(message: Warning | str, *_args: Any, **_kwargs: Any) -> None:
        note(str(message))

    logger = logging.getLogger("langchain_cerebras_demo")
    kept = logger.level, logger.handlers[:], warnings.showwarning
    logger.setLevel(logging.DEBUG if is_debug else logging.INFO)
    logger.handlers[:] = [_NoteHandler()]
    warnings.showwarning = note_warning
    try:
        yield
    finally:
        logger.setLevel(kept[0])
        logger.handlers[:] = kept[1]
        warnings.showwarning = kept[2]


class _NoteHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


def accept_all_characters() -> None:
    """Make stdout and stderr write a character that they cannot encode as an escape instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def drop_unwritten() -> None:
    """Discard output that cannot be written (the disk is full): the interpreter would fail on it again at its exit."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        close_stdout()


def close_stdout() -> None:
    """Discard the rest of the output: its reader has closed it, and the interpreter would fail at its exit.

    See https://docs.python.org/3/library/signal.html#note-on-sigpipe.
    """
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
