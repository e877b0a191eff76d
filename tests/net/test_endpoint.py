"""Checks of the base URL and of the user's headers."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.errors import KeyFormatError
from langchain_cerebras_demo.net.endpoint import (
    API_BASE,
    BASE_URL_VARIABLE,
    check_headers,
    is_loopback,
    to_base_url,
)

SENTINEL = "csk-never-shown"


@pytest.mark.parametrize(
    ("given", "base_url"),
    [
        (None, "https://api.cerebras.ai/v1"),
        ("local", "local"),
        ("https://api.cerebras.ai", "https://api.cerebras.ai/v1"),
        ("https://api.cerebras.ai/", "https://api.cerebras.ai/v1"),
        ("https://api.cerebras.ai//", "https://api.cerebras.ai/v1"),
        ("https://api.cerebras.ai/v1", "https://api.cerebras.ai/v1"),
        ("https://api.cerebras.ai/v1/", "https://api.cerebras.ai/v1"),
        ("https://API.Cerebras.AI", "https://API.Cerebras.AI/v1"),
        ("https://api.cerebras.ai:8443", "https://api.cerebras.ai:8443/v1"),
        ("https://cerebras.ai", "https://cerebras.ai/v1"),
        ("https://mine.api.cerebras.ai", "https://mine.api.cerebras.ai/v1"),
        ("https://api.cerebras.ai/v2", "https://api.cerebras.ai/v2"),
        ("https://api.cerebras.ai/dedicated/v1", "https://api.cerebras.ai/dedicated/v1"),
        ("https://gateway.example", "https://gateway.example"),
        ("https://gateway.example/", "https://gateway.example"),
        ("https://gateway.example/cerebras/v1/", "https://gateway.example/cerebras/v1"),
        ("https://notcerebras.ai", "https://notcerebras.ai"),
        ("https://cerebras.ai.evil.test", "https://cerebras.ai.evil.test"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        (" https://api.cerebras.ai\n", "https://api.cerebras.ai/v1"),
    ],
)
def test_a_base_url_is_taken_as_given_but_for_slashes_and_the_missing_v1_of_cerebras(given, base_url):
    """Cerebras' own SDK wants the address without /v1, so a cerebras.ai host without a path gets it; no other host does."""
    assert to_base_url(given) == base_url


@pytest.mark.parametrize(
    ("variable", "base_url"),
    [
        ("https://api.cerebras.ai", "https://api.cerebras.ai/v1"),
        ("  https://gateway.example/v1/ \n", "https://gateway.example/v1"),
        ("local", "local"),
        ("", API_BASE),
        ("   ", API_BASE),
    ],
)
def test_the_environment_names_the_base_url_where_none_is_given(monkeypatch, variable, base_url):
    """An empty variable counts as none."""
    monkeypatch.setenv(BASE_URL_VARIABLE, variable)
    assert to_base_url(None) == base_url


def test_a_given_base_url_goes_before_the_environment(monkeypatch):
    """An explicit argument takes precedence."""
    monkeypatch.setenv(BASE_URL_VARIABLE, "https://elsewhere.example/v1")
    assert to_base_url("https://gateway.example/v1") == "https://gateway.example/v1"


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("", "no scheme or no host"),
        ("api.cerebras.ai/v1", "no scheme or no host"),
        ("//api.cerebras.ai/v1", "no scheme or no host"),
        ("ftp://api.cerebras.ai/v1", "no scheme or no host"),
        ("file:///etc/passwd", "no scheme or no host"),
        ("https:///v1", "no scheme or no host"),
        ("https://", "no scheme or no host"),
        ("Local", "no scheme or no host"),
        ("https://evil.test\t.cerebras.ai", "control character"),
        ("https://api.cerebras.ai/v1\r\nX-Evil: 1", "control character"),
        ("https://evil.test\0.cerebras.ai", "control character"),
        ("https://evil.test .cerebras.ai", "space"),
        ("http://127.0.0.1:99999/v1", "host or port"),
        ("http://127.0.0.1:0/v1", "host or port"),
        ("http://127.0.0.1:http/v1", "host or port"),
        ("http://[::1/v1", "host or port"),
        ("https://gateway.example/v1?key=1", "query"),
        ("https://gateway.example/v1#part", "fragment"),
        ("https://user@gateway.example/v1", "a user"),
        ("https://:password@gateway.example/v1", "a user"),
        ("https://api.cerebras.ai@evil.test/v1", "a user"),
    ],
)
def test_what_is_no_plain_address_is_refused_by_the_name_of_where_it_came_from(monkeypatch, wrong, problem):
    """An error at construction, not a strange failure at the first request."""
    with pytest.raises((ValueError, KeyFormatError), match=problem) as given:
        to_base_url(wrong)
    assert str(given.value).startswith("base_url")
    if wrong and "\0" not in wrong:
        monkeypatch.setenv(BASE_URL_VARIABLE, wrong)
        with pytest.raises((ValueError, KeyFormatError), match=problem) as from_environment:
            to_base_url(None)
        assert str(from_environment.value).startswith(BASE_URL_VARIABLE)


@pytest.mark.parametrize(
    "address",
    [f"https://user:{SENTINEL}@gateway.example/v1", f"user:{SENTINEL}@gateway.example", f"https://{SENTINEL}@"],
)
def test_a_password_in_an_address_is_not_shown(address):
    """The message says that a user is in it, and nothing more of it."""
    with pytest.raises(KeyFormatError, match="user") as caught:
        to_base_url(address)
    assert SENTINEL not in str(caught.value)


@pytest.mark.parametrize("wrong", [b"https://api.cerebras.ai", 5, ["https://api.cerebras.ai"]])
def test_a_base_url_that_is_no_str_is_refused(wrong):
    """The message names the type that came."""
    with pytest.raises(TypeError, match=f"base_url is a {type(wrong).__name__}"):
        to_base_url(wrong)


def test_headers_that_a_request_can_carry_pass_unchanged():
    """They are the user's business: no name is added, dropped or rewritten."""
    headers = {"X-Title": "a b", "x-empty": ""}
    assert check_headers(headers) == {"X-Title": "a b", "x-empty": ""}


@pytest.mark.parametrize(
    ("headers", "kind", "shown"),
    [
        ({5: "a"}, TypeError, "5"),
        ({"X-Count": 5}, TypeError, "X-Count"),
        ({"X-None": None}, TypeError, "X-None"),
        ({b"X-Bytes": b"a"}, TypeError, "X-Bytes"),
        ({"X-Break": f"a\r\nAuthorization: {SENTINEL}"}, KeyFormatError, "X-Break"),
        ({"X-Feed": f"{SENTINEL}\n"}, KeyFormatError, "X-Feed"),
        ({"X-Zero": f"{SENTINEL}\0"}, KeyFormatError, "X-Zero"),
        ({"X-A\nX-B": SENTINEL}, KeyFormatError, "X-B"),
        ({"Authorization": SENTINEL}, KeyFormatError, "api_key"),
        ({"aUTHORIZATION": SENTINEL}, KeyFormatError, "api_key"),
    ],
)
def test_headers_that_no_request_can_carry_are_refused_by_name(headers, kind, shown):
    """A line break would smuggle a header in, and Authorization is made from the key. No value is shown."""
    with pytest.raises(kind) as caught:
        check_headers(headers)
    assert shown in str(caught.value)
    assert SENTINEL not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("http://127.0.0.1:8080/v1", True),
        ("http://localhost/v1", True),
        ("http://LOCALHOST:1/v1", True),
        ("http://[::1]:8080/v1", True),
        ("http://localhost.evil.test/v1", False),
        ("http://127.0.0.1.evil.test/v1", False),
        ("http://10.0.0.1/v1", False),
        ("https://api.cerebras.ai/v1", False),
    ],
)
def test_loopback_is_this_machine_by_its_three_names(url, answer):
    """There no key is needed."""
    assert is_loopback(url) is answer
