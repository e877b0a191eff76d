"""Of stored cookies those that a browser would send to the session endpoint are taken, and no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_cerebras_demo.keys.cookies import HOSTS, Cookie, is_expired, is_session_cookie, to_session

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
    """Neither the stored cookie's nor that which is taken."""
    cookie = Cookie(HOST, "a", "never-shown")
    assert "never-shown" not in repr(cookie) + repr(to_session([cookie], NOW))
