"""Faults: their rows, how the four ways of calling meet them, and the page that lists them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.errors import APIError
from langchain_cerebras_demo.policy import Timeout
from langchain_cerebras_demo.testing import LoopbackCerebras, sse
from langchain_cerebras_demo.testing.scenarios import Step
from tests.support.rude_servers import RudeServer

KEY = "csk-never-shown-0123456789"  # a global: tracebacks with locals show the frames of the tests too
WAYS = ("invoke", "ainvoke", "stream", "astream")

Settings = Mapping[str, Any]
Stage = Callable[[LoopbackCerebras], AbstractContextManager[Settings]]


@dataclass(frozen=True)
class Ends:
    """How a call ends.

    Args:
        error: the exception's class; ``None`` for an answer.
        words: a part of its message, or the answer's whole text.
        sends: the number of requests, with one retry allowed.
        partial: the text in ``partial``.
        waited: the least seconds that the retry waited.
    """

    error: type[APIError] | None
    words: str
    sends: int = 1
    partial: str | None = None
    waited: float = 0.0


@dataclass(frozen=True)
class Way:
    """What happens to one way of asking: the steps of the script, a request each, and how the call ends."""

    ends: Ends
    steps: tuple[Step, ...] = field(default=(), repr=False)  # one holds seventeen million bytes


@dataclass(frozen=True)
class Fault:
    """One scenario.

    Args:
        name: what breaks.
        wire: what happens on the wire.
        streamed: how a streamed call ends.
        whole: how a call without streaming ends; ``None``: the fault needs a stream, and ``invoke`` streams internally.
        settings: the model's settings.
        stage: what else is needed besides the loopback Cerebras, or in its place; returns more settings.
    """

    name: str
    wire: str
    streamed: Way
    whole: Way | None = None
    settings: Settings = field(default_factory=dict)
    stage: Stage | None = None

    def way(self, way: str) -> Way:
        """What happens to this way of calling."""
        return self.whole if self.whole is not None and way.endswith("invoke") else self.streamed


@contextlib.contextmanager
def scene(fault: Fault, way: str, server: LoopbackCerebras) -> Iterator[ChatCerebrasDemo]:
    """The model that will meet the fault."""
    server.key = KEY
    server.script(*fault.way(way).steps)
    with fault.stage(server) if fault.stage else contextlib.nullcontext({}) as more:
        # Only where it is wanted: core takes an explicit streaming=False for "never", in stream() too.
        inside = {"streaming": True} if fault.whole is None else {}
        yield model_for(server, **{**inside, **fault.settings, **more})


def model_for(server: LoopbackCerebras, **settings: Any) -> ChatCerebrasDemo:
    """A model that may try once more and is never paced."""
    defaults = {"api_key": KEY, "base_url": server.base_url, "max_retries": 1, "rate_limit": None}
    return ChatCerebrasDemo(**{**defaults, **settings})


def ask(model: ChatCerebrasDemo, way: str) -> str:
    """The text that ``model`` answers by this way of calling, in a loop of its own where the way is asynchronous."""
    if way == "invoke":
        return str(model.invoke("hi").content)
    if way == "stream":
        return "".join(str(chunk.content) for chunk in model.stream("hi"))
    return asyncio.run(_ask(model, way))


async def _ask(model: ChatCerebrasDemo, way: str) -> str:
    if way == "ainvoke":
        return str((await model.ainvoke("hi")).content)
    return "".join([str(chunk.content) async for chunk in model.astream("hi")])


def rude(handle: Callable[[socket.socket], None], to: str = "base_url={}/v1", **settings: object) -> Stage:
    """A rude server in the place of the service, or as the proxy in front of another one."""

    @contextlib.contextmanager
    def stage(_server: object) -> Iterator[dict[str, object]]:
        name, _, pattern = to.partition("=")
        with RudeServer(handle) as one:
            yield {name: pattern.format(one.url), **settings}

    return stage


def staged(name: str, wire: str, ends: Ends, stage: Stage, **settings: object) -> Fault:
    """A fault whose other side is not the loopback Cerebras."""
    return Fault(name, wire, Way(ends), Way(ends), settings, stage)


JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}
SHORT = Timeout(connect=30, first_event=0.3, idle=0.3)
IDLE = Timeout(connect=30, first_event=30, idle=0.15)
"""Short once an event has come; until then no machine is too slow."""
PLAIN_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def delta(reason: str | None = None, index: int = 0, **said: Any) -> dict[str, Any]:
    """One chunk of a stream."""
    return {"id": "c1", "model": "m", "choices": [{"index": index, "delta": said, "finish_reason": reason}]}


HI, FINISH = sse(delta(content="Hi")), sse(delta("stop"))
WHOLE = (
    b'{"id": "c1", "model": "m", "choices": [{"index": 0, "message": {"content": "whole"}, "finish_reason": "stop"}]}'
)


def both(name: str, wire: str, step: Step, ends: Ends, **more: Any) -> Fault:
    """A fault that is the same for streams and whole answers, as often as it is asked."""
    way = Way(ends, (step,) * ends.sends)
    return Fault(name, wire, way, way, **more)


def stream(name: str, wire: str, step: Step, ends: Ends, **more: Any) -> Fault:
    """A fault that a stream alone can have."""
    return Fault(name, wire, Way(ends, (step,) * ends.sends), **more)


def streamed_and_whole(
    name: str, wire: str, streamed: tuple[Step, Ends], whole: tuple[Step, Ends], **more: Any
) -> Fault:
    """A fault that looks different in a whole answer."""
    ways = [Way(ends, (step,) * ends.sends) for step, ends in (streamed, whole)]
    return Fault(name, wire, *ways, **more)


HEAD = """# Faults and their errors

Every row is a scenario of the tests, which play it over real sockets against `invoke`, `ainvoke`, `stream` and `astream`, with one
retry allowed. In rows with two outcomes, the first is that of a stream and the second that of an answer that is not streamed. The
tests write this page.

`partial` is the text that the exception holds; in the chat model it is a merged `AIMessageChunk`. A hyphen means `None`: nothing
had arrived.
"""


def to_page(groups: Mapping[str, Iterable[Fault]]) -> str:
    """The page of all faults, in Markdown."""
    lines = [HEAD]
    for title, faults in groups.items():
        lines += [f"## {title}", ""]
        lines += ["| Fault | What happens | The caller gets | `partial` | Retried |", "|---|---|---|---|---|"]
        lines += [_row(fault) for fault in faults]
        lines.append("")
    return "\n".join(lines)


def _row(fault: Fault) -> str:
    ends = [fault.streamed.ends]
    if fault.whole is not None and fault.whole.ends != ends[0]:
        ends.append(fault.whole.ends)
    cells = [
        fault.name,
        fault.wire,
        _joined(_outcome(end) for end in ends),
        _joined(f"`{end.partial}`" if end.partial is not None else "-" for end in ends),
        _joined(_again(end) for end in ends),
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _joined(cells: Iterable[str]) -> str:
    """The cells of a row's two outcomes, once where they are equal."""
    return "<br>".join(dict.fromkeys(cells))


def _outcome(end: Ends) -> str:
    if end.error is None:
        return f"the answer: “{end.words}”"
    return f"`{end.error.__name__}`: …{end.words.replace('<', '&lt;')}…"


def _again(end: Ends) -> str:
    if end.waited:
        return f"yes, after {end.waited:g} s at the earliest"
    return "yes" if end.sends > 1 else "no"
