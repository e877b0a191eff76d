"""Draw a real answer of the embedded model in a terminal: ``python scripts/draw_stream.py`` writes ``docs/images/stream.svg``.

The command runs in a pseudo-terminal, and each word appears in the animation at the same time as there. This needs the extras ``cli`` and
``local``, and a system with pseudo-terminals.
"""
# ruff: noqa: INP001 - a script, not a package

from __future__ import annotations

import html
import io
import os
import pty
import re
import shlex
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

TARGET = Path(__file__).parents[1] / "docs" / "images" / "stream.svg"

COMMAND = 'cerebras-demo ask --local "What is photosynthesis?" --stats'
COLUMNS = 88

COMMAND_SECONDS = 0.6  # at first, only the command is shown
END_SECONDS = 6.0  # the whole answer is shown for this time before the animation starts again

CHARACTER = 12.2  # the width of a character in rich's pictures

_TEXT = re.compile(
    r'<text (?P<attributes>class="[^"]*") x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)"[^>]*>(?P<content>[^<]*)</text>', re.DOTALL
)

# rich's own frame loads a font from another server. Any monospaced font of the system works, because rich sets the length of each text.
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


def run(command: str) -> list[tuple[float, str]]:
    """Return what the command writes to a terminal of ``COLUMNS`` columns, each piece with its time in seconds.

    Raises:
        SystemExit: the command failed.
    """
    program, *arguments = shlex.split(command)
    path = Path(sys.executable).with_name(program)
    began = time.monotonic()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS=str(COLUMNS), TERM="xterm-256color")
        os.environ.pop("NO_COLOR", None)
        os.execv(path, [program, *arguments])  # noqa: S606 - this package's program, next to this interpreter
    written: list[tuple[float, str]] = []
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # Linux reports the end of a terminal as an error
            break
        if not piece:
            break
        written.append((time.monotonic() - began, piece.decode(errors="replace").replace("\r\n", "\n")))
    os.close(terminal)
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise SystemExit(f"{command} ended with {code}: {written}")
    return written


def draw(command: str, written: list[tuple[float, str]]) -> str:
    """Return an animation of the prompt, the command and its output. Programs that do not animate SVG show its end."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
    console.print(Text.from_ansi("".join(text for _, text in written).strip("\n")))
    picture = animate(console.export_svg(title="", code_format=FRAME, unique_id="stream"), written)
    return "\n".join(line.rstrip() for line in picture.splitlines() if line.strip()) + "\n"


def animate(picture: str, written: list[tuple[float, str]]) -> str:
    """Make each word after the command appear at its time, in a loop."""
    times = [at for at, text in written for character in Text.from_ansi(text).plain if not character.isspace()]
    first = times[0]
    place = 0

    def words(match: re.Match[str]) -> str:
        nonlocal place
        attributes, x, y, content = match["attributes"], float(match["x"]), match["y"], html.unescape(match["content"])
        if not content.strip():
            return ""
        if y == "20":  # the command
            return match[0]
        pieces = []
        for word in re.finditer(r"\S+", content.replace("\N{NO-BREAK SPACE}", " ")):
            hidden = COMMAND_SECONDS + times[min(place, len(times) - 1)] - first
            place += len(word[0])
            left, length = x + word.start() * CHARACTER, len(word[0]) * CHARACTER
            pieces.append(
                f'<text {attributes} x="{left:g}" y="{y}" textLength="{length:g}">{html.escape(word[0])}'
                f'<set attributeName="visibility" to="hidden" begin="loop.begin" dur="{hidden:.2f}s"/></text>\n'
            )
        return "".join(pieces)

    seconds = COMMAND_SECONDS + times[-1] - first + END_SECONDS
    loop = (
        f'<animate id="loop" attributeName="opacity" from="1" to="1" begin="0s;loop.end" dur="{seconds:.2f}s"/>\n</svg>'
    )
    return _TEXT.sub(words, picture).replace("</svg>", loop)


if __name__ == "__main__":
    TARGET.write_text(draw(COMMAND, run(COMMAND)), encoding="utf-8")
