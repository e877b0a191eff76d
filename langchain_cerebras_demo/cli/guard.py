"""What stands around every command: an error is a sentence and an exit code, whatever it was."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from langchain_cerebras_demo.cli.notes import InputError, note, noting
from langchain_cerebras_demo.cli.terminal import accept_all_characters, close_stdout

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

# Both stand in `keys`, too. They are repeated so that an error shows even where `keys` cannot be imported.
HIDDEN = "**********"
KEY_VARIABLE = "CEREBRAS_API_KEY"

_SECRETS = re.compile(r"(?<![\w-])(?:csk|demo)-[\w-]{8,}|(?<=Bearer )\S+|(?<=://)[^/@\s]+(?=@)")


class GuardedGroup(TyperGroup):
    """The commands, with the guard around each of them."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command. Every exception but typer's own becomes a note and an exit code."""
        accept_all_characters()
        with noting(is_debug=is_debug(ctx)), guard(is_debug=is_debug(ctx)):
            return super().invoke(ctx)


def is_debug(ctx: Any) -> bool:
    """Whether the command line that ``ctx`` belongs to was given ``--debug``."""
    return bool(ctx.find_root().params.get("debug"))


@contextmanager
def guard(*, is_debug: bool) -> Iterator[None]:
    """Turns what goes wrong inside into a note on stderr and ``typer.Exit``.

    Args:
        is_debug: whether a traceback is shown before the note: without local variables, and with keys hidden.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()  # here, and not when the interpreter ends and can only complain
    except KeyboardInterrupt:
        note("interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        close_stdout()
        raise typer.Exit(EXIT_FAILED) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error: typer words it
            raise
        tell(error, is_debug=is_debug)
        raise typer.Exit(EXIT_USAGE if isinstance(error, InputError) else EXIT_FAILED) from None


def tell(error: Exception, *, is_debug: bool) -> None:
    """The note that stands for an exception."""
    if is_debug:
        typer.echo(hide_secrets("".join(traceback.format_exception(error))), err=True, nl=False)
    note(hide_secrets(_sentence(error, is_debug=is_debug)))


def hide_secrets(text: str) -> str:
    """``text`` without keys, bearer tokens and passwords in addresses."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if key:
        text = text.replace(key, HIDDEN)
    return _SECRETS.sub(HIDDEN, text)


def _sentence(error: Exception, *, is_debug: bool) -> str:
    from langchain_cerebras_demo.errors import CerebrasError, MissingKeyError  # noqa: PLC0415 - loads LangChain's

    if isinstance(error, InputError):
        return str(error)
    name = type(error).__name__
    if isinstance(error, MissingKeyError):
        return f"{name}: {error} On the command line the embedded model is --local."
    if isinstance(error, CerebrasError | ValueError | OSError) or is_debug:
        return f"{name}: {error}"
    return f"{name}: {error} (unexpected: cerebras-demo --debug … shows where)"
