"""The loopback Cerebras: a real HTTP server on 127.0.0.1, in a daemon thread with its own event loop."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import orjson

from langchain_cerebras_demo.testing.http11 import Connection, MalformedRequestError, Response, read_request
from langchain_cerebras_demo.testing.models import MODELS, LoopbackModel
from langchain_cerebras_demo.testing.player import JSON, Player
from langchain_cerebras_demo.testing.refusals import RefusedError, flat
from langchain_cerebras_demo.testing.routes import (
    CHAT_PATH,
    SESSION_PATH,
    Service,
    admit,
    documented_headers,
    route,
)
from langchain_cerebras_demo.testing.scenarios import STEPS, Reply

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from langchain_cerebras_demo.testing.http11 import ReceivedRequest
    from langchain_cerebras_demo.testing.player import Prepared
    from langchain_cerebras_demo.testing.quota import Quota
    from langchain_cerebras_demo.testing.scenarios import Step


STOP_SECONDS = 10.0
HANDSHAKE_SECONDS = 5.0


class LoopbackCerebras:
    """A server with the API of the Cerebras service, for tests. It uses real sockets, but nothing leaves 127.0.0.1.

    ``with LoopbackCerebras() as server: ChatCerebrasDemo(base_url=server.base_url, api_key=server.key)``

    Without a script it answers by rules from the request's own words, and refuses what the service refuses. All members
    may be used from any thread. ``key``, ``demo_key`` and ``latency`` may be changed while it runs.

    Args:
        key: The accepted API key.
        models: Ids (of the built-in models, or of new ones that support everything) or ``LoopbackModel`` objects.
        ssl_context: Speak https with this server-side context.
        demo_key: A second accepted key, which ``/api/auth/session`` returns.
        session_cookies: The cookies of a signed-in browser, all of which the session endpoint demands; ``None`` = no session.
        latency: Seconds before the first byte of every answer.
        quota: The account's limits, announced and enforced; ``None`` = limits that are never reached.
    """

    def __init__(
        self,
        *,
        key: str = "csk-loopback-0123456789abcdef",
        models: Sequence[str | LoopbackModel] = MODELS,
        ssl_context: ssl.SSLContext | None = None,
        demo_key: str = "csk-demo-0123456789abcdef",
        session_cookies: Mapping[str, str] | None = None,
        latency: float = 0.0,
        quota: Quota | None = None,
    ) -> None:
        built_in = {model.id: model for model in MODELS}
        served = [built_in.get(one, LoopbackModel(one)) if isinstance(one, str) else one for one in models]
        self.latency = latency
        self._service = Service(key, demo_key, {model.id: model for model in served}, dict(session_cookies or {}))
        self._service.quota = quota
        self._ssl_context = ssl_context
        self._port: int | None = None
        self._changed = threading.Condition()
        self._requests: list[ReceivedRequest] = []
        self._scripts: dict[str, deque[Step]] = {}
        self._connections: set[Connection] = set()
        self._numbers = itertools.count(1)
        self._departures = 0
        self._bugs: list[BaseException] = []
        self._thread: threading.Thread | None = None
        self._resets_at_end = False

    def __repr__(self) -> str:
        return f"<LoopbackCerebras {'not started' if self._port is None else self.base_url}>"

    # -- life

    def start(self) -> LoopbackCerebras:
        """Open the port and serve. ``with`` does it. Raises ``RuntimeError`` if it was started before."""
        if self._thread is not None:
            raise RuntimeError("this LoopbackCerebras was started before; make a new one")
        ready: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="loopback-cerebras", daemon=True)
        self._thread.start()
        self._port = ready.result(timeout=STOP_SECONDS)
        return self

    def stop(self) -> None:
        """Close the port and all connections and wait for the thread. Raises ``RuntimeError`` for a bug in the loopback."""
        self._end()
        if self._bugs:
            raise RuntimeError("the loopback Cerebras itself failed; see the cause") from self._bugs[0]

    def kill(self) -> None:
        """Disappear like a killed process: the port closes and every connection is reset at once."""
        self._resets_at_end = True
        self._end()

    def __enter__(self) -> LoopbackCerebras:  # noqa: PYI034 - typing.Self is not in 3.10, and this is not derived from
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.stop()
        else:
            self._end()  # the test's own failure matters more

    # -- what a test gives

    def script(self, *steps: Step) -> None:
        """Queue steps for ``POST /v1/chat/completions``, one a request; when none is left, the rules answer.

        A request that the service would refuse is refused and uses no step. Raises ``TypeError`` for any other object.
        """
        self.script_path(CHAT_PATH, *steps)

    def script_session(self, *steps: Step) -> None:
        """Queue steps for ``GET /api/auth/session``, as ``script`` does for chat requests."""
        self.script_path(SESSION_PATH, *steps)

    def script_path(self, path: str, *steps: Step) -> None:
        """Queue steps for any address, e.g. ``"/public/v1/models"``, as ``script`` does for chat requests."""
        for step in steps:
            if not isinstance(step, STEPS):
                raise TypeError(f"{step!r} is not a step; use one of {', '.join(kind.__name__ for kind in STEPS)}")
            if isinstance(step, Reply) and path != CHAT_PATH:
                raise TypeError(f"a Reply answers chat requests only; use a RawAnswer for {path}")
        with self._changed:
            self._scripts.setdefault(path, deque()).extend(steps)

    @property
    def key(self) -> str:
        """The accepted API key."""
        return self._service.key

    @key.setter
    def key(self, value: str) -> None:
        self._service.key = value

    @property
    def demo_key(self) -> str:
        """The second key, which ``/api/auth/session`` returns."""
        return self._service.demo_key

    @demo_key.setter
    def demo_key(self, value: str) -> None:
        self._service.demo_key = value

    # -- what a test sees

    @property
    def port(self) -> int:
        """The TCP port. Raises ``RuntimeError`` before the start."""
        if self._port is None:
            raise RuntimeError("this LoopbackCerebras was not started; use it in a with statement or call start()")
        return self._port

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT/v1``, or https with an ``ssl_context``."""
        return f"{'https' if self._ssl_context else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def requests(self) -> list[ReceivedRequest]:
        """All requests so far in order of arrival; a copy."""
        with self._changed:
            return list(self._requests)

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        with self._changed:
            return len(self._connections)

    @property
    def unused_steps(self) -> int:
        """How many queued steps have not been used."""
        with self._changed:
            return sum(map(len, self._scripts.values()))

    def wait_for_requests(self, count: int, timeout: float = 5.0) -> bool:
        """Return whether at least ``count`` requests arrived within ``timeout`` seconds."""
        return self._wait(lambda: len(self._requests) >= count, timeout)

    def wait_for_connections(self, count: int, timeout: float = 5.0) -> bool:
        """Return whether exactly ``count`` connections were open within ``timeout`` seconds."""
        return self._wait(lambda: len(self._connections) == count, timeout)

    def wait_for_disconnect(self, timeout: float = 5.0) -> bool:
        """Return whether a client left a running answer within ``timeout`` seconds; each call counts another departure."""
        with self._changed:
            if found := self._changed.wait_for(lambda: self._departures > 0, timeout):
                self._departures -= 1
            return found

    def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    # -- the thread

    def _run(self, ready: Future[int]) -> None:
        try:
            asyncio.run(self._main(ready))
        except BaseException as error:  # noqa: BLE001 - start() or stop() raises it
            if ready.done():
                self._bugs.append(error)
            else:
                ready.set_exception(error)

    async def _main(self, ready: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.slow_callback_duration = STOP_SECONDS  # python -X dev would log every long answer
        self._loop.set_exception_handler(self._note_problem)
        self._stopping = asyncio.Event()
        self._all_gone = asyncio.Event()
        handshake = HANDSHAKE_SECONDS if self._ssl_context else None
        listener = await self._loop.create_server(
            self._accept, "127.0.0.1", 0, ssl=self._ssl_context, ssl_handshake_timeout=handshake, backlog=1024
        )
        ready.set_result(listener.sockets[0].getsockname()[1])
        await self._stopping.wait()
        listener.close()
        if self._connections:
            for connection in tuple(self._connections):
                connection.reset() if self._resets_at_end else connection.transport.abort()
            await self._all_gone.wait()
        await listener.wait_closed()

    def _note_problem(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keep what asyncio would log, as a bug; a client that breaks off a TLS handshake is part of a test."""
        error = context.get("exception")
        if not isinstance(error, OSError):
            self._bugs.append(error or RuntimeError(context["message"]))

    def _end(self) -> None:
        thread = self._thread
        if thread is None or not thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        thread.join(STOP_SECONDS)
        if thread.is_alive():
            raise RuntimeError(f"the loopback Cerebras did not stop within {STOP_SECONDS:g} seconds")

    def _accept(self) -> Connection:
        return Connection(
            next(self._numbers), self._serve, opened=self._opened, closed=self._closed, left=self._departed
        )

    def _opened(self, connection: Connection) -> None:
        with self._changed:
            self._connections.add(connection)
            self._changed.notify_all()

    def _closed(self, connection: Connection) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()
        if self._stopping.is_set() and not self._connections:
            self._all_gone.set()

    def _departed(self) -> None:
        with self._changed:
            self._departures += 1
            self._changed.notify_all()

    async def _serve(self, connection: Connection) -> None:
        try:
            while await self._serve_one(connection):
                pass
        except Exception as error:  # noqa: BLE001 - kept for stop(); the client sees a reset
            self._bugs.append(error)
            connection.reset()
        else:
            connection.close()

    async def _serve_one(self, connection: Connection) -> bool:
        """Answer the next request; return whether another may follow on this connection."""
        try:
            request = await read_request(connection)
        except MalformedRequestError as error:
            body = flat(f"Bad request: {error}", "invalid_request_error", "", "bad_request")
            await Response(connection, keep_alive=False).whole(400, (JSON,), orjson.dumps(body))
            return False
        connection.answering = True
        with self._changed:
            self._requests.append(request)
            self._service.answered += 1
            self._changed.notify_all()
        response = Response(connection, keep_alive=request.keeps_alive)
        try:
            prepare = route(self._service, request)
            admission = admit(self._service, request)
        except RefusedError as refusal:
            headers = documented_headers(self._service, is_refusal=True)
            await asyncio.sleep(self.latency)
            await response.whole(refusal.status, (JSON, *headers), orjson.dumps(refusal.body))
        else:
            headers = documented_headers(self._service)

            def prepare_and_count(reply: Reply | None) -> Prepared:
                prepared = prepare(reply)
                if admission is not None:
                    admission.used_tokens = prepared.used_tokens
                return prepared

            try:
                await asyncio.sleep(self.latency)
                await Player(response, prepare_and_count, headers).play(self._next_step(request.path))
            finally:
                if admission is not None and self._service.quota is not None:
                    self._service.quota.end(admission)
        connection.answering = False
        return response.stays_open

    def _next_step(self, path: str) -> Step | None:
        with self._changed:
            steps = self._scripts.get(path)
            return steps.popleft() if steps else None
