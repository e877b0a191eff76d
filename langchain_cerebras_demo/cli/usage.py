"""Advice that is added to typer's messages about wrong usage."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

_DASH = "Put -- in front of a question that begins with a dash."
_DEBUG = "--debug goes in front of the command: cerebras-demo --debug {command} …"


class PlainCommand(TyperCommand):
    """A command whose usage shows ``INPUT OUTPUT`` where typer has braces around them."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


def with_advice(error: Any) -> str:
    """Return the message of a usage error of typer, with what to do about it.

    Args:
        error: click's ``UsageError``.
    """
    message: str = error.message
    command = getattr(getattr(error, "ctx", None), "info_name", None) or ""
    advice = ""
    if message.startswith("No such command"):
        name = message.partition("'")[2].partition("'")[0]
        if "Did you mean" not in message:
            advice = f'To ask: cerebras-demo ask "{name}"'
    elif "unexpected extra argument" in message:
        advice = _of_extra_argument(command, message)
    elif message.startswith("No such option"):
        name = getattr(error, "option_name", "")
        if name == "--debug":
            advice = _DEBUG.format(command=command)
        elif command == "ask" and not name.startswith("--"):
            advice = _DASH
    return f"{message.rstrip('.')}. {advice}" if advice else message


def _of_extra_argument(command: str, message: str) -> str:
    given = message.partition(" (")[2].rpartition(")")[0]
    if command == "ask":
        return 'Put text of several words in quotes: "…"'
    if command == "chat":
        return f'Type the question after the prompt, or: cerebras-demo ask "{given}"'
    if command == "bulk":
        return "Put a path that contains spaces in quotes"
    return f"{command} takes options only: cerebras-demo {command} --help lists them"
