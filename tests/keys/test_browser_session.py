"""The browser's session as a source of a key: when it may be looked for, how long, and what of it shows."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from langchain_cerebras_demo.errors import APIResponseValidationError, APITimeoutError, MissingKeyError
from langchain_cerebras_demo.keys import (
    BROWSER_VARIABLE,
    BrowserSessionKey,
    CallableKey,
    DemoKey,
    EnvKey,
    SessionCookieKey,
    StaticKey,
    refuse_automatic,
    refuse_unasked,
)
from langchain_cerebras_demo.keys import browser_session as module
from langchain_cerebras_demo.keys.browser import BrowserSession, FoundSessions
from langchain_cerebras_demo.keys.browser_session import refuse_where_off
from langchain_cerebras_demo.testing import Endless, Gate, RawAnswer, Silence
from tests.keys.browser import test_firefox as firefox
from tests.support.leaks import all_that_shows
from tests.support.processes import run_python
from tests.support.scripted import ScriptedTransport, json_answer

if sys.version_info < (3, 11):  # its asyncio calls a TLS connection unclosed that the other side has closed
    pytestmark = pytest.mark.filterwarnings("ignore:.*SSLProtocolTransport:pytest.PytestUnraisableExceptionWarning")

NAME = "__Secure-next-auth.session-token"
TOKEN = "cookie-never-shown"
DEMO_KEY = "demo-never-shown"
COOKIES = {NAME: TOKEN}
SESSION = BrowserSession("Firefox", "x.default", COOKIES, 2.0)
OLDER = BrowserSession("Chromium", "Default", {NAME: "older-never-shown"}, 1.0)
PATIENCE = 10.0


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """A home of this test's own, no variable that has a say, and the extra as if it were installed."""
    for name in (BROWSER_VARIABLE, "CI", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())


def found(*sessions, passed_over=()):
    return lambda: FoundSessions(list(sessions), list(passed_over))


def key_answer(key=DEMO_KEY):
    return json_answer({"user": {"demoApiKey": key}})


def source(*answers, reader=None, **more):
    transport = ScriptedTransport(*answers)
    return BrowserSessionKey(reader=reader or found(SESSION), transport=transport, **more), transport


async def test_the_newest_session_buys_the_key():
    """Marked as a demo key; where it came from is known, and the others are not asked."""
    key, transport = source(key_answer(), reader=found(SESSION, OLDER))
    assert isinstance(await key.resolve(), DemoKey)
    assert await key.resolve() == DEMO_KEY
    assert key.origin == "Firefox, profile x.default"
    assert [headers["Cookie"] for headers in transport.sent_headers] == [f"{NAME}={TOKEN}"]


async def test_a_session_that_is_signed_out_or_broken_is_followed_by_the_next():
    """Signed out at the site while its cookie is still there; or a cookie that no header can carry."""
    broken = BrowserSession("Edge", "Default", {NAME: "line\nbreak"}, 3.0)
    key, _ = source(json_answer({}), key_answer(), reader=found(broken, SESSION, OLDER))
    assert await key.resolve() == DEMO_KEY
    assert key.origin == "Chromium, profile Default"


async def test_what_was_looked_at_is_listed_where_no_session_has_a_key():
    """Each profile with its reason, and what to do; no cookie."""
    passed_over = [("Brave, profile Default", "its cookies are locked")]
    broken = BrowserSession("Edge", "Default", {NAME: "never-shown\nbreak"}, 3.0)
    key, _ = source(json_answer({}), reader=found(SESSION, broken, passed_over=passed_over))
    with pytest.raises(MissingKeyError, match="no browser of this user holds a signed-in session") as caught:
        await key.resolve()
    assert [where for where, _ in caught.value.tried] == [
        "Firefox, profile x.default",
        "Edge, profile Default",
        "Brave, profile Default",
    ]
    assert "Sign in at https://inference.cerebras.ai" in caught.value.remedy
    assert "never-shown" not in str(caught.value)


async def test_without_a_browser_it_says_so():
    """And keeps its name in the list."""
    with pytest.raises(MissingKeyError) as caught:
        await source(reader=found())[0].resolve()
    assert caught.value.tried == (("browser session", "no browser was found"),)


async def test_of_many_sessions_only_the_newest_five_are_asked():
    """Each question is a request to somebody else's site."""
    key, transport = source(*(json_answer({}) for _ in range(9)), reader=found(*[SESSION] * 9))
    with pytest.raises(MissingKeyError):
        await key.resolve()
    assert len(transport.requests) == 5


async def test_a_reader_that_blocks_for_ever_is_left_after_its_time():
    """A keyring may ask its user something; no caller waits for that."""
    release, entered, ended = threading.Event(), threading.Event(), threading.Event()

    def block():
        entered.set()
        release.wait(PATIENCE)
        ended.set()
        return FoundSessions([SESSION], [])

    try:
        with pytest.raises(MissingKeyError, match=r"could not be read within 0.05 s: does a keyring ask"):
            await source(reader=block, reading_timeout=0.05)[0].resolve()
        assert entered.is_set()
        assert not ended.is_set()
    finally:
        release.set()
    assert await asyncio.to_thread(ended.wait, PATIENCE)
    for thread in threading.enumerate():
        if thread.name == "browser session":
            await asyncio.to_thread(thread.join, PATIENCE)


async def test_what_a_reader_raises_goes_through():
    """A reader of the user's own: its fault is not ours to hide."""

    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await source(reader=fail)[0].resolve()


async def test_an_info_names_browser_and_profile_once_and_no_secret(caplog):
    """However often the key is fetched; a change of profile is reported again."""
    sessions = [SESSION]
    key, _ = source(*(key_answer(f"{DEMO_KEY}-{n}") for n in range(3)), reader=lambda: FoundSessions(sessions, []))
    with caplog.at_level(logging.DEBUG):
        await key.refresh(await key.resolve())
        (record,) = [one for one in caplog.records if one.name == "langchain_cerebras_demo"]
        assert record.levelno == logging.INFO
        assert "Firefox, profile x.default" in record.getMessage()
        sessions[:] = [OLDER]
        key._refreshed_at = -1e9
        await key.refresh(await key.resolve())
    messages = [one.getMessage() for one in caplog.records if one.name == "langchain_cerebras_demo"]
    assert len(messages) == 2
    assert "Chromium, profile Default" in messages[1]
    assert "never-shown" not in caplog.text


async def test_a_refused_key_is_looked_for_again_but_not_twice_within_half_a_minute(monkeypatch):
    """The browser is read anew; the same session has no third key for a while."""
    now = [1000.0]
    monkeypatch.setattr("langchain_cerebras_demo.keys.session.time.monotonic", lambda: now[0])
    key, transport = source(key_answer("a"), key_answer("b"), key_answer("c"))
    assert await key.refresh(await key.resolve()) == "b"
    now[0] += 29.9
    assert await key.refresh("b") == "b"
    assert len(transport.requests) == 2
    now[0] += 0.2
    assert await key.refresh("b") == "c"
    assert await key.refresh("b") == "c"
    assert len(transport.requests) == 3


# The rules


@pytest.mark.parametrize("rule", [refuse_where_off, refuse_unasked, refuse_automatic])
def test_zero_switches_it_off_everywhere(monkeypatch, rule):
    """In every way of asking for it."""
    monkeypatch.setenv(BROWSER_VARIABLE, " 0 ")
    assert rule().why == "switched off by CEREBRAS_DEMO_BROWSER=0"


@pytest.mark.parametrize("rule", [refuse_where_off, refuse_unasked, refuse_automatic])
def test_one_asks_for_it_everywhere(monkeypatch, rule):
    """Also in CI and as root in another's home: somebody has said so."""
    monkeypatch.setenv(BROWSER_VARIABLE, "1")
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(module, "_owner_of_home", lambda: 1000)
    assert rule() is None


@pytest.mark.parametrize("rule", [refuse_where_off, refuse_unasked, refuse_automatic])
@pytest.mark.parametrize("value", ["yes", "false", "2"])
def test_a_bad_value_names_itself(monkeypatch, rule, value):
    """And what it may be."""
    monkeypatch.setenv(BROWSER_VARIABLE, value)
    assert rule().why == f"CEREBRAS_DEMO_BROWSER={value!r} is neither 0 nor 1"
    assert "Set it to 0" in rule().remedy


@pytest.mark.parametrize("rule", [refuse_where_off, refuse_automatic])
def test_without_the_extra_it_is_off(monkeypatch, rule):
    """And says what to install; the chat model says first that it is not enabled."""
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert 'pip install "langchain-cerebras-demo[browser]"' in rule().remedy
    assert refuse_unasked().why == "not enabled"
    monkeypatch.setenv(BROWSER_VARIABLE, "1")
    assert refuse_unasked().why == 'the extra "browser" is not installed'


def test_unasked_it_is_off_in_the_chat_model_alone():
    """With the two ways to ask."""
    assert refuse_where_off() is None
    assert 'cookies="browser"' in refuse_unasked().remedy
    assert "CEREBRAS_DEMO_BROWSER=1" in refuse_unasked().remedy


@pytest.mark.parametrize(("value", "is_ci"), [("true", True), ("1", True), ("", False), ("0", False), ("False", False)])
def test_automatically_it_is_not_looked_for_in_ci(monkeypatch, value, is_ci):
    """Nobody sits there."""
    monkeypatch.setenv("CI", value)
    refusal = refuse_automatic()
    assert (refusal is not None and refusal.why == "skipped in CI") is is_ci
    assert refuse_where_off() is None


@pytest.mark.parametrize(("user", "owner", "is_refused"), [(0, 1000, True), (0, 0, False), (1000, 1000, False)])
def test_automatically_it_is_not_looked_for_as_root_in_anothers_home(monkeypatch, user, owner, is_refused):
    """As with sudo, which may keep HOME."""
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    monkeypatch.setattr(module, "_owner_of_home", lambda: owner)
    assert (refuse_automatic() is not None) is is_refused


def test_the_owner_of_the_home_is_the_folders(monkeypatch, tmp_path):
    """Root without a home folder: there is no other user's browser to read."""
    assert module._owner_of_home() == tmp_path.stat().st_uid
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    assert module._owner_of_home() == 0


async def test_a_refusal_is_a_missing_key_and_reads_nothing():
    """With the rule's own words."""
    key, _ = source(reader=lambda: pytest.fail("it was read"), rule=refuse_unasked)
    with pytest.raises(MissingKeyError, match="no demo key: not enabled") as caught:
        await key.resolve()
    assert caught.value.tried == (("browser session", "not enabled"),)


# Pickles


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
async def test_a_pickle_of_any_source_holds_no_secret(protocol):
    """Neither key nor cookie, also after they have answered."""
    browser, _ = source(key_answer())
    kept = CallableKey(give_key, keep_for=60)
    session = SessionCookieKey(COOKIES, transport=ScriptedTransport(key_answer()))
    sources = [browser, kept, session, StaticKey("key-never-shown"), EnvKey()]
    for one in sources[:-1]:
        assert "never-shown" in await one.resolve()
    browser._reader = browser._transport = None
    for one in sources:
        assert b"never-shown" not in pickle.dumps(one, protocol)
        assert "never-shown" not in repr(one)
    copy = pickle.loads(pickle.dumps(browser, protocol))
    assert (copy._key, copy._rule, copy._reading_timeout) == (None, refuse_where_off, 20.0)


def give_key():
    return "key-never-shown"


# The whole way


@pytest.mark.skipif(sys.platform != "linux", reason="the folders are those of Linux")
async def test_the_session_in_a_running_firefox_buys_its_key(site, transport, tmp_path):
    """From its store, by the default reader, over TLS."""
    store = tmp_path / ".mozilla" / "firefox" / "x.default" / "cookies.sqlite"
    with closing(firefox.write_firefox(store, firefox.row(TOKEN))):
        assert await BrowserSessionKey(transport=transport).resolve() == DEMO_KEY
    (request,) = site.requests
    assert request.header("cookie") == f"{NAME}={TOKEN}"


def test_two_hundred_first_calls_in_eight_threads_read_and_ask_once(site, transport):
    """Each thread with a loop of its own; the one answer reaches them all."""
    gate, waiting, keys, readings = Gate(), threading.Barrier(8), [], []

    def reader():
        readings.append(1)
        return FoundSessions([SESSION], [])

    key = BrowserSessionKey(reader=reader, transport=transport)
    site.script_session(gate)

    async def callers():
        tasks = [asyncio.create_task(key.resolve()) for _ in range(25)]
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
    assert (len(site.requests), len(readings)) == (1, 1)


ANSWERS = {
    "50 MB": (
        RawAnswer(headers={"content-type": "application/json"}, body=b"[" + b" " * 50_000_000),
        APIResponseValidationError,
    ),
    "without end": (Endless(200, b"[", b" " * 999, "application/json"), APIResponseValidationError),
    "never": (Silence(), APITimeoutError),
    "a key with a line break": (
        RawAnswer(
            headers={"content-type": "application/json"}, body=b'{"user": {"demoApiKey": "demo-never-shown\\n"}}'
        ),
        APIResponseValidationError,
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_a_wrong_answer_of_the_endpoint_is_bounded_and_shows_nothing(site, transport, case):
    """Neither a cookie nor a key, in text, causes and frames."""
    site.script_session(ANSWERS[case][0])
    seconds = 0.2 if case == "never" else PATIENCE
    key = BrowserSessionKey(reader=found(SESSION), transport=transport, timeout=seconds)
    with pytest.raises(ANSWERS[case][1]) as caught:
        await key.resolve()
    shown = all_that_shows(caught.value)
    hidden = [line for line in shown.splitlines() if "BrowserSession(" not in line]
    assert not any("never-shown" in line for line in hidden)


# What is opened

AUDIT = """
    import asyncio, json, os, sys
    opened = []
    home = os.environ["HOME"]

    def hook(event, arguments):
        if event in ("open", "sqlite3.connect") and isinstance(arguments[0], (str, bytes)):
            path = os.fsdecode(arguments[0])
            if home in path:
                opened.append(path)

    mode = sys.argv[1]
    if mode == "no extra":
        sys.modules["browser_cookie3"] = None
    else:
        import types, importlib.machinery
        fake = types.ModuleType("browser_cookie3")
        fake.__spec__ = importlib.machinery.ModuleSpec("browser_cookie3", None)
        sys.modules["browser_cookie3"] = fake
    sys.addaudithook(hook)
    from langchain_cerebras_demo.errors import MissingKeyError
    from langchain_cerebras_demo.keys.chain import to_key_chain

    class Nowhere:
        async def send(self, request):
            raise MissingKeyError("asked", tried=[("cookies", "asked")])

    chain = to_key_chain("https://api.cerebras.ai/v1", transport=Nowhere(), is_automatic=mode != "unasked")
    try:
        asyncio.run(chain.resolve())
    except MissingKeyError as error:
        print(json.dumps({"opened": opened, "tried": error.tried}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the folders are those of Linux")
@pytest.mark.parametrize(
    ("mode", "variable", "why"),
    [
        ("no extra", "", "is not installed"),
        ("no extra", "1", "is not installed"),
        ("off", "0", "switched off"),
        ("unasked", "", "not enabled"),
        ("on", "1", "asked"),
    ],
)
def test_no_file_of_a_browser_is_opened_unless_it_may_be(monkeypatch, tmp_path, mode, variable, why):
    """As the interpreter itself reports every opening; the last case shows that it does."""
    home = tmp_path / "home"
    store = home / ".mozilla" / "firefox" / "x.default" / "cookies.sqlite"
    firefox.write_firefox(store, firefox.row()).close()
    (home / ".config" / "chromium" / "Default").mkdir(parents=True)
    (home / ".config" / "chromium" / "Default" / "Cookies").touch()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv(BROWSER_VARIABLE, variable)
    done = run_python(AUDIT, mode)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert any(why in reason for _, reason in report["tried"])
    opened = [path for path in report["opened"] if Path(path).name in {"cookies.sqlite", "Cookies", "profiles.ini"}]
    assert bool(opened) is (mode == "on")
    if mode != "on":
        assert report["opened"] == []
