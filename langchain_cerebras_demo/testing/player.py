"""Plays a step of a script on a connection: the prepared answer, a broken form of it, or something else."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from langchain_cerebras_demo.testing.refusals import documented_body, enveloped, flat
from langchain_cerebras_demo.testing.scenarios import (
    CutAfter,
    Disconnect,
    Endless,
    ErrorEvent,
    Gate,
    HtmlPage,
    RawAnswer,
    RawBytes,
    RawStream,
    Redirect,
    Reply,
    Silence,
    Slow,
    Status,
    sse,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from langchain_cerebras_demo.testing.http11 import Response
    from langchain_cerebras_demo.testing.scenarios import Ending, Headers, Step


DONE = b"data: [DONE]\n\n"
JSON = ("content-type", "application/json")
EVENT_STREAM = ("content-type", "text/event-stream; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Prepared:
    """An answer before it is sent: a whole body, or the framed events of a stream, ``[DONE]`` among them.

    ``used_tokens`` is the total of its usage.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    events: tuple[bytes, ...] | None = None
    used_tokens: int = 0


def with_headers(base: Sequence[tuple[str, str]], more: Headers) -> tuple[tuple[str, str], ...]:
    """Return ``base`` followed by ``more``; a name in both is taken from ``more`` only."""
    pairs = tuple(more.items()) if hasattr(more, "items") else tuple(more)
    named = {name.lower() for name, _ in pairs}
    return (*(pair for pair in base if pair[0].lower() not in named), *pairs)


class Player:
    """Answers one request.

    Args:
        response: The answer's connection.
        prepare: Makes the rule-based answer (``None``) or that of a ``Reply``; called when it is needed.
        headers: The documented headers, for what is not prepared.
    """

    def __init__(
        self,
        response: Response,
        prepare: Callable[[Reply | None], Prepared],
        headers: tuple[tuple[str, str], ...],
    ) -> None:
        self.response = response
        self.prepare = prepare
        self.headers = headers

    async def play(self, step: Step | None) -> None:
        """Answer as ``step`` describes, or by the rules if it is ``None``."""
        match step:
            case None | Reply():
                await self.send(self.prepare(step))
            case RawStream() | RawAnswer() | RawBytes() | Endless():
                await self.play_raw(step)
            case Status(status, body, headers):
                content = documented_body(status) if body is None else dict(body)
                await self.whole(status, orjson.dumps(content), JSON, headers)
            case HtmlPage(status, title):
                page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
                await self.whole(status, page.encode(), ("content-type", "text/html; charset=UTF-8"))
            case Redirect(location, status):
                await self.whole(status, b"", ("location", location))
            case _:
                await self.play_spoilt(step)

    async def play_spoilt(self, step: ErrorEvent | CutAfter | Silence | Slow | Gate | Disconnect) -> None:
        """Play the steps that change a prepared answer."""
        match step:
            case Slow(gap, reply):
                await self.send(self.prepare(reply), before=lambda _: asyncio.sleep(gap))
            case Gate(after, reply):
                await self.send(
                    self.prepare(reply), before=lambda n: step.passed() if n in {after, None} else asyncio.sleep(0)
                )
            case ErrorEvent(after, reply=reply):
                await self.send_with_error(step, self.prepare(reply), after)
            case CutAfter(events, how, reply):
                await self.send_cut(self.prepare(reply), events, how)
            case Silence():
                await self.send_silence(step)
            case Disconnect(how, when, reply):
                if when == "idle":
                    await self.send(self.prepare(reply))
                self.response.reset() if how == "reset" else self.response.close()

    async def whole(self, status: int, body: bytes, kind: tuple[str, str], more: Headers = ()) -> None:
        """Send a complete made-up answer; a refusal announces no limits."""
        headers = tuple(pair for pair in self.headers if status < 400 or not pair[0].startswith("x-ratelimit-"))
        await self.response.whole(status, with_headers((kind, *headers), more), body)

    async def send(self, prepared: Prepared, before: Callable[[int | None], Awaitable[object]] | None = None) -> None:
        """Send a prepared answer; ``before`` is awaited with the number of events that have gone, once with ``None`` if whole."""
        if prepared.events is None:
            if before:
                await before(None)
            await self.response.whole(prepared.status, prepared.headers, prepared.body)
            return
        await self.response.start_chunked(prepared.status, prepared.headers)
        for number, event in enumerate(prepared.events):
            if before:
                await before(number)
            await self.response.chunk(event)
        await self.response.end_chunked()

    async def send_with_error(self, step: ErrorEvent, prepared: Prepared, after: int) -> None:
        """The first events, the error, and a proper end without ``[DONE]``."""
        error: Mapping[str, object]
        if step.body is not None:
            error = step.body
        elif step.shape == "flat":
            error = flat("Encountered a server error, please try again.", "server_error", "", "server_error")
        else:
            error = enveloped(step.status, "Encountered a server error, please try again.", "server_error")
        if prepared.events is None:
            await self.response.whole(200, prepared.headers, orjson.dumps(error))
            return
        name = b"event: error\n" if step.shape == "named" else b""
        await self.response.start_chunked(200, prepared.headers)
        for event in (*prepared.events[:after], name + sse(dict(error))):
            await self.response.chunk(event)
        await self.response.end_chunked()

    async def send_cut(self, prepared: Prepared, events: int, how: Ending) -> None:
        """The first events, or half of a whole body, and the end of it."""
        if prepared.events is None:
            length = ("content-length", str(len(prepared.body)))
            await self.response.head(prepared.status, [*prepared.headers, length])
            await self.response.connection.send(prepared.body[: len(prepared.body) // 2])
            await self.end("reset" if how == "reset" else "no_chunk_end")
            return
        await self.response.start_chunked(prepared.status, prepared.headers)
        for event in prepared.events[:events]:
            await self.response.chunk(event)
        await self.end(how)

    async def send_silence(self, step: Silence) -> None:
        """Nothing, or a beginning and then nothing; with keep-alives where they are wanted."""
        if step.before_headers:
            await self.response.hang()
        prepared = self.prepare(step.reply)
        streamed = prepared.events is not None
        await self.response.start_chunked(prepared.status, prepared.headers)
        for event in (prepared.events or ())[: step.after]:
            await self.response.chunk(event)
        while step.keepalives:
            await self.response.chunk(b": keep-alive\n\n" if streamed else b" ")
            await asyncio.sleep(step.interval)
        await self.response.hang()

    async def play_raw(self, step: RawStream | RawAnswer | RawBytes | Endless) -> None:
        """Play the steps that define every byte."""
        match step:
            case RawStream(events, end, pieces, headers):
                await self.response.start_chunked(200, with_headers((EVENT_STREAM, *self.headers), headers))
                for piece in cut([event.encode() if isinstance(event, str) else event for event in events], pieces):
                    await self.response.chunk(piece)
                await self.end(end)
            case RawAnswer():
                await self.send_raw_answer(step)
            case RawBytes(data, end):
                await self.response.connection.send(data)
                if end != "keep":
                    await self.end("no_chunk_end" if end == "eof" else end)
            case Endless(status, prefix, filler, kind):
                headers = with_headers((("content-type", kind),), self.headers)
                await self.response.start_chunked(status, headers)
                await self.response.chunk(prefix)
                while True:
                    await self.response.chunk(filler)

    async def send_raw_answer(self, step: RawAnswer) -> None:
        """A body with the framing that the test wants."""
        headers = with_headers(self.headers, step.headers)
        if step.chunked:
            await self.response.start_chunked(step.status, headers)
            await self.response.chunk(step.body)
            await self.response.end_chunked()
            return
        claimed = len(step.body) if step.content_length is None else step.content_length
        lies = claimed != len(step.body)
        if claimed == "none":
            self.response.stays_open = False
        else:
            headers = (*headers, ("content-length", str(claimed)))
        await self.response.head(step.status, headers)
        await self.response.body(step.body)
        if lies:
            self.response.close()

    async def end(self, how: Ending) -> None:
        """End a stream that has begun."""
        match how:
            case "done":
                await self.response.chunk(DONE)
                await self.response.end_chunked()
            case "eof":
                await self.response.end_chunked()
            case "no_chunk_end":
                self.response.close()
            case "reset":
                self.response.reset()
            case "hang":
                await self.response.hang()


def cut(events: list[bytes], positions: Sequence[int] | None) -> list[bytes]:
    """The body in pieces: one an event, or cut at these positions."""
    if positions is None:
        return events
    body = b"".join(events)
    edges = [0, *positions, len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]
