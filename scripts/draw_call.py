"""Draw a diagram of one call: ``python scripts/draw_call.py`` writes ``docs/images/call.svg``.

The file needs no external font, style or picture, so it works without a network, and has a light background, so it is readable on
a dark page. ``tests/test_docs.py`` compares the file with the output of this script.
"""
# ruff: noqa: INP001 - a script, not a package

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import NamedTuple

TARGET = Path(__file__).parents[1] / "docs" / "images" / "call.svg"

WIDTH, MARGIN = 560, 20
BOX_LEFT, BOX_WIDTH, BOX_HEIGHT = 110, 340, 62
STEP = 112  # from one box to the next
TOP = 24

INK, PALE, LINE, CARD = "#1f2933", "#52606d", "#9aa5b1", "#fbfbfa"
REQUEST, ANSWER = "#b5451b", "#1b6fb5"


class Box(NamedTuple):
    """One layer: its name, description and colour, and the data passed to and from the layer below."""

    name: str
    does: str
    fill: str
    down: str = ""
    up: str = ""


BOXES = (
    Box("your code", "async for chunk in model.astream(…)", "#eef2f6", "messages", "chunks"),
    Box("langchain_core", "BaseChatModel: callbacks, tracing, cache", "#eef2f6", "messages", "chunks"),
    Box("chat_models/", "messages to the API's form, events to chunks", "#fde8df", "ChatRequest", "events"),
    Box("client/call.py", "model, key, body; its turn; its attempts", "#fde8df", "attempt", "events"),
    Box("client/attempt.py", "one attempt: bytes to events, in time", "#fde8df", "HttpRequest", "bytes"),
    Box("net/transport.py", "one aiohttp session an event loop", "#fde8df", "POST", "SSE"),
    Box("Cerebras", "or the embedded model, or the loopback", "#e3eefa"),
)

ASIDES = ((3, 52, ("keys/",)), (3, WIDTH - 52, ("client/limiter.py", "policy/")), (4, 52, ("wire/",)))


def text(
    x: float, y: float, words: str, *, size: int = 15, colour: str = INK, at: str = "middle", weight: int = 400
) -> str:
    """Return a line of text whose beginning, middle or end is at ``x``."""
    style = f'font-size="{size}" font-weight="{weight}" fill="{colour}" text-anchor="{at}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>'


def arrow(x: float, start: float, end: float, colour: str) -> str:
    """Return a vertical arrow with its head at ``end``."""
    back = -8 if end > start else 8
    return (
        f'<path d="M{x:g} {start:g}V{end:g}" stroke="{colour}" stroke-width="2.5"/>'
        f'<path d="M{x - 6:g} {end + back:g}L{x:g} {end:g}L{x + 6:g} {end + back:g}" stroke="{colour}" stroke-width="2.5"/>'
    )


def draw_box(number: int, box: Box) -> list[str]:
    """Return a layer, and the two arrows between it and the layer below."""
    y = TOP + number * STEP
    middle = BOX_LEFT + BOX_WIDTH / 2
    drawn = [
        f'<rect x="{BOX_LEFT}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8" fill="{box.fill}" stroke="{LINE}"/>',
        text(middle, y + 26, box.name, size=17, weight=600),
        text(middle, y + 48, box.does, size=14, colour=PALE),
    ]
    if box.down:
        begin, end = y + BOX_HEIGHT + 5, y + STEP - 5
        left, right = BOX_LEFT + 40, BOX_LEFT + BOX_WIDTH - 40
        drawn += [
            arrow(left, begin, end, REQUEST),
            arrow(right, end, begin, ANSWER),
            text(left + 14, (begin + end) / 2 + 5, box.down, colour=REQUEST, at="start"),
            text(right - 14, (begin + end) / 2 + 5, box.up, colour=ANSWER, at="end"),
        ]
    return drawn


def draw_asides() -> list[str]:
    """Return the boxes of the other modules that the layers use."""
    drawn = []
    for number, x, lines in ASIDES:
        y = TOP + number * STEP + BOX_HEIGHT / 2
        half = 9 + 9 * len(lines)
        near, edge = (x + 42, BOX_LEFT) if x < BOX_LEFT else (x - 42, BOX_LEFT + BOX_WIDTH)
        drawn += [
            f'<rect x="{x - 42}" y="{y - half:g}" width="84" height="{2 * half}" rx="6" fill="#ffffff" stroke="{LINE}"/>',
            f'<path d="M{near:g} {y:g}H{edge:g}" stroke="{LINE}" stroke-width="1.5" stroke-dasharray="4 3"/>',
        ]
        top = y + 5 - 9 * (len(lines) - 1)
        drawn += [text(x, top + 18 * place, line, size=14) for place, line in enumerate(lines)]
    return drawn


def draw_retry() -> list[str]:
    """Return the arrow of a retry, which is possible until an event has been returned."""
    x, below = BOX_LEFT + BOX_WIDTH, TOP + 4 * STEP + BOX_HEIGHT / 2
    above = TOP + 3 * STEP + BOX_HEIGHT - 8
    curve = f"M{x} {below:g}C{x + 42} {below - 10:g} {x + 42} {above + 20:g} {x + 4} {above:g}"
    return [
        f'<path d="{curve}" stroke="{REQUEST}" stroke-width="2" stroke-dasharray="6 4"/>',
        f'<path d="M{x + 15} {above - 1:g}L{x + 3} {above - 1:g}L{x + 9} {above + 9:g}" stroke="{REQUEST}" stroke-width="2"/>',
        *(
            text(x + 8, below + 22 + 16 * place, line, size=13, colour=REQUEST, at="start")
            for place, line in enumerate(("again, while", "nothing has", "been given out"))
        ),
    ]


def draw() -> str:
    """Return the whole diagram as SVG."""
    height = TOP + (len(BOXES) - 1) * STEP + BOX_HEIGHT + TOP
    parts = [part for number, box in enumerate(BOXES) for part in draw_box(number, box)]
    parts += draw_asides() + draw_retry()
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" fill="none">\n'
        f"<title>One call: down goes the request, up comes the answer</title>\n"
        f'<rect width="{WIDTH}" height="{height}" rx="12" fill="{CARD}"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
