"""Terminals: how wide they are, whether they take colour, and what must not be written to them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import textwrap
from typing import Any, TextIO

import typer

# What a terminal obeys instead of showing: an answer or an error's text could hide, forge or send something with it.
# C0 and DEL become their pictures (U+2400 and on), C1 the replacement character; a carriage return says nothing.
_CONTROLS: dict[int, str | None] = {
    **{code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t\r"},
    ord("\r"): None,
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
}

_FALLBACK_COLUMNS = 80
_NARROWEST = 10


def printable(text: str) -> str:
    """``text`` without what a terminal would obey; line feeds and tabs stay."""
    return text.translate(_CONTROLS)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person reads the stream; not where it is closed or missing."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def columns(stream: TextIO | None = None) -> int | None:
    """The width of the terminal behind a stream (stdout unless given), in characters; ``None`` for a pipe or a file."""
    if not is_terminal(stream or sys.stdout):
        return None
    return max(shutil.get_terminal_size((_FALLBACK_COLUMNS, 24)).columns, _NARROWEST)


def takes_style(stream: TextIO | None) -> bool:
    """Whether text may be made bold or pale: on a terminal that can, whose user does not object (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def dim(text: str, stream: TextIO | None) -> str:
    """``text`` made pale, where the stream takes that."""
    return typer.style(text, dim=True) if text and takes_style(stream) else text


def wrap(text: str, *, first: str = "", rest: str = "", stream: TextIO | None = None) -> str:
    """``text`` in lines that the terminal can hold; as one line for a pipe.

    Args:
        text: one paragraph.
        first: what the first line starts with.
        rest: what the others start with.
        stream: where it will go; stdout unless given.
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
    """Writes to stdout at once: as it is to a pipe or a file, without control characters to a terminal.

    Nothing happens where there is no stdout (``>&-``, ``pythonw``), as with ``print``.
    """
    if sys.stdout is None:
        return
    sys.stdout.write(printable(text) if is_terminal(sys.stdout) else text)
    sys.stdout.flush()


def write_json(value: Any, *, indent: int | None = None) -> None:
    """Writes one JSON value and a line feed to stdout; letters beyond ASCII as they are, where stdout can hold them."""
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
    write_out(json.dumps(value, ensure_ascii=encoding != "utf8", indent=indent, default=str) + "\n")


def write_error(text: str) -> None:
    """Writes to stderr at once, as it is; nothing happens where there is no stderr."""
    if sys.stderr is not None:
        sys.stderr.write(text)
        sys.stderr.flush()


def accept_all_characters() -> None:
    """From here on a character that stdout or stderr cannot encode is written as an escape instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def drop_unwritten() -> None:
    """What stdout does not take (a full disk) goes nowhere: the interpreter would fail on it again when it ends."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        close_stdout()


def close_stdout() -> None:
    """Whoever read us has gone: what is left goes nowhere, so that the interpreter does not fail on it when it ends.

    As https://docs.python.org/3/library/signal.html#note-on-sigpipe has it.
    """
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
