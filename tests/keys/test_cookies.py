"""Cookies: read from files in both formats, and those that a browser would send to the session endpoint."""

from __future__ import annotations

import json
import pickle
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_cerebras_demo.errors import MissingKeyError
from langchain_cerebras_demo.keys import SessionCookieKey
from langchain_cerebras_demo.keys import cookies as module
from langchain_cerebras_demo.keys.cookies import (
    HOSTS,
    Cookie,
    is_expired,
    is_session_cookie,
    read_cookie_file,
    to_session,
)
from tests.support.leaks import all_that_shows
from tests.support.scripted import ScriptedTransport, json_answer

NOW = 1_800_000_000.0
HOST = "inference.cerebras.ai"

hosts = st.one_of(
    st.sampled_from(HOSTS),
    st.sampled_from(["cerebras.ai", "api.cerebras.ai", "notcerebras.ai", "cerebras.ai.evil.test", "", ".", "%"]),
    st.sampled_from(HOSTS).map(str.upper),
    st.builds("{}{}".format, st.sampled_from(HOSTS), st.text(max_size=3)),
    st.builds("{}{}".format, st.text(max_size=3), st.sampled_from(HOSTS)),
    st.text(),
)


@given(st.lists(st.tuples(hosts, st.text(), st.sampled_from(["__Host-", "__Secure-", ""]))))
def test_no_cookie_of_any_other_host_is_ever_taken(found):
    """Whatever hosts and names there are: each value that comes out stood under one of the three, spelt exactly so."""
    cookies = [Cookie(host, prefix + name, f"value-{number}") for number, (host, name, prefix) in enumerate(found)]
    own = {cookie.value for cookie in cookies if cookie.host in (HOST, f".{HOST}", ".cerebras.ai")}
    assert set(to_session(cookies, NOW).values()) <= own


@given(st.lists(st.tuples(st.sampled_from(HOSTS), st.from_regex(r"[a-z]{1,3}", fullmatch=True))))
def test_every_good_cookie_of_our_hosts_is_taken_under_its_name(found):
    """So that the property above is not held by taking nothing."""
    cookies = [Cookie(host, name, "x") for host, name in found]
    assert set(to_session(cookies, NOW)) == {name for _, name in found}


@pytest.mark.parametrize("path", ["/", "/api", "/api/", "/api/auth", "/api/auth/session", "/api/auth/"])
def test_a_path_above_the_endpoint_belongs_to_it(path):
    """By whole parts of the path, as RFC 6265 has it."""
    assert to_session([Cookie(HOST, "a", "x", path)], NOW) == {"a": "x"}


@pytest.mark.parametrize("path", ["/ap", "/api/auth/session/", "/api/auth/sessions", "/other", "/API", "api"])
def test_any_other_path_does_not(path):
    """A browser would not send it there."""
    assert to_session([Cookie(HOST, "a", "x", path)], NOW) == {}


@pytest.mark.parametrize(
    ("expires", "is_over"), [(None, False), (NOW + 1, False), (NOW, True), (NOW - 1, True), (0, True)]
)
def test_a_cookie_whose_time_is_over_is_not_taken(expires, is_over):
    """One without an expiry never is."""
    cookie = Cookie(HOST, "a", "x", expires=expires)
    assert is_expired(cookie, NOW) is is_over
    assert (to_session([cookie], NOW) == {}) is is_over


@pytest.mark.parametrize(
    ("host", "path", "is_taken"),
    [
        (HOST, "/", True),
        (f".{HOST}", "/", False),
        (".cerebras.ai", "/", False),
        (HOST, "/api", False),
    ],
)
def test_a_host_cookie_belongs_to_one_host_and_all_its_paths(host, path, is_taken):
    """Another under that name no browser would have kept; the rule knows no other prefix."""
    assert (to_session([Cookie(host, "__Host-authjs.session-token", "x", path)], NOW) != {}) is is_taken
    assert to_session([Cookie(host, "__Secure-authjs.session-token", "x", path)], NOW) != {}


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_with_one_name_the_longer_path_wins_then_the_narrower_host(order):
    """Whatever their order in the store."""
    by_path = [Cookie(HOST, "a", "root"), Cookie(".cerebras.ai", "a", "deep", "/api/auth")]
    by_host = [Cookie(HOST, "a", "own"), Cookie(f".{HOST}", "a", "below"), Cookie(".cerebras.ai", "a", "shared")]
    assert to_session(by_path[::order], NOW) == {"a": "deep"}
    assert to_session(by_host[::order], NOW) == {"a": "own"}


@pytest.mark.parametrize("value", ["", "a\nb", "a\r\nX-Evil: 1", "a;b", "a\0", "é", "\ufffd", "a\tb"])
def test_a_value_that_no_header_can_carry_is_left_out(value):
    """One odd preference must not cost the session beside it."""
    assert to_session([Cookie(HOST, "odd", value), Cookie(HOST, "good", "x")], NOW) == {"good": "x"}


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a\n", "é", "a;b"])
def test_a_name_that_no_header_can_carry_is_left_out(name):
    """As with values."""
    assert to_session([Cookie(HOST, name, "x"), Cookie(HOST, "good", "x")], NOW) == {"good": "x"}


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("next-auth.session-token", True),
        ("authjs.session-token", True),
        ("__Secure-next-auth.session-token", True),
        ("__Host-authjs.session-token.12", True),
        ("__Secure-next-auth.session-token.", False),
        ("__Secure-next-auth.session-token.a", False),
        ("x__Secure-next-auth.session-token", False),
        ("next-auth.csrf-token", False),
        ("next-authxsession-token", False),
        ("session", False),
    ],
)
def test_the_session_is_known_by_its_cookies_name(name, answer):
    """NextAuth's and Auth.js', whole or in numbered pieces."""
    assert is_session_cookie(name) is answer


def test_a_value_shows_itself_nowhere():
    """Neither that of the stored cookie nor that of the selected one."""
    cookie = Cookie(HOST, "a", "never-shown")
    assert "never-shown" not in repr(cookie) + repr(to_session([cookie], NOW))


NAME = "__Secure-next-auth.session-token"
FUTURE = 4_000_000_000


def line(domain=HOST, shared="FALSE", path="/", expires=FUTURE, name=NAME, value="token"):
    return "\t".join([domain, shared, path, "TRUE", str(expires), name, value])


def write(folder, content, name="cookies.txt"):
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def facts(cookies):
    return [(cookie.host, cookie.name, str(cookie.value), cookie.path, cookie.expires) for cookie in cookies]


NETSCAPE = "\n".join(
    [
        "# Netscape HTTP Cookie File",
        "",
        line(),
        "#HttpOnly_" + line(".cerebras.ai", "TRUE", "/api", 0, "shared", "b"),
        line(".inference.cerebras.ai", "TRUE", name="below", value=""),
        line("evil.test", value="somebody-elses"),
        line("notcerebras.ai", value="somebody-elses"),
        line("cerebras.ai", value="somebody-elses"),
    ]
)
STATE = {
    "cookies": [
        {"domain": HOST, "name": NAME, "value": "token", "path": "/", "expires": FUTURE},
        {"domain": ".cerebras.ai", "name": "shared", "value": "b", "path": "/api", "expires": -1},
        {"domain": ".inference.cerebras.ai", "name": "below", "value": "", "expires": FUTURE},
        {"domain": "evil.test", "name": NAME, "value": "somebody-elses"},
    ],
    "origins": [],
}
EXPORT = [
    {"domain": HOST, "hostOnly": True, "name": NAME, "value": "token", "path": "/", "expirationDate": FUTURE},
    {"domain": "cerebras.ai", "hostOnly": False, "name": "shared", "value": "b", "path": "/api", "session": True},
    {"domain": HOST, "hostOnly": False, "name": "below", "value": "", "path": "/", "expirationDate": FUTURE},
    {"domain": "cerebras.ai", "hostOnly": True, "name": NAME, "value": "somebody-elses", "path": "/"},
]
FOUND = [
    (HOST, NAME, "token", "/", FUTURE),
    (".cerebras.ai", "shared", "b", "/api", None),
    (".inference.cerebras.ai", "below", "", "/", FUTURE),
]
FORMATS = {
    "cookies.txt": NETSCAPE,
    "cookies.txt of Windows": NETSCAPE.replace("\n", "\r\n"),
    "cookies.txt with a mark of its encoding": b"\xef\xbb\xbf" + NETSCAPE.encode(),
    "a browser's state": json.dumps(STATE),
    "an extension's export": json.dumps(EXPORT, indent=2),
    "JSON with a mark of its encoding": b"\xef\xbb\xbf\n " + json.dumps(EXPORT).encode(),
}


@pytest.mark.parametrize("case", FORMATS)
def test_each_format_gives_the_cookies_of_our_hosts(tmp_path, case):
    """With host, path and expiry as a browser keeps them; what is somebody else's is dropped."""
    assert facts(read_cookie_file(write(tmp_path, FORMATS[case]))) == FOUND


@pytest.mark.parametrize("content", ["", "\n\n", "# Netscape HTTP Cookie File\n", "[]", '{"cookies": []}'])
def test_a_file_without_cookies_has_none(tmp_path, content):
    """It is no error of the format."""
    assert read_cookie_file(write(tmp_path, content)) == []


def test_a_host_is_taken_in_small_letters(tmp_path):
    """Names of hosts know no other."""
    (cookie,) = read_cookie_file(write(tmp_path, line("Inference.Cerebras.AI")))
    assert cookie.host == HOST


@pytest.mark.parametrize(("expires", "seconds"), [("0", None), ("4000000000.5", 4000000000.5), ("-1", -1.0)])
def test_an_expiry_is_a_number_of_seconds(tmp_path, expires, seconds):
    """0 is a cookie that ends with the browser."""
    (cookie,) = read_cookie_file(write(tmp_path, line(expires=expires)))
    assert cookie.expires == seconds


WRONG = {
    "spaces for tabs": (line().replace("\t", " ") + " never-shown", "line 1 does not have the seven fields"),
    "a field too few": (f"{line()}\n{HOST}\tTRUE\tnever-shown", "line 2 does not have the seven fields"),
    "a field too many": (line() + "\tnever-shown", "line 1 does not have the seven fields"),
    "a date for seconds": (line(expires="never-shown 2030"), "line 1 does not have the seven fields"),
    "digits that are no number": (line(expires="²never-shown"[:1]), "line 1 does not have the seven fields"),
    "no number at all": (line(expires="-"), "line 1 does not have the seven fields"),
    "no UTF-8": (b"never-shown\xff", "it is not UTF-8 text"),
    "UTF-16": (NETSCAPE.encode("utf-16"), "it is not UTF-8 text"),
    "JSON cut off": ('[{"value": "never-shown"', "it is not valid JSON"),
    "JSON without end in depth": ("[" * 100_000, "it is not valid JSON"),
    "an object of something else": ('{"never-shown": 1}', "is neither a list of cookies"),
    "cookies that are no list": ('{"cookies": {"never-shown": 1}}', "is neither a list of cookies"),
    "a list of texts": ('["never-shown"]', "cookie 1 of its JSON is not an object"),
    "no domain": ('[{"name": "a", "value": "never-shown"}]', "cookie 1 of its JSON has no text as 'domain'"),
    "no name": ('[{"domain": "x", "value": "never-shown"}]', "has no text as 'name'"),
    "a value of a number": ('[{"domain": "x", "name": "never-shown", "value": 5}]', "has no text as 'value'"),
    "a path of a number": ('[{"domain":"x","name":"a","value":"never-shown","path":5}]', "has a path that is not text"),
    "a text": ("never-shown", "line 1 does not have the seven fields"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_neither_format_is_refused_by_its_line(tmp_path, case):
    """The content is shown nowhere, frames included."""
    with pytest.raises(ValueError) as caught:
        read_cookie_file(write(tmp_path, WRONG[case][0]))
    shown = all_that_shows(caught.value)
    assert WRONG[case][1] in str(caught.value)
    assert "never-shown" not in shown
    assert "²" not in str(caught.value)


def test_a_file_without_end_is_bounded(tmp_path, monkeypatch):
    """No more than the limit is read."""
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    content = line() + "\n#"
    assert len(read_cookie_file(write(tmp_path, content.ljust(1000)))) == 1
    with pytest.raises(ValueError, match="larger than 1,000 bytes"):
        read_cookie_file(write(tmp_path, content.ljust(1001)))


def test_values_show_themselves_nowhere(tmp_path):
    """In ``repr``, which tracebacks show."""
    cookies = read_cookie_file(write(tmp_path, line(value="never-shown")))
    assert "never-shown" not in repr(cookies) + repr([cookie.value for cookie in cookies])


def answers(*keys):
    return ScriptedTransport(*(json_answer({"user": {"demoApiKey": key}}) for key in keys))


async def test_a_session_takes_its_cookies_from_a_file_whenever_it_buys_a_key(tmp_path):
    """Those that are valid then: the user may export it anew."""
    file = write(tmp_path, line() + "\n" + line(name="theme", value="dark"))
    transport = answers("one", "two")
    session = SessionCookieKey(file, transport=transport)
    assert await session.resolve() == "one"
    write(tmp_path, line(value="newer"))
    assert await session.refresh("one") == "two"
    assert [headers["Cookie"] for headers in transport.sent_headers] == [f"{NAME}=token", f"{NAME}=newer"]


async def test_a_path_may_be_a_text(tmp_path):
    """As on the command line."""
    session = SessionCookieKey(str(write(tmp_path, line())), transport=answers("key"))
    assert await session.resolve() == "key"


async def test_an_odd_cookie_in_a_file_costs_no_session(tmp_path):
    """One with a character outside ASCII is left out."""
    content = json.dumps([*EXPORT, {"domain": HOST, "name": "odd", "value": "é\n"}])
    transport = answers("key")
    assert await SessionCookieKey(write(tmp_path, content, "c.json"), transport=transport).resolve() == "key"
    assert transport.sent_headers[0]["Cookie"] == f"{NAME}=token"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (line(expires=1), "no cookie of inference.cerebras.ai that is still valid"),
        (line("evil.test"), "no cookie of inference.cerebras.ai that is still valid"),
        ("never-shown", "cannot be read (line 1 does not have the seven fields"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
async def test_a_file_without_a_session_is_a_missing_key(tmp_path, content, words):
    """So a chain continues; the message names the file, but not its content."""
    file = write(tmp_path, content or "")
    session = SessionCookieKey(file, transport=answers())
    if content is None:
        file.unlink()
    del content
    with pytest.raises(MissingKeyError) as caught:
        await session.resolve()
    assert words in str(caught.value)
    assert str(file) in str(caught.value)


# Tests are given the names of these cases alone: a cookie would stand among the locals of the test's own frame.
NO_PATHS = {
    "a cookie": f"{NAME}=never-shown",
    "a long cookie": f"{NAME}=never-shown" + "x" * 5000,
    "a zero byte": "never-shown\0",
    "line breaks": "never-shown\n" * 9,
    "a folder": ".",
    "nothing": "",
}


@pytest.mark.parametrize("case", NO_PATHS)
def test_a_text_that_is_no_files_path_is_refused_and_not_shown(case):
    """Somebody may have given a cookie itself."""
    with pytest.raises(ValueError, match="the text is not the path of a file") as caught:
        SessionCookieKey(NO_PATHS[case])
    shown = all_that_shows(caught.value)
    assert "never-shown" not in shown


@pytest.mark.parametrize("name", ["cookies.txt", "Export.JSON"])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    """Where the text looks like a file's name."""
    with pytest.raises(ValueError, match=f"there is no file '{name}'"):
        SessionCookieKey(tmp_path / name)


async def test_a_pickle_keeps_the_path_and_no_cookie(tmp_path):
    """The copy reads the file where it wakes up."""
    file = write(tmp_path, line(value="never-shown"))
    session = SessionCookieKey(file, transport=answers("demo-never-shown"), timeout=3.0)
    await session.resolve()
    session._transport = None
    packed = pickle.dumps(session)
    assert b"never-shown" not in packed
    copy = pickle.loads(packed)
    assert (copy._path, copy._timeout, copy._key) == (file, 3.0, None)
    assert "never-shown" not in repr(session)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_pipe_is_no_cookie_file(tmp_path):
    """Reading it would wait for ever."""
    import os

    os.mkfifo(tmp_path / "cookies.txt")
    with pytest.raises(ValueError, match=r"no file 'cookies\.txt'"):
        SessionCookieKey(tmp_path / "cookies.txt")
