"""What the command line says besides its answer: sentences on stderr."""

from __future__ import annotations

import logging
from typing import Any

import typer


def note(text: str) -> None:
    """One line on stderr, under the command's name."""
    typer.echo(f"cerebras-demo: {text}", err=True)


def note_warning(message: Warning | str, *_args: Any, **_kwargs: Any) -> None:
    """In place of ``warnings.showwarning``: the sentence, without a file and a line."""
    note(str(message))


class NoteHandler(logging.Handler):
    """Shows the package's log, such as which browser the key came from, as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line a record."""
        note(record.getMessage())


def show_log() -> None:
    """From here on what the package logs at INFO and above is noted."""
    logger = logging.getLogger("langchain_cerebras_demo")
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [NoteHandler()]
