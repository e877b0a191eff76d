"""What stands around every command: an error is a sentence and an exit code, whatever it was."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer
from typer.core import TyperGroup

from langchain_cerebras_demo.cli.notes import HOW_TO_GO_ON, InputError, note, noting
from langchain_cerebras_demo.cli.options import wants_json
from langchain_cerebras_demo.cli.terminal import accept_all_characters, close_stdout, drop_unwritten, write_json

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

# Both stand in `keys`, too. They are repeated so that an error shows even where `keys` cannot be imported.
HIDDEN = "**********"
KEY_VARIABLE = "CEREBRAS_API_KEY"

# A shorter one is no key of any service, and hiding it would hide the letters of every other word.
_SHORTEST_KEY = 8

_SECRETS = re.compile(r"(?<![\w-])(?:csk|demo)-[\w-]{8,}|(?<=Bearer )\S+|(?<=://)[^/@\s]+(?=@)")


class GuardedGroup(TyperGroup):
    """The commands, with the guard around each of them."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command. Every exception but typer's own becomes a note and an exit code."""
        accept_all_characters()
        with noting(is_debug=is_debug(ctx)), guard(is_debug=is_debug(ctx), is_json=lambda: wants_json(ctx)):
            return super().invoke(ctx)


def is_debug(ctx: Any) -> bool:
    """Whether the command line that ``ctx`` belongs to was given ``--debug``."""
    return bool(ctx.find_root().params.get("debug"))


@contextmanager
def guard(*, is_debug: bool, is_json: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Turns what goes wrong inside into a note on stderr and ``typer.Exit``.

    Args:
        is_debug: whether a traceback is shown before the note: without local variables, and with keys hidden.
        is_json: asked after a failure: whether a program reads stdout and gets the error as a JSON object there, too.
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
            hint_at_quotes(error)
            raise
        tell(error, is_debug=is_debug)
        if is_json():
            with suppress(OSError, ValueError):  # stdout itself may be what failed
                write_json({"error": to_error(error)})
        raise typer.Exit(EXIT_USAGE if isinstance(error, InputError) else EXIT_FAILED) from None
    finally:
        drop_unwritten()


def hint_at_quotes(error: Any) -> None:
    """Adds to a usage error what is meant to help who typed a question as several words."""
    if "unexpected extra argument" in getattr(error, "message", ""):
        error.message += '. A text of several words goes in quotes: "…"'


def tell(error: Exception, *, is_debug: bool) -> None:
    """The note that stands for an exception."""
    if is_debug:
        typer.echo(hide_secrets("".join(traceback.format_exception(error))), err=True, nl=False)
    note(hide_secrets(_sentence(error, is_debug=is_debug)))


def hide_secrets(text: str) -> str:
    """``text`` without keys, bearer tokens and passwords in addresses."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if len(key) >= _SHORTEST_KEY:
        text = text.replace(key, HIDDEN)
    return _SECRETS.sub(HIDDEN, text)


def to_error(error: Exception) -> dict[str, str]:
    """``{"type", "message"}`` of an exception, for programs; keys are hidden."""
    return {"type": type(error).__name__, "message": hide_secrets(_words(error))}


def _sentence(error: Exception, *, is_debug: bool) -> str:
    from langchain_cerebras_demo.errors import CerebrasError  # noqa: PLC0415 - loads LangChain's

    said = _words(error)
    if isinstance(error, InputError):
        return said
    name = type(error).__name__
    if isinstance(error, CerebrasError | ValueError | OSError) or is_debug:
        return f"{name}: {said}"
    return f"{name}: {said} (unexpected: cerebras-demo --debug … shows where)"


def _words(error: Exception) -> str:
    from langchain_cerebras_demo.errors import MissingKeyError  # noqa: PLC0415 - as above

    if not isinstance(error, MissingKeyError):
        return str(error)
    tried = "; ".join(f"{source}: {why}" for source, why in dict.fromkeys(error.tried))
    found = f"no key was found ({tried})" if tried else "no key was found"
    return f"{found}. {HOW_TO_GO_ON} `cerebras-demo keys` says more."
