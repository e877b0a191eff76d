"""The command line, one command a file. Answers go to stdout, everything else to stderr."""

from __future__ import annotations

from typing import Annotated

import typer

from langchain_cerebras_demo._version import __version__
from langchain_cerebras_demo.cli.ask import ask
from langchain_cerebras_demo.cli.keys import keys

app = typer.Typer(
    name="cerebras-demo",
    help="Ask the models of Cerebras Inference, or a small one on this machine.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,  # plain help: it starts three times as fast
    pretty_exceptions_enable=False,  # an error is a sentence; a traceback with locals could show a key
)
app.command()(ask)
app.command()(keys)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cerebras-demo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Ask the models of Cerebras Inference, or a small one on this machine."""
