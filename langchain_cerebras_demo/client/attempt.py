"""One attempt: send a request, read and decode the answer, each within its time limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, closing

from langchain_cerebras_demo.client.time_limits import Watch
from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    StreamInterruptedError,
)
from langchain_cerebras_demo.net.transport import HttpRequest, HttpResponse, Transport, timeout
from langchain_cerebras_demo.policy import Timeout
from langchain_cerebras_demo.wire import failure
from langchain_cerebras_demo.wire.completion import CompletionDecoder, Event
from langchain_cerebras_demo.wire.headers import to_request_id
from langchain_cerebras_demo.wire.sse import ServerSentEvent, SSEDecoder, is_event_stream

MAX_ERROR_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 256 * 1024 * 1024

_SNIFFED_BYTES = 16  # enough to recognize a stream: a byte order mark and a field's name

# After [DONE], only the end of the body is missing. Once it is read, the connection can be reused.
_DRAIN_SECONDS = 0.1


class Attempt:
    """A request and its answer.

    Args:
        transport: sends the request.
        request: the request to send.
        is_stream: whether the request asks for a stream.
        bounds: the timeouts of the stages.
        deadline: the running loop's time by which the whole call, including retries, must be done.
        on_headers: called with the headers of a 200 as soon as they arrive.
        hide: removes the key from the body of an error answer.
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
        self._on_headers = on_headers
        self._hide = hide
        self._watch = Watch(bounds, deadline)
        self.arrived: list[Event] = []  # of `answer`

    async def events(self, decoder: CompletionDecoder) -> AsyncGenerator[list[Event], None]:
        """Yield the events of a completion, one list per network read; the last list says how it ended.

        Raises:
            APIError: the service refused, the connection broke, the answer is invalid, or it took too long.
        """
        with closing(self._watch):
            response = await self._send()
            with _Reading(response, decoder):
                begin, is_stream = await self._read_beginning(response)
                if is_stream:
                    async with aclosing(self._stream(response, begin, decoder)) as batches:
                        async for events in batches:
                            yield events
                else:
                    yield decoder.feed_whole(await self._read_all(response, MAX_ANSWER_BYTES, begin))

    async def answer(self, decoder: CompletionDecoder) -> None:
        """Read a completion that was requested without streaming into ``arrived``. Servers that stream anyway are supported.

        Raises:
            APIError: as ``events``; ``arrived`` holds the events before the failure.
        """
        with closing(self._watch):
            response = await self._send()
            with _Reading(response, decoder):
                begin, is_stream = await self._read_beginning(response)
                if is_stream:
                    async with aclosing(self._stream(response, begin, decoder)) as batches:
                        async for events in batches:
                            self.arrived += events
                else:
                    self.arrived = decoder.feed_whole(await self._read_all(response, MAX_ANSWER_BYTES, begin))

    async def body(self) -> bytes:
        """Return the body of the answer, unchanged.

        Raises:
            APIError: as ``events``.
        """
        with closing(self._watch):
            response = await self._send()
            with _Reading(response):
                return await self._read_all(response, MAX_ANSWER_BYTES)

    async def _stream(
        self, response: HttpResponse, begin: bytes, decoder: CompletionDecoder
    ) -> AsyncGenerator[list[Event], None]:
        sse = SSEDecoder()
        problem: APIError | None = None
        while not decoder.done and problem is None:
            events: list[Event] = []
            arrived: list[ServerSentEvent] = []
            try:
                received, begin = begin or await self._watch.wait(response.read()), b""
            except APIConnectionError as error:
                received, problem = b"", error
            try:
                arrived = sse.feed(received) if received else sse.finish()
                decoder.feed_all(arrived, events)
            except APIError as error:
                problem = error
            if events:  # also those that precede a failure in the same read
                yield events
            if arrived:  # comments are not progress; restarting after the yield excludes the consumer's own time
                self._watch.begin("idle")
            if not received:
                break
        problem = self._judge(problem, decoder)
        if problem is not None:
            if held := decoder.flush():
                yield held  # so that `partial` is complete
            raise problem
        yield decoder.end()
        await self._drain(response)

    async def _send(self) -> HttpResponse:
        """Send the request and return the response if its status is 200; raise otherwise."""
        response: HttpResponse = await self._watch.wait(self._transport.send(self._request))
        if response.status == 200:
            if self._on_headers is not None:
                self._on_headers(response.headers)
            return response
        try:
            body = await self._read_some(response, MAX_ERROR_BYTES)
        finally:
            response.close()
        raise failure.from_answer(response.status, response.headers, body, hide=self._hide, now=time.time())

    async def _read_some(self, response: HttpResponse, limit: int) -> bytes:
        """Return the beginning of an error's body. Failures are ignored: the status matters more."""
        body = b""
        try:
            while len(body) < limit and (piece := await self._watch.wait(response.read())):
                body += piece
        except APIResponseValidationError as error:
            return str(error).encode()  # the body's encoding cannot be read: say so instead of the body
        except APIError:
            pass
        return body[:limit]

    async def _read_beginning(self, response: HttpResponse) -> tuple[bytes, bool]:
        """Return the first bytes of the body, and whether it is a stream of events.

        The bytes decide, because some servers send the wrong content type. If they are inconclusive, the content type decides.
        """
        begin, is_stream = b"", None
        while is_stream is None and len(begin) < _SNIFFED_BYTES and (piece := await self._watch.wait(response.read())):
            begin = piece if begin.isspace() else begin + piece
            is_stream = is_event_stream(begin)
        if is_stream is None:
            label = response.headers.get("content-type", "")
            is_stream = self._wants_stream and not ("json" in label or "html" in label)
        return begin, is_stream

    def _judge(self, problem: APIError | None, decoder: CompletionDecoder) -> APIError | None:
        """Return the error of a stream that has ended, or ``None`` if it is complete."""
        if isinstance(problem, APIConnectionError) and decoder.complete:
            return None  # a timeout or a reset after the last event loses nothing
        if problem is None and not decoder.complete:
            return StreamInterruptedError("the stream ended with neither a finish_reason nor [DONE]: it is cut off")
        if problem is None and not decoder.has_choices:
            return APIResponseValidationError("the stream has no choices", status_code=200)
        return problem

    async def _drain(self, response: HttpResponse) -> None:
        try:
            async with timeout(_DRAIN_SECONDS):
                while await response.read():
                    pass
        except (asyncio.TimeoutError, APIError):
            pass  # the connection is closed instead of reused

    async def _read_all(self, response: HttpResponse, limit: int, begin: bytes = b"") -> bytes:
        pieces = [begin]
        size = len(begin)
        while piece := await self._watch.wait(response.read()):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise APIResponseValidationError(
                    f"the answer is larger than {limit:,} bytes", status_code=response.status
                )
        return b"".join(pieces)


class _Reading:
    """Close a response at the end, and add the request id and the usage to an error."""

    # Not a generator: if dropped after its loop was closed, a generator would still run its cleanup code.

    def __init__(self, response: HttpResponse, decoder: CompletionDecoder | None = None) -> None:
        self._response = response
        self._decoder = decoder

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, problem: BaseException | None, _trace: object) -> None:
        self._response.close()
        if isinstance(problem, APIError):
            problem.request_id = to_request_id(self._response.headers) or problem.request_id
            if self._decoder is not None:
                problem.usage = self._decoder.usage


def now() -> float:
    """Return the running loop's time in seconds."""
    return asyncio.get_running_loop().time()
