"""The session's cookies go to one address alone and come back as a demo key, or as an error that says what to do."""

from __future__ import annotations

import asyncio
import gzip
import sys
import threading
import tracemalloc

import pytest

from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    InternalServerError,
    KeyFormatError,
    MissingKeyError,
    RateLimitError,
)
from langchain_cerebras_demo.keys import MARK, SESSION_URL, DemoKey, SessionCookieKey
from langchain_cerebras_demo.net.aiohttp_transport import AiohttpTransport
from langchain_cerebras_demo.testing import (
    Disconnect,
    Endless,
    Gate,
    HtmlPage,
    RawAnswer,
    RawBytes,
    Redirect,
    Silence,
    Status,
)
from tests.support.leaks import all_that_shows
from tests.support.scripted import ScriptedResponse, ScriptedTransport, json_answer
from tests.support.tls import LoopbackTLS

TOKEN = "eyJhbGciOiJkaXIifQ..never-shown"
DEMO_KEY = "demo-never-shown"
# Every character that a cookie library would quote, drop or decode.
AWKWARD = 'a+b/c==&d=e:f|g%22h~i@j(k)[l]{m} n,o"p\\q'
COOKIES = {"__Secure-next-auth.session-token": TOKEN}
PATIENCE = 5.0


if sys.version_info < (3, 11):  # its asyncio calls a TLS connection unclosed that the other side has closed
    pytestmark = pytest.mark.filterwarnings("ignore:.*SSLProtocolTransport:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def session(transport):
    return SessionCookieKey(COOKIES, transport=transport, timeout=PATIENCE)


async def test_the_cookies_of_a_signed_in_session_buy_its_demo_key(session):
    """Over real TLS, and marked as a demo key."""
    key = await session.resolve()
    assert key == DEMO_KEY
    assert isinstance(key, DemoKey)


async def test_the_request_is_the_bare_minimum(session, site):
    """One GET to one address, with the cookie and no key, no body, no other header of ours."""
    await session.resolve()
    (request,) = site.requests
    assert (request.method, f"https://{request.host}{request.path}") == ("GET", SESSION_URL)
    assert (request.query, request.body) == ("", b"")
    assert sorted(name for name, _ in request.headers) == ["accept", "accept-encoding", "cookie", "host", "user-agent"]
    assert request.header("accept") == "application/json"
    assert request.header("cookie") == f"__Secure-next-auth.session-token={TOKEN}"


@pytest.mark.parametrize(
    ("cookies", "header"),
    [
        ({"next-auth.session-token": AWKWARD}, f"next-auth.session-token={AWKWARD}"),
        ({"any": AWKWARD, "empty": "", "other": "%7C"}, f"any={AWKWARD}; empty=; other=%7C"),
        ({"_ga": "GA1.2", "authjs.session-token": "t", "theme": "dark"}, "authjs.session-token=t"),
        (
            {"__Host-authjs.session-token.0": "a", "x": "y", "__Host-authjs.session-token.1": "b"},
            "__Host-authjs.session-token.0=a; __Host-authjs.session-token.1=b",
        ),
        ({"__Secure-next-auth.session-token.10": "k", "x": "y"}, "__Secure-next-auth.session-token.10=k"),
        ({"my-next-auth.session-token": "t", "x": "y"}, "my-next-auth.session-token=t; x=y"),
        ({"next-auth.session-token.old": "t", "x": "y"}, "next-auth.session-token.old=t; x=y"),
        ({"next-authXsession-token": "t", "x": "y"}, "next-authXsession-token=t; x=y"),
    ],
)
async def test_the_cookie_header_holds_the_session_alone_byte_for_byte(transport, site, cookies, header):
    """Where the session's cookies are known by name, all their chunks and nothing else leave; values are never quoted."""
    with pytest.raises(MissingKeyError):
        await SessionCookieKey(cookies, transport=transport).resolve()
    assert [value for name, value in site.requests[0].headers if name == "cookie"] == [header]


JSON = "application/json"


def answer(body, length=None, **more):
    return RawAnswer(headers={"content-type": JSON, **more}, body=body, content_length=length)


def key_answer(key):
    return answer(b'{"user": {"email": "someone@example.com", "demoApiKey": %b}}' % key)


SIGNED_OUT = "signed out or has expired"
NO_KEY = "has no user.demoApiKey"
A_PAGE = "the answer was a page instead of JSON"
WRONG_ANSWERS = {
    "{}, as NextAuth says": (answer(b"{}"), MissingKeyError, SIGNED_OUT),
    "null, as Auth.js says": (answer(b"null"), MissingKeyError, SIGNED_OUT),
    "[]": (answer(b"[]"), MissingKeyError, SIGNED_OUT),
    "a text": (answer(b'"text"'), MissingKeyError, NO_KEY),
    "a list": (answer(b'[{"user": 1}]'), MissingKeyError, NO_KEY),
    "no user": (answer(b'{"expires": "2030-01-01"}'), MissingKeyError, NO_KEY),
    "a user that is null": (answer(b'{"user": null, "expires": "x"}'), MissingKeyError, NO_KEY),
    "a user that is a text": (answer(b'{"user": "someone@example.com"}'), MissingKeyError, NO_KEY),
    "a user without a key": (answer(b'{"user": {"email": "someone@example.com"}}'), MissingKeyError, NO_KEY),
    "a key that is null": (key_answer(b"null"), MissingKeyError, NO_KEY),
    "an empty key": (key_answer(b'""'), APIResponseValidationError, "is empty"),
    "a key that is a number": (key_answer(b"5"), APIResponseValidationError, "is a int, not a str"),
    "a key that is a list": (key_answer(b'["demo-never-shown"]'), APIResponseValidationError, "is a list, not a str"),
    "a key with a line break": (key_answer(b'"demo-never-shown\\n"'), APIResponseValidationError, "line break"),
    "a key with a space": (key_answer(b'"demo-never-shown x"'), APIResponseValidationError, "space"),
    "a key outside ASCII": (key_answer('"demo-never-shownß"'.encode()), APIResponseValidationError, "ASCII"),
    "JSON cut off": (answer(b'{"user": {"demoApiKey": "demo-never-shown"'), MissingKeyError, A_PAGE),
    "no UTF-8": (answer(b'{"user": {"demoApiKey": "demo-never-shown\xff"}}'), MissingKeyError, A_PAGE),
    "nothing at all": (answer(b""), MissingKeyError, A_PAGE),
    "a login page": (HtmlPage(200), MissingKeyError, A_PAGE),
    "a login page without end": (Endless(200, b"<html>", content_type="text/html"), MissingKeyError, A_PAGE),
    "a check for robots": (HtmlPage(403), MissingKeyError, "answered 403"),
    "a refusal without end": (Endless(403, b"<html>", content_type="text/html"), MissingKeyError, "answered 403"),
    "401": (Status(401), MissingKeyError, "answered 401"),
    "302 to a login page": (Redirect("https://other.example/login"), MissingKeyError, "redirected to a login page"),
    "308 to itself": (Redirect(SESSION_URL, 308), MissingKeyError, "redirected to a login page"),
    "429": (Status(429), RateLimitError, "429"),
    "500": (Status(500), InternalServerError, "500"),
    "503 as a page": (HtmlPage(503), InternalServerError, "503"),
    "reset": (Disconnect("reset"), APIConnectionError, "inference.cerebras.ai"),
    "hung up": (Disconnect("eof"), APIConnectionError, "closed the connection without an answer"),
    "cut in the body": (answer(b'{"user": {"demoApiKey": "demo-never-shown"', 500), APIConnectionError, "broke off"),
    "no HTTP": (RawBytes(b"SSH-2.0-OpenSSH_9\r\n\r\n"), APIResponseValidationError, "is not valid HTTP"),
    "JSON without end": (Endless(200, b"[", b'"never-shown",' * 999, JSON), APIResponseValidationError, "65,536"),
    "silence": (Silence(before_headers=True), APITimeoutError, "did not answer in 0.2 s"),
    "silence in the body": (Silence(), APITimeoutError, "did not answer in 0.2 s"),
}


@pytest.mark.parametrize("case", WRONG_ANSWERS)
async def test_a_wrong_answer_is_one_clear_error_that_shows_nothing(transport, site, tls, case):
    """What was wrong and what to do; neither cookie, key nor e-mail in text, causes and frames; and one address."""
    kind, words = WRONG_ANSWERS[case][1:]
    site.script_session(WRONG_ANSWERS[case][0])
    with pytest.raises(kind) as caught:
        await SessionCookieKey(COOKIES, transport=transport, timeout=0.2 if "silence" in case else PATIENCE).resolve()
    assert words in str(caught.value)
    assert {request.host for request in site.requests} == {"inference.cerebras.ai"}
    assert len(site.requests) == 1
    shown = all_that_shows(caught.value)
    assert "in _fetch" in shown
    assert not any(secret in shown for secret in ("never-shown", "someone@example.com", "__cf_bm"))
    if kind is MissingKeyError:
        assert caught.value.tried[0][0] == "cookies"
        assert "Sign in at https://inference.cerebras.ai" in str(caught.value)


def test_a_time_out_shows_nothing_of_what_it_broke_off():
    """Whatever transport it was that held the cookies in a local variable."""

    class Holding:
        async def send(self, request):
            held = [str(value) for value in request.secret_headers().values()]
            await asyncio.Event().wait()
            return held

    with pytest.raises(APITimeoutError) as caught:
        asyncio.run(SessionCookieKey(COOKIES, transport=Holding(), timeout=0.01).resolve())
    shown = all_that_shows(caught.value)
    assert "never-shown" not in shown


async def test_a_wrong_answer_is_not_kept(session, site):
    """The next call asks again: the user may have signed in meanwhile."""
    site.script_session(answer(b"{}"))
    with pytest.raises(MissingKeyError):
        await session.resolve()
    assert await session.resolve() == DEMO_KEY


async def test_a_byte_order_mark_before_the_session_is_passed_over(session, site):
    """As before every body that is read."""
    site.script_session(answer(b'\xef\xbb\xbf{"user": {"demoApiKey": "demo-key-0123456789"}}'))
    assert await session.resolve() == "demo-key-0123456789"


async def test_a_small_body_that_unpacks_to_fifty_megabytes_stays_small(session, site):
    """The bound holds for what is unpacked, too: a gzip bomb costs no memory."""
    site.script_session(answer(gzip.compress(b"[" + b" " * 50_000_000), **{"content-encoding": "gzip"}))
    tracemalloc.start()
    try:
        with pytest.raises(APIResponseValidationError, match="65,536"):
            await session.resolve()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


async def test_a_wrong_certificate_gets_no_cookie(site):
    """Nothing is sent to a server that cannot prove that it is the site."""
    stranger = LoopbackTLS()
    transport = AiohttpTransport(resolver=stranger.resolver(site.port), ssl_context=stranger.client_context())
    with pytest.raises(APIConnectionError, match=r"certificate of inference.cerebras.ai is not trusted") as caught:
        await SessionCookieKey(COOKIES, transport=transport).resolve()
    assert TOKEN not in all_that_shows(caught.value)
    assert site.requests == []
    await transport.aclose()
    assert await asyncio.to_thread(site.wait_for_connections, 0)


async def test_no_proxy_of_the_environment_sees_the_cookies(session, site, server, monkeypatch):
    """They are not sent through a proxy, even if the environment names one."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.port}")
    assert await session.resolve() == DEMO_KEY
    assert server.requests == []
    assert len(site.requests) == 1


@pytest.mark.parametrize("cookies", [{}, None])
async def test_without_cookies_nothing_is_asked(transport, site, cookies):
    """An empty mapping is a missing key, so a chain continues."""
    with pytest.raises(MissingKeyError, match="no cookie was given"):
        await SessionCookieKey(cookies, transport=transport).resolve()
    assert site.requests == []


async def test_the_key_is_kept_in_memory_and_shown_by_nobody(session, site):
    """One request for all calls; the source's ``repr`` is a mark."""
    assert [await session.resolve() for _ in range(5)] == [DEMO_KEY] * 5
    assert len(site.requests) == 1
    assert repr(session) == f"SessionCookieKey({MARK})"
    assert DEMO_KEY not in repr(await session.resolve())


def test_two_hundred_callers_in_eight_threads_ask_once(transport, site):
    """Each thread with a loop of its own; the one answer reaches them all."""
    gate, waiting, keys = Gate(), threading.Barrier(8), []
    session = SessionCookieKey(COOKIES, transport=transport)
    site.script_session(gate)

    async def callers():
        tasks = [asyncio.create_task(session.resolve()) for _ in range(25)]
        await asyncio.sleep(0)
        if waiting.wait(PATIENCE) == 0:
            gate.open()
        keys.extend(await asyncio.gather(*tasks))

    threads = [threading.Thread(target=lambda: asyncio.run(callers()), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert keys == [DEMO_KEY] * 200
    assert len(site.requests) == 1


async def test_a_storm_of_refusals_fetches_one_new_key(session, site):
    """All callers whose key was refused share one refresh, and late ones get its key without asking."""
    stale = await session.resolve()
    site.demo_key = "second"
    assert await asyncio.gather(*(session.refresh(stale) for _ in range(200))) == ["second"] * 200
    assert await session.refresh(stale) == "second"
    assert await session.resolve() == "second"
    assert len(site.requests) == 2


async def test_where_the_session_has_no_other_key_the_same_comes_back(session, site):
    """One look, then equal keys tell the caller that there is nothing to try."""
    stale = await session.resolve()
    assert await session.refresh(stale) == stale
    assert len(site.requests) == 2


async def test_a_cancelled_leader_harms_nobody(session, site):
    """Whoever asked first may leave: the others get the key of the same request."""
    gate = Gate()
    site.script_session(gate)
    leader, follower = (asyncio.create_task(session.resolve()) for _ in range(2))
    assert await asyncio.to_thread(gate.wait_reached)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    gate.open()
    assert await follower == DEMO_KEY
    assert len(site.requests) == 1


async def test_a_leader_whose_loop_ends_in_the_middle_is_followed_by_another():
    """Its request is broken off; a caller in another loop makes its own."""
    endless = ScriptedResponse(pieces=[asyncio.Event()])
    transport = ScriptedTransport(endless, json_answer({"user": {"demoApiKey": DEMO_KEY}}))
    session = SessionCookieKey(COOKIES, transport=transport)

    async def lead():
        task = asyncio.create_task(session.resolve())
        while not transport.requests:
            await asyncio.sleep(0)
        return task

    leading = await asyncio.to_thread(asyncio.run, lead())
    assert await session.resolve() == DEMO_KEY
    assert leading.cancelled()
    assert endless.is_closed
    assert len(transport.requests) == 2


# Tests are given the names of these cases alone: a cookie would stand among the locals of the test's own frame.
WRONG_COOKIES = {
    "no mapping": ("session-token=never-shown", ValueError, "not the path of a file"),
    "pairs": ([("session-token", "never-shown")], TypeError, "cookies is a list"),
    "a name that is no str": ({5: "never-shown"}, TypeError, "name is a int"),
    "a value that is no str": ({"good": "x", "bad": b"never-shown"}, TypeError, "'bad' is a bytes"),
    "a value that is None": ({"bad": None, "good": "never-shown"}, TypeError, "'bad' is a NoneType"),
    "a line break": ({"bad": "never-shown\r\nX-Evil: 1"}, KeyFormatError, "'bad' has a line break"),
    "a line break behind": ({"bad": "never-shown\n"}, KeyFormatError, "'bad' has a line break"),
    "a semicolon": ({"bad": "never-shown; admin=1"}, KeyFormatError, "'bad' has a line break, a semicolon"),
    "a character outside ASCII": ({"bad": "never-shownß"}, KeyFormatError, "outside ASCII"),
    "a zero byte": ({"bad": "never-shown\0"}, KeyFormatError, "'bad'"),
    "a session in quotes": (
        {"next-auth.session-token": '"never-shown"'},
        KeyFormatError,
        "'next-auth.session-token' has quotes around it",
    ),
    "an empty name": ({"": "never-shown"}, KeyFormatError, "cannot be a cookie's name"),
    "a name with a space": ({"a b": "never-shown"}, KeyFormatError, "'a b' cannot be"),
    "a name with a line break": ({"a\nb": "never-shown"}, KeyFormatError, "cannot be a cookie's name"),
    "a whole cookie as the name": ({"token=never-shown": ""}, KeyFormatError, "'token' cannot be"),
}


@pytest.mark.parametrize("case", WRONG_COOKIES)
def test_cookies_that_no_header_can_carry_are_refused_at_once(case):
    """By the cookie's name; neither its value nor another cookie's is shown, the frames' locals included."""
    with pytest.raises(WRONG_COOKIES[case][1]) as caught:
        SessionCookieKey(WRONG_COOKIES[case][0])
    assert WRONG_COOKIES[case][2] in str(caught.value)
    shown = all_that_shows(caught.value)
    assert "in __init__" in shown
    assert "never-shown" not in shown
