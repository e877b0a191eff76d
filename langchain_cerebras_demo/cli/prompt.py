"""What the user types in a talk: one text at a time, of one line or several, with arrow keys and completion.

The editing is GNU readline's (libedit's on macOS), from the standard library; Windows has neither and takes plain lines.
Text that is pasted stays together, line feeds and all, since readline takes a bracketed paste as one line.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from typing_extensions import Self

from langchain_cerebras_demo.cli.notes import note
from langchain_cerebras_demo.cli.options import model_names
from langchain_cerebras_demo.cli.terminal import is_terminal, write_error

readline: Any = None
with contextlib.suppress(ImportError):  # Windows has none
    readline = importlib.import_module("readline")

QUOTES = '"""'
FIRST, MORE = "> ", ". "
HISTORY_LINES = 1000


class Prompt:
    """Reads texts from standard input.

    Args:
        commands: words that complete at the beginning of a line, such as ``/help``.
        keeps_history: whether typed lines are kept in ``history_file()`` for the next time.
    """

    def __init__(self, commands: Iterable[str], *, keeps_history: bool = True) -> None:
        self._commands = tuple(commands)
        self._is_interactive = is_terminal(sys.stdin)
        self._keeps_history = keeps_history and self._is_interactive

    def __enter__(self) -> Self:
        if readline is not None and self._is_interactive:
            readline.set_completer(self.complete)
            readline.set_completer_delims(" ")
            is_libedit = "libedit" in (readline.__doc__ or "")
            readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
            if self._keeps_history:
                with contextlib.suppress(OSError, ValueError):  # there is none yet, or it is not one
                    readline.read_history_file(history_file())
        return self

    def __exit__(self, *_exception: object) -> None:
        if readline is None or not self._is_interactive:
            return
        readline.set_completer(None)
        if self._keeps_history:
            try:
                save_history(history_file())
            except (OSError, RuntimeError) as error:
                note(f"what you typed could not be kept in {history_file()}: {error}; --no-history does without")

    def read(self) -> str:
        r"""The next text: a line, lines that each but the last end in ``\``, or what stands between triple quotes.

        Raises:
            EOFError: there is no more.
            KeyboardInterrupt: the user gave up this text.
        """
        line = self._line(FIRST)
        if line.lstrip().startswith(QUOTES):
            return self._quoted(line.lstrip().removeprefix(QUOTES))
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(self._line(MORE))
        return "\n".join(lines)

    def forget_last(self) -> None:
        """Takes the last line out of the history: nobody wants the end of the last talk at the first arrow key."""
        if readline is not None and self._is_interactive:
            with contextlib.suppress(ValueError):  # there is none
                readline.remove_history_item(readline.get_current_history_length() - 1)

    def complete(self, text: str, state: int) -> str | None:
        """For readline: the ``state``-th word that ``text`` may become."""
        typed: Any = readline.get_line_buffer()[: readline.get_begidx()].split()
        words: Iterable[str] = ()
        if not typed:
            words = self._commands if text.startswith("/") else ()
        elif typed == ["/model"]:
            words = model_names()
        found = [word for word in words if word.startswith(text)]
        return f"{found[state]} " if state < len(found) else None

    def _quoted(self, rest: str) -> str:
        lines = [rest]
        while not lines[-1].rstrip().endswith(QUOTES):
            lines.append(self._line(MORE))
        lines[-1] = lines[-1].rstrip().removesuffix(QUOTES)
        return "\n".join(lines).strip("\n")

    def _line(self, prompt: str) -> str:
        if not self._is_interactive:
            prompt = ""
        elif not is_terminal(sys.stdout):  # `chat | tee file`: the prompt is no part of the answers
            write_error(prompt)
            prompt = ""
        return input(prompt)


def history_file() -> Path:
    """Where typed lines are kept: a file in the user's state folder (XDG base directory specification).

    Raises:
        RuntimeError: the user has no home folder.
    """
    chosen = Path(os.environ.get("XDG_STATE_HOME", ""))
    state = chosen if chosen.is_absolute() else Path.home() / ".local" / "state"
    return state / "langchain-cerebras-demo" / "chat_history"


def save_history(file: Path) -> None:
    """Writes readline's lines to ``file``, for its user's eyes alone.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)  # GNU readline would see to it, libedit might not
    readline.set_history_length(HISTORY_LINES)
    readline.write_history_file(file)
