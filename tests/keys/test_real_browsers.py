"""What real browsers have written is found and read, and buys the demo key; nothing of anybody else's is touched.

Debian's Chromium and Firefox sign in at a loopback site that they take for https://inference.cerebras.ai.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sqlite3
import sys
from contextlib import closing

import pytest

from langchain_cerebras_demo.keys import BrowserSessionKey, DemoKey
from langchain_cerebras_demo.keys.browser import find_sessions
from langchain_cerebras_demo.net import aiohttp_transport
from langchain_cerebras_demo.net.aiohttp_transport import AiohttpTransport
from langchain_cerebras_demo.testing import LoopbackCerebras, RawAnswer, Reply
from tests.support.browsers import Chromium, Firefox, not_installed, until_written
from tests.support.keyring import Keyring

if sys.version_info < (3, 11):  # its asyncio calls a TLS connection unclosed that the other side has closed
    pytestmark = pytest.mark.filterwarnings("ignore:.*SSLProtocolTransport:pytest.PytestUnraisableExceptionWarning")

HOST = "inference.cerebras.ai"
PATH = "/api/auth/session"  # an address that the loopback knows: the tests script what it answers
DEMO_KEY = "demo-of-a-real-browser"

TOKEN = "".join(hashlib.sha512(b"%d" % number).hexdigest() for number in range(19))[:2400]
SESSION = {
    "__Secure-next-auth.session-token.0": TOKEN[:1300],
    "__Secure-next-auth.session-token.1": TOKEN[1300:],
}
COOKIES = {
    **SESSION,
    "__Host-next-auth.csrf-token": "0123456789abcdef%7Cfedcba9876543210",
    "__Secure-next-auth.callback-url": "https%3A%2F%2Finference.cerebras.ai%2F",
    "odd": "a+b/c==&d=e:f|g%22h~i@j(k)[l]{m}",
}
SHARED = "; Domain=.cerebras.ai; Path=/; Max-Age=2592000; Secure; HttpOnly; SameSite=Lax"
OWN = "; Path=/; Max-Age=2592000; Secure; HttpOnly; SameSite=Lax"
OTHER_HOSTS = ("notcerebras.ai", "cerebras.ai.evil.test", "api.cerebras.ai", "cerebras.ai")

# Variables by which whoever runs the tests could lead the search elsewhere, or forbid it.
FOREIGN_VARIABLES = (
    *("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_CURRENT_DESKTOP", "DESKTOP_SESSION"),
    *("DBUS_SESSION_BUS_ADDRESS", "CEREBRAS_DEMO_BROWSER", "CI"),
)
IN_CI = bool(os.environ.get("CI"))


def need(*programs, module=None):
    """Skips without them; in CI, where somebody has forgotten to install them, fails."""
    reason = not_installed(*programs)
    if not reason and module and importlib.util.find_spec(module) is None:
        reason = f"{module} is not installed: pip install 'langchain-cerebras-demo[browser]'"
    if reason:
        pytest.fail(reason) if IN_CI else pytest.skip(reason)


def visit(browser, site, host, *set_cookies):
    # An icon of its own, or the browser would ask for one, and that answer sets a cookie.
    page = b'<link rel="icon" href="data:,"><title>ok</title>'
    headers = [("content-type", "text/html"), *(("set-cookie", one) for one in set_cookies)]
    site.script_session(RawAnswer(200, headers=headers, body=page))
    browser.visit(f"https://{host}:{site.port}{PATH}")


def sign_in(browser, site, **changed):
    """The site sets its cookies; on the way there and back other sites set theirs under the same names."""
    cookies = {**COOKIES, **changed}
    for host in OTHER_HOSTS:
        visit(browser, site, host, *(f"{name}=somebody-elses{OWN}" for name in (*SESSION, "lookalike")))
    lines = [f"{name}={value}{OWN if name.startswith('__Host-') else SHARED}" for name, value in cookies.items()]
    visit(browser, site, HOST, *lines, "elsewhere=1; Path=/elsewhere; Max-Age=2592000; Secure")


@pytest.fixture(scope="module")
def site(tls):
    """What stands for https://inference.cerebras.ai, and for every other site."""
    with LoopbackCerebras(
        ssl_context=tls.server_context(), demo_key=DEMO_KEY, session_cookies=SESSION, models=("llama-3.3-70b",)
    ) as server:
        yield server


@pytest.fixture(scope="module")
def keyring():
    """The user's unlocked keyring."""
    need("dbus-daemon", "dbus-send", "gnome-keyring-daemon")
    with Keyring() as running:
        yield running


@pytest.fixture(scope="module")
def firefox(site, tmp_path_factory):
    """A Firefox that was signed in and closed."""
    need("firefox")
    with Firefox(tmp_path_factory.mktemp("firefox")) as browser:
        sign_in(browser, site)
    return browser


@pytest.fixture(scope="module")
def chromium(site, tmp_path_factory):
    """A Chromium that was signed in and closed, with the fixed password of ``v10``."""
    need("chromium", module="browser_cookie3")
    with Chromium(tmp_path_factory.mktemp("chromium")) as browser:
        sign_in(browser, site)
    assert prefixes(browser) == {b"v10"}
    return browser


@pytest.fixture(scope="module")
def chromium_v11(site, keyring, tmp_path_factory):
    """A Chromium that was signed in and closed, whose password lies in the keyring."""
    need("chromium", module="browser_cookie3")
    env = {"DBUS_SESSION_BUS_ADDRESS": keyring.address}
    with Chromium(tmp_path_factory.mktemp("v11"), password_store="gnome-libsecret", env=env) as browser:
        sign_in(browser, site)
    assert prefixes(browser) == {b"v11"}
    return browser


@pytest.fixture(params=["firefox", "chromium"])
def closed(request):
    """Each of the browsers that were signed in and closed."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def live_in(monkeypatch):
    """Makes this process one of the user whose home the browser has."""

    def move(browser, bus=None):
        for name in FOREIGN_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(browser.home))
        if bus:
            monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus)

    return move


def query(browser, sql):
    with closing(sqlite3.connect(f"file:{browser.cookie_file}?immutable=1", uri=True)) as database:
        return database.execute(sql).fetchall()


def prefixes(browser):
    return {prefix for (prefix,) in query(browser, "SELECT substr(encrypted_value, 1, 3) FROM cookies")}


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def only(found):
    assert found.passed_over == []
    (session,) = found.sessions
    return session


def test_the_cookies_of_a_running_firefox_are_read_before_they_are_in_its_database(site, live_in, tmp_path):
    """The usual case: while it runs, recent cookies are only in the write-ahead log."""
    need("firefox")
    with Firefox(tmp_path) as browser:
        sign_in(browser, site)
        mark = COOKIES["odd"].encode()
        until_written(browser.cookie_file.with_name("cookies.sqlite-wal"), mark)
        live_in(browser)
        session = only(find_sessions())
        assert mark not in browser.cookie_file.read_bytes()
    assert (session.browser, session.profile) == ("Firefox", browser.profile.name)
    assert session.cookies == COOKIES


def test_the_cookies_of_a_closed_firefox_are_read(firefox, live_in):
    """All and no others, each value as the site has set it."""
    live_in(firefox)
    session = only(find_sessions())
    assert (session.browser, session.profile) == ("Firefox", firefox.profile.name)
    assert session.cookies == COOKIES


def test_the_cookies_of_a_closed_chromium_are_read_without_d_bus(chromium, live_in):
    """As over ssh, in a container and in cron: a fixed password needs no keyring."""
    live_in(chromium)
    session = only(find_sessions())
    assert (session.browser, session.profile) == ("Chromium", "Default")
    assert session.cookies == COOKIES


def test_the_cookies_of_a_closed_chromium_are_read_with_d_bus(chromium, live_in, keyring):
    """A keyring that is there changes nothing about a fixed password."""
    live_in(chromium, keyring.address)
    assert only(find_sessions()).cookies == COOKIES


def test_the_cookies_of_a_running_chromium_are_read(site, live_in, tmp_path):
    """It writes them about 30 seconds after they were set; nothing of it is locked then."""
    need("chromium", module="browser_cookie3")
    with Chromium(tmp_path) as browser:
        sign_in(browser, site)
        until_written(browser.cookie_file, b"odd", seconds=60)
        live_in(browser)
        assert only(find_sessions()).cookies == COOKIES


def test_cookies_that_the_keyring_opens_are_read(chromium_v11, live_in, keyring):
    """On a desktop Chromium's password lies in the keyring, which is open while the user is there."""
    live_in(chromium_v11, keyring.address)
    assert only(find_sessions()).cookies == COOKIES


def test_cookies_behind_a_locked_keyring_are_passed_over_with_the_reason(site, live_in, tmp_path):
    """As after an automatic login, when the keyring's password has not been entered: no exception, and no waiting."""
    need("chromium", "dbus-daemon", "dbus-send", "gnome-keyring-daemon", module="browser_cookie3")
    with Keyring() as keyring:
        env = {"DBUS_SESSION_BUS_ADDRESS": keyring.address}
        with Chromium(tmp_path, password_store="gnome-libsecret", env=env) as browser:
            sign_in(browser, site)
        live_in(browser, keyring.address)
        assert only(find_sessions()).cookies == COOKIES
        keyring.lock()
        found = find_sessions()
    assert found.sessions == []
    ((where, why),) = found.passed_over
    assert where == "Chromium, profile Default"
    assert "keyring" in why


@pytest.mark.parametrize("state", ["no bus", "a bus that has ended", "no keyring", "another keyring"])
def test_cookies_that_no_keyring_opens_are_passed_over_with_the_reason(chromium_v11, live_in, state):
    """No exception, no dialog: the text names the browser and its profile, and why."""
    with Keyring() as bus:
        if state == "no keyring":
            bus.end_keyring()
        live_in(chromium_v11, None if state == "no bus" else bus.address)
        if state != "a bus that has ended":
            found = find_sessions()
    if state == "a bus that has ended":
        found = find_sessions()
    assert found.sessions == []
    ((where, why),) = found.passed_over
    assert where == "Chromium, profile Default"
    assert "keyring" in why
    assert ("DBUS_SESSION_BUS_ADDRESS is not set" in why) is (state == "no bus")


def test_cookies_of_hosts_that_look_alike_never_appear(closed, live_in):
    """They are in the browser's database, under the same names; whole hosts are compared."""
    table, host = ("moz_cookies", "host") if isinstance(closed, Firefox) else ("cookies", "host_key")
    stored = {row[0] for row in query(closed, f"SELECT {host} FROM {table}")}
    assert stored == {HOST, ".cerebras.ai", *OTHER_HOSTS}
    live_in(closed)
    cookies = only(find_sessions()).cookies
    assert "somebody-elses" not in cookies.values()
    assert cookies.keys().isdisjoint({"lookalike", "elsewhere"})


def test_reading_leaves_the_profile_as_it_was(closed, live_in):
    """No file is changed, made or removed in the whole home."""
    live_in(closed)
    before = contents(closed.home)
    assert find_sessions().sessions
    assert contents(closed.home) == before


def test_of_two_profiles_the_one_used_last_comes_first(site, live_in, tmp_path):
    """Whatever their names: here the second comes before the first, then the first is used again."""
    need("chromium", module="browser_cookie3")
    first, second = Chromium(tmp_path), Chromium(tmp_path, profile="Profile 1")
    orders = []
    for browser, token in ((first, "one"), (second, "two"), (first, "three")):
        with browser:
            sign_in(browser, site, odd=token)
        live_in(browser)
        orders.append([(session.profile, session.cookies["odd"]) for session in find_sessions().sessions])
    assert orders == [
        [("Default", "one")],
        [("Profile 1", "two"), ("Default", "one")],
        [("Default", "three"), ("Profile 1", "two")],
    ]


async def test_the_session_of_the_users_browser_buys_its_demo_key(closed, live_in, site, tls):
    """Over checked TLS, in one request that carries the session's own cookies and nothing else."""
    live_in(closed)
    before = len(site.requests)
    transport = AiohttpTransport(resolver=tls.resolver(site.port), ssl_context=tls.client_context())
    try:
        key = await BrowserSessionKey(transport=transport).resolve()
    finally:
        await transport.aclose()
    assert key == DEMO_KEY
    assert isinstance(key, DemoKey)
    (request,) = site.requests[before:]
    assert (request.method, request.host, request.path) == ("GET", HOST, PATH)
    header = request.header("cookie")
    assert sorted(header.split("; ")) == sorted(f"{name}={value}" for name, value in SESSION.items())


EXAMPLE = """
import asyncio
from langchain_cerebras_demo import Cerebras

async def main():
    messages = [{"role": "user", "content": "Hello"}]
    async for chunk in Cerebras.create_async_generator("llama-3.3-70b", messages):
        print(chunk, end="", flush=True)

asyncio.run(main())
"""


@pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.catalog.RetiredModelWarning")
def test_the_providers_example_streams_with_a_key_that_it_finds_itself(
    closed, live_in, site, tls, monkeypatch, capsys, caplog
):
    """Neither key nor cookies are given: the session of the browser on this machine is enough, and the log names it."""
    caplog.set_level("INFO", "langchain_cerebras_demo")
    live_in(closed)
    mine = AiohttpTransport(resolver=tls.resolver(site.port), ssl_context=tls.client_context())
    monkeypatch.setattr(aiohttp_transport, "shared", mine)  # the one that everybody shares, led to the loopback
    site.script(Reply(text="Hello there"))
    before = len(site.requests)
    exec(compile(EXAMPLE, "example", "exec"), {})
    assert capsys.readouterr().out == "Hello there"
    session, chat = site.requests[before:]
    assert (session.host, session.path) == (HOST, PATH)
    assert (chat.host, chat.path, chat.bearer) == ("api.cerebras.ai", "/v1/chat/completions", DEMO_KEY)
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"{'Firefox' if isinstance(closed, Firefox) else 'Chromium'}, profile" in line
    assert not any(secret in line for secret in (DEMO_KEY, *SESSION.values()))
