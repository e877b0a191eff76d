"""Error handling around every command: each exception becomes a sentence and an exit code."""

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

from langchain_cerebras_demo.cli import usage
from langchain_cerebras_demo.cli.inputs import InputError
from langchain_cerebras_demo.cli.options import wants_json
from langchain_cerebras_demo.cli.terminal import (
    accept_all_characters,
    close_stdout,
    drop_unwritten,
    note,
    noting,
    write_json,
)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

HOW_TO_CONTINUE = (
    "Set CEREBRAS_API_KEY (get a free key at https://cloud.cerebras.ai), or use --local: a small model on this machine "
    "that needs no key."
)
"""The remedy for a missing key on the command line; ``keys.HOW_TO_GET_A_KEY`` is the text for Python."""

# Copies of two constants in `keys`, so that an error can be shown even if `keys` cannot be imported.
HIDDEN = "**********"
KEY_VARIABLE = "CEREBRAS_API_KEY"

# No service has shorter keys, and hiding shorter texts would hide parts of ordinary words.
_SHORTEST_KEY = 8

_SECRETS = re.compile(r"(?<![\w-])(?:csk|demo)-[\w-]{8,}|(?<=Bearer )\S+|(?<=://)[^/@\s]+(?=@)")


# Beginnings of refusals, which name the argument in Python.
_IMAGE = re.compile(r"^messages\[\d+\]\.content\[\d+\] is an image, but ")
_EFFORT = re.compile(r"^reasoning_effort='([^']*)'")


class GuardedGroup(TyperGroup):
    """The group of all commands, each run inside ``guard``."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Every exception except typer's own becomes a note and an exit code."""
        accept_all_characters()
        with noting(is_debug=is_debug(ctx)), guard(is_debug=is_debug(ctx), is_json=lambda: wants_json(ctx)):
            return super().invoke(ctx)


def is_debug(ctx: Any) -> bool:
    """Return whether ``--debug`` was given on the command line that ``ctx`` belongs to."""
    return bool(ctx.find_root().params.get("debug"))


@contextmanager
def guard(*, is_debug: bool, is_json: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Turn exceptions raised inside into a note on stderr and ``typer.Exit``.

    Args:
        is_debug: whether a traceback is shown before the note: without local variables, and with keys hidden.
        is_json: called after a failure; returns whether the error also goes to stdout as a JSON object.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()  # here, because an error at the interpreter's exit could not be handled
    except KeyboardInterrupt:
        note("interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        close_stdout()
        raise typer.Exit(EXIT_FAILED) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error: typer prints it
            error.message = usage.with_advice(error)  # type: ignore[attr-defined]  # click's
            raise
        note_error(error, is_debug=is_debug)
        if is_json():
            with suppress(OSError, ValueError):  # stdout itself may have failed
                write_json({"error": to_error(error)})
        raise typer.Exit(EXIT_USAGE if _is_wrong_usage(error) else EXIT_FAILED) from None
    finally:
        drop_unwritten()


def note_error(error: Exception, *, is_debug: bool) -> None:
    """Write the note that describes an exception, after its traceback with ``is_debug``."""
    if is_debug:
        typer.echo(hide_secrets("".join(traceback.format_exception(error))), err=True, nl=False)
    note(hide_secrets(_to_sentence(error, is_debug=is_debug)))


def hide_secrets(text: str) -> str:
    """Return ``text`` without keys, bearer tokens and passwords in URLs."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if len(key) >= _SHORTEST_KEY:
        text = text.replace(key, HIDDEN)
    return _SECRETS.sub(HIDDEN, text)


def to_error(error: Exception) -> dict[str, str]:
    """Return ``{"type", "message"}`` of an exception, with keys hidden."""
    return {"type": type(error).__name__, "message": hide_secrets(_to_message(error))}


def _is_wrong_usage(error: Exception) -> bool:
    from langchain_cerebras_demo.errors import InvalidRequestError  # noqa: PLC0415 - loads LangChain's

    return isinstance(error, InputError | InvalidRequestError)


def _to_sentence(error: Exception, *, is_debug: bool) -> str:
    from langchain_cerebras_demo.errors import (  # noqa: PLC0415 - as above
        CerebrasError,
        ContextOverflowError,
        InvalidRequestError,
    )

    message = _to_message(error)
    if isinstance(error, InputError | InvalidRequestError | ContextOverflowError):
        return message
    name = type(error).__name__
    if isinstance(error, CerebrasError | ValueError | OSError) or is_debug:
        return f"{name}: {message}"
    return f"{name}: {message} (unexpected; cerebras-demo --debug … shows the traceback)"


def _to_message(error: Exception) -> str:
    from langchain_cerebras_demo.cli import remedies  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.errors import MissingKeyError  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.policy.abilities import ESCAPE  # noqa: PLC0415 - as above

    if not isinstance(error, MissingKeyError):
        message = str(error).replace(f" {ESCAPE}", "")  # a remedy that exists only in Python
        message = _IMAGE.sub("--image: ", message)
        message = _EFFORT.sub(r"--reasoning \1", message)
        remedy = remedies.of_refusal(error)
        return f"{message.rstrip('.')}. {remedy}" if remedy else message
    tried = "; ".join(f"{source}: {why}" for source, why in dict.fromkeys(error.tried))
    found = f"no key was found ({tried})" if tried else "no key was found"
    return f"{found}. {HOW_TO_CONTINUE} `cerebras-demo keys` shows every source."
