"""A table on the terminal: in columns where they fit, else one block a row."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from langchain_cerebras_demo.cli.terminal import columns, printable, takes_style, wrap, write_out

_GAP = 2


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows to stdout, the first column being what a row is called.

    A pipe gets columns whatever their width. What is wider than the terminal comes as one block a row.
    """
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    needed = sum(widths) + _GAP * (len(widths) - 1)
    width = columns()
    if width is None or needed <= width:
        _print_columns(heads, rows, needed)
        return
    for row in rows:
        write_out(wrap(row[0]) + "\n")
        for head, cell in zip(heads[1:], row[1:], strict=True):
            if cell:
                write_out(wrap(f"{head}: {cell}", first="  ", rest="    ") + "\n")


def _print_columns(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> None:
    table = Table(
        box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold" if takes_style(sys.stdout) else ""
    )
    for head in heads:
        table.add_column(Text(head), no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(file=sys.stdout, width=width + _GAP, highlight=False)
    with console.capture() as captured:
        console.print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())
