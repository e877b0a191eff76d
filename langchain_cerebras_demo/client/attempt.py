"""One attempt: a request sent, its answer read and decoded, each within its time."""

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

_TELLING_BYTES = 16  # so many bytes tell a stream from another body, a byte order mark and a field's name included

# A server that has said [DONE] owes only the end of the body, which lets the connection be used again.
_DRAIN_SECONDS = 0.1


class Attempt:
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
        self._on_headers = on_headers
        self._hide = hide
        self._watch = Watch(bounds, deadline)
        self.arrived: list[Event] = []  # of `answer`

    async def events(self, decoder: CompletionDecoder) -> AsyncGenerator[list[Event], None]:
        """Yield the events of a completion, a list a network read; the last list says how it ended.

        Raises:
            APIError: The service refused, the connection broke, the answer is not valid, or it took too long.
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
        """Put the events of a completion that is not streamed into ``arrived``; also of one that is, although it was not to be.

        Raises:
            APIError: As ``events``; ``arrived`` has what came before.
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
        """Return the body of the answer as it is.

        Raises:
            APIError: As ``events``.
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
            if events:  # also those that came in one read with what broke
                yield events
            if arrived:  # comments are no progress, and a consumer's own time is not the server's
                self._watch.begin("idle")
            if not received:
                break
        problem = self._judge(problem, decoder)
        if problem is not None:
            if held := decoder.flush():
                yield held  # `partial` is all that came
            raise problem
        yield decoder.end()
        await self._drain(response)

    async def _send(self) -> HttpResponse:
        """The answer, its status being 200."""
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
        """The beginning of an error's body: the status has said the most, so nothing that breaks here counts."""
        body = b""
        try:
            while len(body) < limit and (piece := await self._watch.wait(response.read())):
                body += piece
        except APIResponseValidationError as error:
            return str(error).encode()  # its encoding cannot be read, and that is all there is to say of the body
        except APIError:
            pass
        return body[:limit]

    async def _read_beginning(self, response: HttpResponse) -> tuple[bytes, bool]:
        """The first bytes of the body, and whether it is a stream of events.

        The bytes decide: there are servers that label one as the other. Where they tell nothing, the label does.
        """
        begin, is_stream = b"", None
        while is_stream is None and len(begin) < _TELLING_BYTES and (piece := await self._watch.wait(response.read())):
            begin = piece if begin.isspace() else begin + piece
            is_stream = is_event_stream(begin)
        if is_stream is None:
            label = response.headers.get("content-type", "")
            is_stream = self._wants_stream and not ("json" in label or "html" in label)
        return begin, is_stream

    def _judge(self, problem: APIError | None, decoder: CompletionDecoder) -> APIError | None:
        """What is wrong with a stream that is over, if anything."""
        if isinstance(problem, APIConnectionError) and decoder.complete:
            return None  # silence or a reset behind the last word takes nothing away
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
            pass  # then the connection is closed instead of used again

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
    """Closes a response at the end; an error then says what is known of the answer."""

    # Not a generator: one that is dropped together with its closed loop would still run its end.

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
    """The running loop's time, in seconds."""
    return asyncio.get_running_loop().time()
