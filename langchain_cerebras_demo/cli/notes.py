"""What the command line says besides its answer: sentences on stderr."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from langchain_cerebras_demo.cli.terminal import printable, wrap

HOW_TO_GO_ON = (
    "Set CEREBRAS_API_KEY (a free key: https://cloud.cerebras.ai), or take --local: a small model on this machine that "
    "needs no key."
)
"""What a user of the command line does without a key; ``keys.HOW_TO_GET_A_KEY`` says it to who writes Python."""


class InputError(ValueError):
    """What the user gave cannot be used; the message names it and the remedy. The command ends with exit code 2."""


def note(text: str) -> None:
    """A sentence on stderr, under the command's name; one line, unless a terminal is too narrow for it."""
    said = f"cerebras-demo: {printable(text)}"
    typer.echo(said if "\n" in said else wrap(said, stream=sys.stderr), err=True)


def count(number: int, what: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def note_warning(message: Warning | str, *_args: Any, **_kwargs: Any) -> None:
    """In place of ``warnings.showwarning``: the sentence, without a file and a line."""
    note(str(message))


class NoteHandler(logging.Handler):
    """Shows the package's log, such as which browser the key came from, as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line a record."""
        note(record.getMessage())


@contextmanager
def noting(*, is_debug: bool = False) -> Iterator[None]:
    """Inside, warnings and what the package logs (at INFO and above; with ``is_debug`` all of it) are notes."""
    logger = logging.getLogger("langchain_cerebras_demo")
    kept = logger.level, logger.handlers[:], warnings.showwarning
    logger.setLevel(logging.DEBUG if is_debug else logging.INFO)
    logger.handlers[:] = [NoteHandler()]
    warnings.showwarning = note_warning
    try:
        yield
    finally:
        logger.setLevel(kept[0])
        logger.handlers[:] = kept[1]
        warnings.showwarning = kept[2]
