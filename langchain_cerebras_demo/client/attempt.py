"""One attempt: a request sent, its answer read and decoded, each within its time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import closing

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

    async def events(self, decoder: CompletionDecoder) -> AsyncGenerator[list[Event], None]:
        """The events of a completion, a list a network read, the last list being how it ended.

        Raises:
            APIError: the service refused, the line broke, the answer is none, or it took too long.
        """
        with closing(self._watch):
            response = await self._send()
            try:
                begin, is_stream = await self._read_beginning(response)
                if not is_stream:
                    yield decoder.feed_whole(await self._read_all(response, MAX_ANSWER_BYTES, begin))
                    return
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
            except APIError as error:
                error.request_id = to_request_id(response.headers) or error.request_id
                error.usage = decoder.usage
                raise
            finally:
                response.close()

    async def body(self) -> bytes:
        """The answer's body as it is.

        Raises:
            APIError: as ``events``.
        """
        with closing(self._watch):
            response = await self._send()
            try:
                return await self._read_all(response, MAX_ANSWER_BYTES)
            except APIError as error:
                error.request_id = to_request_id(response.headers)
                raise
            finally:
                response.close()

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


def now() -> float:
    """The running loop's time, in seconds."""
    return asyncio.get_running_loop().time()
