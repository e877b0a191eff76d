"""The command line, one module per command. Answers go to stdout, everything else to stderr.

The modules of the commands define only their options and import the rest when they run, so that ``--help`` and shell completion
do not wait for aiohttp and LangChain.
"""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from langchain_cerebras_demo._version import __version__
from langchain_cerebras_demo.cli.ask import ask
from langchain_cerebras_demo.cli.bulk import bulk
from langchain_cerebras_demo.cli.chat import chat
from langchain_cerebras_demo.cli.doctor import doctor
from langchain_cerebras_demo.cli.failures import GuardedGroup
from langchain_cerebras_demo.cli.keys import keys
from langchain_cerebras_demo.cli.models import models
from langchain_cerebras_demo.cli.usage import PlainCommand

_COLUMNS = shutil.get_terminal_size().columns
_FLOOR = 50  # click writes help at least this wide, and a narrower terminal would break words

app = typer.Typer(
    name="cerebras-demo",
    cls=GuardedGroup,
    help="Ask the models of Cerebras Inference, or a small one on this machine.",
    no_args_is_help=True,
    context_settings={
        "help_option_names": ["--help", "-h"],
        **({"terminal_width": _COLUMNS} if _COLUMNS < _FLOOR else {}),
    },
    add_completion=True,
    rich_markup_mode=None,  # plain help starts three times as fast
    pretty_exceptions_enable=False,  # a traceback with locals could show a key; errors are shown as sentences
)
app.command()(ask)
app.command()(chat)
app.command(cls=PlainCommand)(bulk)
app.command()(models)
app.command()(keys)
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cerebras-demo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the log and tracebacks, without keys.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Ask the models of Cerebras Inference, or a small one on this machine."""
