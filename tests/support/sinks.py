"""Whatever a secret may run out by, collected in one place and searched for it in all its forms.

``Sinks`` keeps what a program shows: text, log records, exceptions with their frames, objects, files, callbacks, cache keys
and bytes on the wire. ``find`` says where a secret is among it, and never shows it. A frame counts with its local
variables, so whoever uses this keeps his secrets in globals.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import inspect
import logging
import math
import pickle
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps
from langchain_core.tracers import BaseTracer
from pydantic import SecretStr
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from langchain_cerebras_demo import AiohttpTransport, BrowserSessionKey, Cerebras, ChatCerebrasDemo, EnvKey, Timeout
from langchain_cerebras_demo.client.limiter import process_limiter
from langchain_cerebras_demo.keys.browser import BrowserSession, FoundSessions
from langchain_cerebras_demo.net.portal import portal
from langchain_cerebras_demo.testing import LoopbackCerebras, ReceivedRequest
from tests.support.leaks import all_that_shows
from tests.support.tls import LoopbackResolver, LoopbackTLS

__all__ = [
    "COOKIE",
    "COOKIE_WAYS",
    "KEY",
    "LONG",
    "NAME",
    "SECRETS",
    "WAYS",
    "RecordingProxy",
    "SinkCache",
    "SinkHandler",
    "SinkResolver",
    "SinkTracer",
    "Sinks",
    "arrived",
    "browser",
    "forms_of",
    "give_key",
    "model",
    "outcome",
    "read_browser",
    "watching",
]

# Longer than the 80 letters that rich shows of a text; with letters that are encoded in URLs, in base64 and in JSON.
KEY = "k+y/sen=inel" + "k" * 90 + "len=ni/yek+s"
COOKIE = "c+o/kie=ntin" + "c" * 90 + "len=itc/+eik"
SECRETS = {"key": KEY, "cookie": COOKIE}
NAME = "__Secure-next-auth.session-token"
HELLO = [{"role": "user", "content": "hi"}]

LONG = 60.0  # seconds that no machine needs; where nothing comes, the clock jumps
CORE = 12  # letters at either end that are as good as the whole: rich cuts a long text off, others keep its tail
DEPTH = 12
RICH_LETTERS = 80  # rich's own default


def forms_of(secret: str) -> set[bytes]:
    """The two ends of a secret as they are, percent-encoded, escaped in JSON, and in base64 at any offset of its text."""
    forms = set()
    for end in (secret[:CORE], secret[-CORE:]):
        forms |= {end, end.replace("/", "\\/")}
        for encoded in (quote(end), quote(end, safe="")):
            forms |= {encoded, encoded.lower()}
        for before in range(3):
            encoded = base64.b64encode(b"\0" * before + end.encode()).decode()
            whole = encoded[math.ceil(before * 8 / 6) : (before + len(end)) * 8 // 6]  # letters that only it decides
            forms |= {whole, whole.replace("+", "-").replace("/", "_")}
    return {form.encode() for form in forms}


class Sinks:
    """What was shown, by the way it went."""

    def __init__(self) -> None:
        self._seen: dict[str, list[bytes]] = {}

    def find(self, secrets: Mapping[str, str]) -> list[str]:
        """``"name in way"`` for each of the named secrets and each way it got out by, sorted."""
        forms = {name: forms_of(secret) for name, secret in secrets.items()}
        seen = {way: b"\n".join(dict.fromkeys(shown)) for way, shown in self._seen.items()}
        return sorted(
            f"{name} in {way}"
            for way, all_shown in seen.items()
            for name in forms
            if any(form in all_shown for form in forms[name])
        )

    def ways(self) -> set[str]:
        """The ways that anything went at all."""
        return {way for way, shown in self._seen.items() if any(shown)}

    def take(self, way: str, *shown: object) -> None:
        """Keeps bytes as they are and all else as text."""
        pieces = (one if isinstance(one, bytes) else str(one).encode("utf-8", "replace") for one in shown)
        self._seen.setdefault(way, []).extend(pieces)

    def take_exception(self, way: str, error: BaseException) -> None:
        """Text, arguments, attributes, causes, and frames with locals as ``traceback`` and rich show them."""
        self.take(way, all_that_shows(error), *contents_of(error))
        for most in (RICH_LETTERS, None):
            trace = Traceback.extract(
                type(error),
                error,
                error.__traceback__,
                show_locals=True,
                locals_max_length=None,
                locals_max_string=most,
            )
            for stack in trace.stacks:
                self.take(f"{way}, by rich", stack.exc_value)
                for frame in stack.frames:
                    for node in (frame.locals or {}).values():
                        self.take(f"{way}, by rich", node.render(max_width=10**6))

    def take_object(self, way: str, thing: Any) -> None:
        """How it prints, alone and in a list, by rich too; as a pickle, as LangChain's JSON, and as pydantic's."""
        self.take_printed(f"{way}, printed", thing)
        self.take(f"{way}, printed", str(thing), f"{thing}")
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with self._refusal(f"{way}, pickle"):
                self.take(f"{way}, pickle", pickle.dumps(thing, protocol))
        with self._refusal(f"{way}, dumps"):
            self.take(f"{way}, dumps", dumps(thing))
        if hasattr(thing, "model_dump"):
            with self._refusal(f"{way}, pydantic"):
                self.take(f"{way}, pydantic", thing.model_dump())
            with self._refusal(f"{way}, pydantic"):
                self.take(f"{way}, pydantic", thing.model_dump_json())

    def take_printed(self, way: str, thing: object) -> None:
        """How it stands among the variables of a frame, for Python and for rich."""
        self.take(way, repr(thing), repr([thing]), repr({"x": thing}))
        self.take(way, *(pretty_repr(thing, max_string=most) for most in (RICH_LETTERS, None)))

    def take_folder(self, way: str, folder: Path) -> None:
        """Names and contents of all files in it."""
        for path in folder.rglob("*"):
            self.take(way, path, path.read_bytes() if path.is_file() else b"")

    def take_requests(
        self, way: str, server: LoopbackCerebras, is_rightful: Callable[[ReceivedRequest, str, str], bool]
    ) -> None:
        """All that a server was sent, but for the headers that ``is_rightful(request, name, value)`` lets pass."""
        for request in server.requests:
            headers = [pair for pair in request.headers if not is_rightful(request, *pair)]
            self.take(way, request.method, request.path, request.query, request.body, *map(": ".join, headers))

    @contextlib.contextmanager
    def take_logs(self) -> Iterator[None]:
        """All records of all loggers, at DEBUG, with their arguments."""
        handler = _SinkLog(self)
        loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.DEBUG)
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

    @contextlib.contextmanager
    def _refusal(self, way: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - not everything can be pickled: what it says of that counts, too
            self.take_exception(way, error)


class _SinkLog(logging.Handler):
    def __init__(self, sinks: Sinks) -> None:
        super().__init__(logging.DEBUG)
        self._sinks = sinks

    def emit(self, record: logging.LogRecord) -> None:
        self._sinks.take("logs", logging.Formatter().format(record), repr(record.__dict__), pretty_repr(record.args))
        if record.exc_info and record.exc_info[1]:
            self._sinks.take_exception("logs", record.exc_info[1])


class SinkTracer(BaseTracer):
    """Keeps what LangSmith would upload of each run."""

    def __init__(self, sinks: Sinks) -> None:
        super().__init__()
        self._sinks = sinks

    def _persist_run(self, run: Any) -> None:
        self._sinks.take(
            "tracer",
            *contents_of(
                [run.name, run.serialized, run.extra, run.tags, run.inputs, run.outputs, run.events, run.error]
            ),
        )


class SinkHandler(BaseCallbackHandler):
    """Keeps every argument of every callback."""

    run_inline = True

    def __init__(self, sinks: Sinks) -> None:
        self.sinks = sinks


def _recorder(name: str) -> Callable[..., None]:
    def record(self: SinkHandler, *args: Any, **kwargs: Any) -> None:
        self.sinks.take("callbacks", name, *contents_of([args, kwargs]))
        for one in args:
            if isinstance(one, BaseException):  # rich is shown it where it ends, with these frames and more
                self.sinks.take("callbacks", all_that_shows(one), *contents_of(one))

    return record


for hook in [name for name in dir(BaseCallbackHandler) if name.startswith("on_")]:
    setattr(SinkHandler, hook, _recorder(hook))


class SinkCache(InMemoryCache):
    """Keeps the keys it is asked by, and what is put in."""

    def __init__(self, sinks: Sinks) -> None:
        super().__init__()
        self._sinks = sinks

    def lookup(self, prompt: str, llm_string: str) -> Any:
        self._sinks.take("cache keys", prompt, llm_string)
        return super().lookup(prompt, llm_string)

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        self._sinks.take("cache keys", prompt, llm_string, *contents_of(return_val))
        super().update(prompt, llm_string, return_val)


class SinkResolver(LoopbackResolver):
    """Leads the Cerebras names to one port, every other name of ``LoopbackResolver``'s to another."""

    def __init__(self, site: int, stranger: int) -> None:
        super().__init__(site)
        self._ports = (site, stranger)
        self._knows_names = True

    def lead_to(self, port: int) -> None:
        """Leads every name there from now on."""
        self._ports = (port, port)

    def forget_names(self) -> None:
        """From now on no name is known."""
        self._knows_names = False

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> Any:
        if not self._knows_names:
            raise OSError(socket.EAI_NONAME, "no such name")
        self.port = self._ports[not host.endswith(".cerebras.ai")]
        return await super().resolve(host, port, family)


class RecordingProxy(socketserver.ThreadingTCPServer):
    """A proxy in threads of its own that leads every host to one port and keeps all that clients send through it."""

    daemon_threads = True

    def __init__(self, target: int, sinks: Sinks) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.target, self.sinks = target, sinks
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> RecordingProxy:  # noqa: PYI034 - typing.Self is not in 3.10
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self.shutdown()
        self.server_close()


class _Tunnel(socketserver.BaseRequestHandler):
    server: RecordingProxy

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (piece := self.request.recv(65_536)):
            head += piece
        self.server.sinks.take("the proxy", head)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.server.target)) as there:
            if head.startswith(b"CONNECT "):
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                there.sendall(head)
            back = threading.Thread(target=_pour, args=(there, self.request, lambda _: None), daemon=True)
            back.start()
            _pour(self.request, there, lambda piece: self.server.sinks.take("the proxy", piece))
            back.join(5)


def _pour(source: socket.socket, target: socket.socket, note: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65_536):
            note(piece)
            target.sendall(piece)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def contents_of(thing: Any, depth: int = DEPTH, seen: set[int] | None = None) -> Iterator[str]:
    """The texts in a thing, however deep: in containers, attributes, and an exception's arguments, causes and notes."""
    seen = set() if seen is None else seen
    if isinstance(thing, str | bytes):
        yield thing.decode("utf-8", "replace") if isinstance(thing, bytes) else thing
        return
    if depth == 0 or id(thing) in seen or thing is None or isinstance(thing, type | int | float):
        return
    seen.add(id(thing))
    yield repr(thing)
    for one in _parts_of(thing):
        yield from contents_of(one, depth - 1, seen)


def _parts_of(thing: Any) -> Iterable[Any]:
    if isinstance(thing, BaseException):
        yield from (thing.args, thing.__cause__, thing.__context__, getattr(thing, "__notes__", None))
    if isinstance(thing, Mapping):
        yield from [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from list(thing)
    yield from getattr(thing, "__dict__", {}).values()


def is_rightful(request, name, value):
    """The key to the API, the cookie to the session endpoint, each in its header."""
    where = (request.host, request.path, name)
    if where == ("inference.cerebras.ai", "/api/auth/session", "cookie"):
        return value == f"{NAME}={COOKIE}"
    paths = {"/v1/chat/completions", "/v1/models"}
    return where in {("api.cerebras.ai", path, "authorization") for path in paths} and value == f"Bearer {KEY}"


@contextmanager
def watching(
    tls: LoopbackTLS, folder: Path, set_variable: Callable[[str, str], None], authority: LoopbackTLS | None = None
) -> Iterator[Any]:
    """A world in which all is watched: one TLS server for all Cerebras names, one for a stranger, and a proxy between."""
    sinks = Sinks()
    process_limiter().forget()  # what it has learnt from one test would slow the next down
    portal.close()  # the next one is opened in debug mode
    with (
        LoopbackCerebras(
            ssl_context=tls.server_context(), key=KEY, demo_key=KEY, session_cookies={NAME: COOKIE}
        ) as site,
        LoopbackCerebras(ssl_context=tls.server_context()) as stranger,
        RecordingProxy(site.port, sinks) as proxy,
        sinks.take_logs(),
    ):
        set_variable("HTTPS_PROXY", proxy.url)
        resolver = SinkResolver(site.port, stranger.port)
        transport = AiohttpTransport(resolver=resolver, ssl_context=(authority or tls).client_context())
        common = {
            "transport": transport,
            "cache": SinkCache(sinks),
            "callbacks": [SinkTracer(sinks), SinkHandler(sinks)],
            "max_retries": 0,
            "timeout": Timeout(connect=LONG, first_event=LONG, idle=0.5),
        }
        yield SimpleNamespace(
            sinks=sinks,
            site=site,
            stranger=stranger,
            resolver=resolver,
            transport=transport,
            common=common,
        )
        portal.close()
        sinks.take_requests("the right host", site, is_rightful)
        sinks.take_requests("another host", stranger, lambda *_: False)
        sinks.take("names asked for", *resolver.names)
    sinks.take_folder("the temporary folder", folder)


def arrived(world):
    """Which of the secrets came to where they belong."""
    headers = {
        name for request in world.site.requests for name, value in request.headers if is_rightful(request, name, value)
    }
    return {{"authorization": "key", "cookie": "cookie"}[name] for name in headers}


def outcome(world, call):
    """What comes of a call, be it an error; both are looked into. A coroutine runs in debug mode, each step logged."""

    async def debugged(coroutine):
        asyncio.get_running_loop().slow_callback_duration = 0.0
        try:
            return await coroutine
        finally:
            await world.transport.aclose()  # TLS says good-bye while its loop is still there

    try:
        given = call(world)
        given = asyncio.run(debugged(given), debug=True) if inspect.iscoroutine(given) else given
    except BaseException as error:  # noqa: BLE001 - cancellations, too
        given = error
        world.sinks.take_exception("the exception", error)
    world.sinks.take_object("the outcome", given)
    return given


# -- the ways of asking


class Vault:
    """A resolver of the user's own; where its key is refused it fails."""

    async def resolve(self):
        return KEY

    async def refresh(self, stale):
        raise RuntimeError("the vault is closed")


async def give_key():
    return KEY


def read_browser():
    return FoundSessions([BrowserSession("Firefox", "default", {NAME: COOKIE}, 0.0)], [])


async def listed(stream):
    async with aclosing(stream):
        return [piece async for piece in stream]


def model(world, **more):
    return partial(ChatCerebrasDemo, **world.common, **more)


KEY_WAYS = {
    "a str, invoke": lambda world: model(world)(api_key=KEY).invoke("hi"),
    "a SecretStr, stream": lambda world: list(model(world)(api_key=SecretStr(KEY)).stream("hi")),
    "a callable, ainvoke": lambda world: model(world)(api_key=lambda: KEY).ainvoke("hi"),
    "an async callable, astream": lambda world: listed(model(world)(api_key=give_key).astream("hi")),
    "a resolver, astream": lambda world: listed(model(world)(key_resolver=Vault()).astream("hi")),
    "the environment, ainvoke": lambda world: model(world)(key_resolver=EnvKey("SINKS_KEY")).ainvoke("hi"),
    "the provider's key": lambda world: listed(
        Cerebras.create_async_generator("", HELLO, KEY, transport=world.transport, timeout=world.common["timeout"])
    ),
}
COOKIE_WAYS = {
    "cookies, astream": lambda world: listed(model(world)(cookies={NAME: COOKIE}).astream("hi")),
    "cookies, invoke": lambda world: model(world)(cookies={NAME: COOKIE}).invoke("hi"),
    "a cookie file, ainvoke": lambda world: model(world)(cookies=str(world.file)).ainvoke("hi"),
    "a browser, astream": lambda world: listed(model(world)(key_resolver=browser(world)).astream("hi")),
    "the provider's cookies": lambda world: listed(
        Cerebras.create_async_generator(
            "", HELLO, None, {NAME: COOKIE}, transport=world.transport, timeout=world.common["timeout"]
        )
    ),
}
WAYS = {**KEY_WAYS, **COOKIE_WAYS}


def browser(world):
    return BrowserSessionKey(reader=read_browser, rule=lambda: None, transport=world.transport, timeout=LONG)
