"""``cerebras-demo keys``: three pages that a new user understands, stored as text in tests/data/keys."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langchain_cerebras_demo.cli import app
from langchain_cerebras_demo.cli.failures import HOW_TO_CONTINUE
from langchain_cerebras_demo.net import aiohttp_transport
from langchain_cerebras_demo.net.aiohttp_transport import AiohttpTransport
from langchain_cerebras_demo.testing import LoopbackCerebras
from tests.support.processes import run_command
from tests.support.tls import LoopbackTLS

PAGES = Path(__file__).parents[1] / "data" / "keys"
TOKEN = "token-never-shown"
DEMO_KEY = "demo-never-shown"
SESSION = {"__Secure-next-auth.session-token": TOKEN}

if sys.version_info < (3, 11):  # its asyncio calls a TLS connection unclosed that the other side has closed
    pytestmark = pytest.mark.filterwarnings("ignore:.*SSLProtocolTransport:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """A user's home without any browser, on no CI machine, with the extra installed."""
    pytest.importorskip("browser_cookie3", reason='needs the extra: pip install "langchain-cerebras-demo[browser]"')
    for name in ("CI", "XDG_CONFIG_HOME", "CEREBRAS_DEMO_BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def site(monkeypatch):
    """A replacement for inference.cerebras.ai, for the shared transport."""
    tls = LoopbackTLS()
    with LoopbackCerebras(ssl_context=tls.server_context(), demo_key=DEMO_KEY, session_cookies=SESSION) as server:
        mine = AiohttpTransport(resolver=tls.resolver(server.port), ssl_context=tls.client_context())
        monkeypatch.setattr(aiohttp_transport, "shared", mine)
        yield server


def sign_in(home):
    """A Firefox that is signed in."""
    profile = home / ".mozilla" / "firefox" / "abcd1234.default-release"
    profile.mkdir(parents=True)
    with closing(sqlite3.connect(profile / "cookies.sqlite")) as database, database:
        database.execute("PRAGMA user_version = 17")
        columns = "originAttributes, name, value, host, path, expiry, lastAccessed"
        database.execute(f"CREATE TABLE moz_cookies ({columns})")
        row = ("", *next(iter(SESSION.items())), ".cerebras.ai", "/", 4_000_000_000_000, 1_700_000_000_000_000)
        database.execute("INSERT INTO moz_cookies VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def keys(*arguments):
    return CliRunner().invoke(app, ["keys", *arguments])


def page(name):
    return (PAGES / f"{name}.txt").read_text(encoding="utf-8")


def test_what_to_do_is_said_for_the_command_line():
    """The variable, where to get a key, and --local."""
    assert all(word in HOW_TO_CONTINUE for word in ("CEREBRAS_API_KEY", "https://cloud.cerebras.ai", "--local"))
    assert "=" not in HOW_TO_CONTINUE  # no Python


def test_a_variable_that_is_set_and_blank_is_called_empty(monkeypatch):
    """Else its user looks for a typing error in its name."""
    monkeypatch.setenv("CEREBRAS_API_KEY", " ")
    done = keys()
    assert "CEREBRAS_API_KEY — set, but empty" in done.output
    assert done.exit_code == 1


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_cookie_file_that_is_none_is_wrong_usage(home, arguments):
    """Exit code 2, and not a source without a key."""
    file = home / "cookies.txt"
    file.write_text("prompt\nno cookie\n")
    done = keys("--cookies", str(file), *arguments)
    assert done.exit_code == 2
    assert "cannot be read: line 1 does not have the seven fields" in done.output
    if arguments:
        assert json.loads(done.stdout)["error"]["type"] == "InputError"


@pytest.mark.quick
def test_with_nothing_the_page_says_what_was_tried_and_what_to_do():
    """And the command fails, so that a script knows."""
    done = keys()
    assert done.output == page("nothing")
    assert done.exit_code == 1


def test_with_the_variable_the_page_says_that_it_is_used(monkeypatch):
    """The key itself is a fixed mark, and no browser is looked into."""
    monkeypatch.setenv("CEREBRAS_API_KEY", "csk-never-shown")
    done = keys()
    assert done.output == page("variable")
    assert done.exit_code == 0


def test_with_a_browsers_session_the_page_names_browser_and_profile(home, site):
    """The session is asked for its key, once."""
    sign_in(home)
    done = keys()
    assert done.stdout == page("browser")
    assert done.exit_code == 0
    assert len(site.requests) == 1


def test_json_says_the_same_for_programs(home, site):
    """One object; neither key nor cookie in it."""
    sign_in(home)
    done = keys("--json")
    found = json.loads(done.stdout)
    assert found["used"] == "browser session"
    assert [source["state"] for source in found["sources"]] == ["has none", "used"]
    assert found["sources"][-1]["why"].endswith("Firefox, profile abcd1234.default-release")
    assert not any(secret in done.output for secret in (TOKEN, DEMO_KEY))


def test_a_cookie_file_can_be_looked_at_before_it_is_used(home, site):
    """By the argument that the chat model takes."""
    file = home / "cookies.txt"
    file.write_text(f".cerebras.ai\tTRUE\t/\tTRUE\t4000000000\t__Secure-next-auth.session-token\t{TOKEN}\n")
    done = keys("--cookies", str(file))
    assert done.exit_code == 0
    assert "✓ cookies **********" in done.output


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [("CEREBRAS_DEMO_BROWSER", "yes", "Set it to 0"), ("CEREBRAS_BASE_URL", "nonsense", "no scheme")],
)
def test_a_variable_that_says_nothing_sensible_is_named(monkeypatch, variable, value, words):
    """In a sentence, without a traceback."""
    monkeypatch.setenv(variable, value)
    done = keys()
    assert done.exit_code != 0
    assert variable in done.output
    assert words in done.output
    assert "Traceback" not in done.output


def test_the_embedded_model_needs_no_key(monkeypatch):
    """Whether a source has one or not; none is asked."""
    monkeypatch.setenv("CEREBRAS_BASE_URL", "local")
    for key in ("", "csk-never-shown"):
        monkeypatch.setenv("CEREBRAS_API_KEY", key)
        done = keys()
        assert done.output == "No key is needed: CEREBRAS_BASE_URL is local, so the embedded model answers.\n"
        assert done.exit_code == 0
        done = keys("--json")
        assert (json.loads(done.stdout), done.exit_code) == ({"used": None, "sources": []}, 0)


@pytest.mark.parametrize(
    ("key", "ending", "code"),
    [
        ("", "No key was found; requests to 127.0.0.1:9 are sent without one.\n", 0),
        ("two\nlines", "No key was found. Set CEREBRAS_API_KEY", 1),
    ],
)
def test_a_server_on_this_machine_needs_no_key(monkeypatch, key, ending, code):
    """But an invalid one is an error for it, too."""
    monkeypatch.setenv("CEREBRAS_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("CEREBRAS_API_KEY", key)
    done = keys()
    assert ending in done.output
    assert done.exit_code == code


def test_it_runs_as_a_command(home):
    """With its own standard output, and the mark for a source that has none."""
    done = run_command("keys", variables=dict(os.environ), forked=False)
    assert (done.returncode, done.stdout) == (1, page("nothing"))
