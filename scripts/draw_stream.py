"""Draws a real answer of the embedded model in a terminal: ``python scripts/draw_stream.py`` writes ``docs/images/stream.svg``.

It runs the command in a pseudo-terminal, so what is drawn is what a person sees, figures and all. Needs the extras ``cli``
and ``local``, and a system with pseudo-terminals.
"""
# ruff: noqa: INP001 - a script, no package

from __future__ import annotations

import io
import os
import pty
import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

TARGET = Path(__file__).parents[1] / "docs" / "images" / "stream.svg"

COMMAND = 'cerebras-demo ask --local "What is photosynthesis?" --stats'
COLUMNS = 88

# rich's own frame asks a foreign server for its font. A system's monospaced one does: rich gives each text its length.
FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" class="rich-terminal" viewBox="0 0 {width} {height}">
    <style>
    .{unique_id}-matrix {{
        font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
        font-variant-east-asian: full-width;
    }}
    .{unique_id}-title {{
        font-family: system-ui, sans-serif;
        font-size: 18px;
    }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def run(command: str) -> str:
    """What the command writes to a terminal of ``COLUMNS`` columns.

    Raises:
        SystemExit: it failed.
    """
    program, *arguments = shlex.split(command)
    path = Path(sys.executable).with_name(program)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS=str(COLUMNS), TERM="xterm-256color")
        os.environ.pop("NO_COLOR", None)
        os.execv(path, [program, *arguments])  # noqa: S606 - our own program, beside this interpreter
    written = bytearray()
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # Linux's word for a terminal that nobody writes to any more
            break
        if not piece:
            break
        written += piece
    os.close(terminal)
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise SystemExit(f"{command} ended with {code}: {written.decode(errors='replace')}")
    return written.decode().replace("\r\n", "\n").strip("\n")


def draw(command: str, output: str) -> str:
    """The prompt, the command and its output as a picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
    console.print(Text.from_ansi(output))
    picture = console.export_svg(title="", code_format=FRAME, unique_id="stream")
    return "\n".join(line.rstrip() for line in picture.splitlines()) + "\n"


if __name__ == "__main__":
    TARGET.write_text(draw(COMMAND, run(COMMAND)), encoding="utf-8")
