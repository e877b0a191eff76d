"""One attempt: a request sent, its answer read and decoded, each within its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TypeVar

from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APITimeoutError,
    StreamInterruptedError,
)
from langchain_cerebras_demo.policy import Timeout
from langchain_cerebras_demo.transport import HttpRequest, HttpResponse, Transport, timeout
from langchain_cerebras_demo.wire import failure
from langchain_cerebras_demo.wire.completion import CompletionDecoder, Event
from langchain_cerebras_demo.wire.sse import ServerSentEvent, SSEDecoder

T = TypeVar("T")

MAX_ERROR_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 256 * 1024 * 1024

# A server that has said [DONE] owes only the end of the body, which lets the connection be used again.
_DRAIN_SECONDS = 0.1


class Exchange:
    """A request and its answer.

    Args:
        transport: what carries the bytes.
        request: what is sent.
        is_stream: whether events were asked for.
        bounds: how long each stage may take.
        deadline: the time of the running loop by which the whole call has to be done, retries included.
        on_headers: called with the headers of a 200, as soon as they are here.
        hide: takes out of an answer what no error may repeat.
    """

    def __init__(
        self,
        transport: Transport,
        request: HttpRequest,
        *,
        is_stream: bool,
        bounds: Timeout,
        deadline: float | None,
        on_headers: Callable[[Mapping[str, str]], None] | None = None,
        hide: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self._transport = transport
        self._request = request
        self._wants_stream = is_stream
        self._bounds = bounds
        self._deadline = deadline
        self._on_headers = on_headers
        self._hide = hide
        self._since = now()  # when the stage that is under way began
        self._stage = "first_event"

    async def events(self, decoder: CompletionDecoder) -> AsyncGenerator[list[Event], None]:
        """The events of a completion, a list a network read, the last list being how it ended.

        Raises:
            APIError: the service refused, the line broke, the answer is none, or it took too long.
        """
        response = await self._send()
        try:
            if not self._is_stream(response):
                yield decoder.feed_whole(await self._read_all(response, MAX_ANSWER_BYTES))
                return
            async with aclosing(self._read_events(response, decoder)) as batches:
                async for events in batches:
                    yield events
        finally:
            response.close()

    async def body(self) -> bytes:
        """The answer's body as it is.

        Raises:
            APIError: as ``events``.
        """
        response = await self._send()
        try:
            return await self._read_all(response, MAX_ANSWER_BYTES)
        finally:
            response.close()

    async def _send(self) -> HttpResponse:
        """The answer, its status being 200."""
        response: HttpResponse = await self._bounded(self._transport.send(self._request))
        if response.status == 200:
            if self._on_headers is not None:
                self._on_headers(response.headers)
            return response
        try:
            body = await self._read_some(response, MAX_ERROR_BYTES)
        finally:
            response.close()
        # The body is redacted before a message is cut out of it: half a key would not be found any more.
        raise failure.from_answer(response.status, response.headers, self._hide(body))

    async def _read_some(self, response: HttpResponse, limit: int) -> bytes:
        """The beginning of an error's body: the status has said the most, so nothing that breaks here counts."""
        body = b""
        try:
            while len(body) < limit and (piece := await self._bounded(response.read())):
                body += piece
        except APIError:
            pass
        return body[:limit]

    def _is_stream(self, response: HttpResponse) -> bool:
        """Whether events are to come. JSON to a stream request is taken as the answer it is, HTML as the mistake it is."""
        sent = response.headers.get("content-type", "")
        return self._wants_stream and not ("json" in sent or "html" in sent)

    async def _read_events(
        self, response: HttpResponse, decoder: CompletionDecoder
    ) -> AsyncGenerator[list[Event], None]:
        sse = SSEDecoder()
        while not decoder.done:
            received, problem = await self._next_bytes(response, decoder)
            events: list[Event] = []
            arrived: list[ServerSentEvent] = []
            try:
                arrived = sse.feed(received) if received else sse.finish()
                for name, data in arrived:
                    events.extend(decoder.feed(name, data))
            except APIError as error:
                problem = error
            if events:  # also those that came in one read with what broke
                yield events
            if arrived:  # comments are no progress, and a consumer's own time is not the server's
                self._since, self._stage = now(), "idle"
            if problem:
                if held := decoder.flush():
                    yield held  # `partial` is all that came
                raise problem
            if not received:
                break
        if not decoder.complete:
            if held := decoder.flush():
                yield held
            raise StreamInterruptedError("the stream ended with neither a finish_reason nor [DONE]: it is cut off")
        if not decoder.has_choices:
            raise APIResponseValidationError("the stream has no choices", status_code=200)
        yield decoder.end()
        await self._drain(response)

    async def _next_bytes(self, response: HttpResponse, decoder: CompletionDecoder) -> tuple[bytes, APIError | None]:
        try:
            return await self._bounded(response.read()), None
        except APIConnectionError as error:
            problem = error
        # Silence or a reset behind the last word takes nothing away.
        return b"", None if decoder.complete else problem

    async def _drain(self, response: HttpResponse) -> None:
        try:
            async with timeout(_DRAIN_SECONDS):
                while await response.read():
                    pass
        except (asyncio.TimeoutError, APIError):
            pass  # then the connection is closed instead of used again

    async def _read_all(self, response: HttpResponse, limit: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := await self._bounded(response.read()):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise APIResponseValidationError(
                    f"the answer is larger than {limit:,} bytes", status_code=response.status
                )
        return b"".join(pieces)

    async def _bounded(self, awaitable: Awaitable[T]) -> T:
        """What ``awaitable`` gives, within the bound of the stage under way and within the call's deadline."""
        stage, bound = self._stage, getattr(self._bounds, self._stage)
        time = now()
        left = None if bound is None else self._since + bound - time
        if self._deadline is not None and (left is None or self._deadline - time < left):
            left, stage, bound = self._deadline - time, "total", self._bounds.total
        try:
            async with timeout(left):
                return await awaitable
        except APITimeoutError:  # the transport's own, which is a TimeoutError too
            raise
        except asyncio.TimeoutError:
            what = {"first_event": "no answer", "idle": "no further event", "total": "not finished"}[stage]
        raise APITimeoutError(f"{what} within {bound:g} s (timeout.{stage})")


def now() -> float:
    """The running loop's time, in seconds."""
    return asyncio.get_running_loop().time()
