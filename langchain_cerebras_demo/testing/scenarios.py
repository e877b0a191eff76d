"""The steps of a script: how the loopback Cerebras answers or fails, one step per request.

Steps that change an answer (``ErrorEvent``, ``CutAfter``, ``Silence``, ``Slow``, ``Gate``) use the rule-based answer, or their
``reply``. In all of them, ``after=n`` means after *n* events of the stream; the first event contains only the role. A request
that is not streamed has no events; the docstring of each step describes what happens then.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


Headers: TypeAlias = "Mapping[str, str] | Sequence[tuple[str, str]]"
Ending: TypeAlias = Literal["done", "eof", "no_chunk_end", "reset", "hang"]


def sse(*events: Any) -> bytes:
    """Return events as Cerebras frames them: ``data: …`` and an empty line each; a ``str`` unchanged, all else as JSON."""
    texts = (event.encode() if isinstance(event, str) else orjson.dumps(event) for event in events)
    return b"".join(b"data: " + text + b"\n\n" for text in texts)


@dataclass(frozen=True)
class ScriptedCall:
    """One tool call of a ``Reply``.

    Attributes:
        name: The tool's name.
        arguments: A mapping, or the exact text (also text that is not JSON).
        id: ``None`` = nine hex characters, as the service's own.
    """

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    id: str | None = None


Call = ScriptedCall
"""The former name of :class:`ScriptedCall`."""


@dataclass(frozen=True)
class Reply:
    """Explicit content instead of the rule-based one; ``stop``, token limits and ``n`` of the request are not applied.

    Attributes:
        text: The content; ``None`` leaves the key out, as the service does on a pure tool call.
        reasoning: The reasoning; ``None`` leaves it out.
        tool_calls: The calls.
        finish_reason: ``None`` = ``"tool_calls"`` where there are calls, else ``"stop"``.
        usage: The whole usage object; ``None`` = counted.
        deltas: The exact deltas of a streamed answer, including the one with the role if there should be one; ``None`` =
            made from the above. If the request is not streamed, their sum is the message.
        headers: Added to the documented ones, or in their place.
    """

    text: str | None = None
    reasoning: str | None = None
    tool_calls: Sequence[ScriptedCall] = ()
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    deltas: Sequence[Mapping[str, Any]] | None = None
    headers: Headers = ()


@dataclass(frozen=True)
class RawStream:
    """A 200 event stream whose body is given byte for byte.

    Attributes:
        events: The body, without any additions (use ``sse`` to frame an event); a ``str`` is sent as UTF-8.
        end: ``"done"`` adds ``data: [DONE]`` and ends the answer; ``"eof"`` ends it without; ``"no_chunk_end"`` closes
            the connection in the middle of the chunked encoding; ``"reset"`` resets it; ``"hang"`` stays silent.
        pieces: Positions at which the body is split; each piece is a TCP write and an HTTP chunk.
            ``None`` = one piece per member of ``events``.
        headers: Added to the documented ones, or in their place.
    """

    events: Sequence[bytes | str] = ()
    end: Ending = "done"
    pieces: Sequence[int] | None = None
    headers: Headers = ()


@dataclass(frozen=True)
class RawAnswer:
    """An answer with a status, headers and body of the test's choice.

    Attributes:
        status: The HTTP status.
        headers: All headers; only the documented ones that are not named here are added.
        body: The body.
        content_length: The header's value; ``None`` = the real length, ``"none"`` = no such header, so that the body ends with
            the connection. If the value is too large, the connection closes after the body.
        chunked: Send the body with chunked encoding instead of a length.
    """

    status: int = 200
    headers: Headers = ()
    body: bytes = b""
    content_length: int | Literal["none"] | None = None
    chunked: bool = False


@dataclass(frozen=True)
class RawBytes:
    """These bytes on the socket and nothing else, e.g. a broken status line; then the end of the connection.

    Attributes:
        data: What is written.
        end: ``"eof"`` closes, ``"reset"`` resets, ``"hang"`` stays silent, ``"keep"`` leaves the connection in use.
    """

    data: bytes
    end: Literal["eof", "reset", "hang", "keep"] = "eof"


@dataclass(frozen=True)
class Status:
    """An HTTP error.

    Attributes:
        status: The HTTP status.
        body: The JSON body; ``None`` = the documented one of this status (see ``refusals.py``).
        headers: Added to the documented ones, or in their place, e.g. ``{"retry-after": "2"}``.
    """

    status: int
    body: Mapping[str, Any] | None = None
    headers: Headers = ()


@dataclass(frozen=True)
class HtmlPage:
    """A web page instead of an answer, as from a proxy in front of the service."""

    status: int = 200
    title: str = "Just a moment..."


@dataclass(frozen=True)
class Redirect:
    """A redirect; ``location`` may name another host, to test what a client sends there."""

    location: str
    status: int = 302


@dataclass(frozen=True)
class Endless:
    r"""A body that never ends: the client has to give up. For tests of bounds.

    Attributes:
        status: The HTTP status.
        prefix: What the body starts with, e.g. ``b"data: "`` for an event that has no end.
        filler: What is repeated for as long as the client reads, e.g. ``b": ping\n\n"`` for comments without end.
        content_type: The content type.
    """

    status: int = 200
    prefix: bytes = b"data: "
    filler: bytes = b"x" * 65_536
    content_type: str = "text/event-stream; charset=utf-8"


@dataclass(frozen=True)
class ErrorEvent:
    """An error inside a 200: in a stream after some events, or as the body of a whole answer.

    Attributes:
        after: How many events of the answer come first; 0 = the error is the first.
        shape: ``"flat"``, ``"enveloped"``, or ``"named"``: enveloped in an event with the SSE name ``error``.
        status: The ``status_code`` of an enveloped one; a flat one has none.
        body: The exact body; ``None`` = a server error in that shape.
        reply: The answer underneath.
    """

    after: int = 1
    shape: Literal["flat", "enveloped", "named"] = "enveloped"
    status: int = 500
    body: Mapping[str, Any] | None = None
    reply: Reply | None = None


@dataclass(frozen=True)
class CutAfter:
    """An answer that is cut off. A whole answer is cut in the middle of its body, before its ``Content-Length``.

    Attributes:
        events: How many events come first.
        how: ``"eof"`` ends the HTTP body regularly, but without a ``finish_reason`` or ``[DONE]`` (a whole answer: closes the
            connection); ``"no_chunk_end"`` closes the connection; ``"reset"`` resets it.
        reply: The answer underneath.
    """

    events: int = 1
    how: Literal["eof", "no_chunk_end", "reset"] = "eof"
    reply: Reply | None = None


@dataclass(frozen=True)
class Silence:
    """An answer that stops while the connection stays open, until the client disconnects.

    Attributes:
        before_headers: Whether not even a status line is sent; otherwise, the headers and the first ``after`` events are.
        keepalives: Send SSE comments all the time (for a whole answer: spaces, which JSON allows at the beginning).
        after: How many events come first.
        interval: Seconds between two keep-alives.
        reply: The answer underneath.
    """

    before_headers: bool = False
    keepalives: bool = False
    after: int = 0
    interval: float = 0.02
    reply: Reply | None = None


@dataclass(frozen=True)
class Slow:
    """An answer with ``gap`` seconds before each event; a whole one comes after one gap."""

    gap: float = 0.05
    reply: Reply | None = None


@dataclass(frozen=True)
class Disconnect:
    """The server closes the connection.

    Attributes:
        how: ``"eof"`` closes it, ``"reset"`` resets it.
        when: ``"before_answer"``: instead of an answer. ``"idle"``: after a complete answer that promised to keep the
            connection, so that the client finds a dead one in its pool.
        reply: The answer underneath, for ``"idle"``.
    """

    how: Literal["eof", "reset"] = "eof"
    when: Literal["before_answer", "idle"] = "before_answer"
    reply: Reply | None = None


@dataclass(frozen=True, eq=False)
class Gate:
    """An answer that waits after some events until the test opens the gate. One gate serves one request.

    A whole answer waits before its first byte.

    Attributes:
        after: How many events come first.
        reply: The answer underneath.
    """

    after: int = 1
    reply: Reply | None = None
    _opened: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _reached: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(
        default_factory=list, init=False, repr=False
    )
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def open(self) -> None:
        """Let the answer continue. May be called early, often and from any thread."""
        with self._lock:
            self._opened.set()
            for loop, event in self._waiters:
                with contextlib.suppress(RuntimeError):  # the server stopped meanwhile
                    loop.call_soon_threadsafe(event.set)

    def wait_reached(self, timeout: float = 5.0) -> bool:
        """Return whether the answer reached the gate within ``timeout`` seconds."""
        return self._reached.wait(timeout)

    async def passed(self) -> None:
        """Wait in the server's loop until ``open`` was called."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            if self._opened.is_set():
                waiter[1].set()
            self._waiters.append(waiter)
        self._reached.set()
        try:
            await waiter[1].wait()
        finally:
            with self._lock:
                self._waiters.remove(waiter)


Step: TypeAlias = (
    "Reply | RawStream | RawAnswer | RawBytes | Status | HtmlPage | Redirect | Endless"
    " | ErrorEvent | CutAfter | Silence | Slow | Gate | Disconnect"
)
"""Any of the above."""

STEPS = (
    Reply,
    RawStream,
    RawAnswer,
    RawBytes,
    Status,
    HtmlPage,
    Redirect,
    Endless,
    ErrorEvent,
    CutAfter,
    Silence,
    Slow,
    Gate,
    Disconnect,
)
"""The classes of :data:`Step`, for ``isinstance``."""
