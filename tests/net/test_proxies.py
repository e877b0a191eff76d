"""Which proxy is used, and which setting its errors name."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo import Cerebras, ChatCerebrasDemo
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.net.proxies import ARGUMENT, find_proxy, to_proxy
from tests.support.leaks import all_that_shows

SENTINEL = "csk-never-shown"
HELLO = [{"role": "user", "content": "hi"}]
SERVICE = "https://api.cerebras.ai/v1"


@pytest.mark.parametrize(
    ("given", "url", "shown"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128", "proxy.example:3128"),
        ("HTTP://proxy.example:3128/", "http://proxy.example:3128/", "proxy.example:3128"),
        (" http://proxy.example \n", "http://proxy.example", "proxy.example"),
        ("https://proxy.example:443", "https://proxy.example:443", "proxy.example:443"),
        ("http://user:p%40ss@proxy.example:1", "http://user:p%40ss@proxy.example:1", "proxy.example:1"),
        ("proxy.example:3128", "http://proxy.example:3128", "proxy.example:3128"),
        ("//proxy.example:3128", "http://proxy.example:3128", "proxy.example:3128"),
        ("user:pass@127.0.0.1:3128", "http://user:pass@127.0.0.1:3128", "127.0.0.1:3128"),
        ("localhost", "http://localhost", "localhost"),
        ("http://[::1]:3128", "http://[::1]:3128", "[::1]:3128"),
    ],
)
def test_an_address_with_and_without_a_scheme_is_a_proxy(given, url, shown):
    """Its text has the setting's name, but neither user nor password."""
    proxy = to_proxy(given, "HTTPS_PROXY")
    assert proxy.url == url
    assert str(proxy) == f"{shown} from HTTPS_PROXY"
    assert url not in repr(proxy)


@pytest.mark.parametrize("given", ["", "  ", "\n"])
def test_an_empty_address_is_no_proxy(given):
    """As an empty variable is for every HTTP client."""
    assert to_proxy(given, ARGUMENT) is None


# Tests are given the names of these cases alone: a password would stand among the locals of the test's own frame.
UNUSABLE = {
    "socks4": (f"socks4://user:{SENTINEL}@proxy.example:1", "a SOCKS proxy, which is not supported"),
    "socks5h": (f"SOCKS5h://user:{SENTINEL}@proxy.example:1", "a SOCKS proxy, which is not supported"),
    "ftp": (f"ftp://user:{SENTINEL}@proxy.example:1", "a proxy that is neither http nor https"),
    "quotes": (f'"http://user:{SENTINEL}@proxy.example:1"', "a proxy that is neither http nor https"),
    "no host": ("http://", "a proxy whose host or port cannot be read"),
    "no host behind the user": (f"http://user:{SENTINEL}@", "a proxy whose host or port cannot be read"),
    "a port that is no number": (f"http://user:{SENTINEL}@proxy.example:port", "a proxy whose host or port cannot be"),
    "a port above all ports": (f"user:{SENTINEL}@proxy.example:99999", "a proxy whose host or port cannot be read"),
    "port 0": ("http://proxy.example:0", "a proxy whose host or port cannot be read"),
    "half an IPv6 address": ("http://[::1:3128", "a proxy whose host or port cannot be read"),
    "a space": ("http://proxy example:3128", "a proxy whose host or port cannot be read"),
    "a line break": ("http://proxy.example:3128\r\nX: 1", "a proxy whose host or port cannot be read"),
    "a slash in the password": (
        f"http://user:1/{SENTINEL}@proxy.example:1",
        "a proxy whose password has to be percent-",
    ),
    "a hash in the password": (f"http://user:#{SENTINEL}@proxy.example:1", "a proxy whose password has to be percent-"),
}


@pytest.mark.parametrize("source", ["ALL_PROXY", ARGUMENT])
@pytest.mark.parametrize("case", UNUSABLE)
def test_an_address_that_cannot_be_used_is_refused_by_its_source(case, source):
    """With the remedy, and without user and password."""
    with pytest.raises(ValueError, match=f"^{source} names {UNUSABLE[case][1]}") as caught:
        refuse(case, source)
    assert ("give http://" if source == ARGUMENT else "set ALL_PROXY=http://host:port, or unset it") in str(
        caught.value
    )
    assert SENTINEL not in all_that_shows(caught.value)


def refuse(case, source):
    to_proxy(UNUSABLE[case][0], source)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"https_proxy": "a:1"}, "a:1 from https_proxy"),
        ({"HTTPS_PROXY": "b:1"}, "b:1 from HTTPS_PROXY"),
        ({"https_proxy": "a:1", "HTTPS_PROXY": "b:1"}, "a:1 from https_proxy"),
        ({"ALL_PROXY": "c:1"}, "c:1 from ALL_PROXY"),
        ({"all_proxy": "d:1", "ALL_PROXY": "c:1"}, "d:1 from all_proxy"),
        ({"HTTPS_PROXY": "b:1", "all_proxy": "d:1"}, "b:1 from HTTPS_PROXY"),
        ({"HTTPS_PROXY": "", "ALL_PROXY": "c:1"}, "c:1 from ALL_PROXY"),
        ({"HTTPS_PROXY": "b:1", "NO_PROXY": "cerebras.ai"}, None),
        ({"HTTPS_PROXY": "b:1", "no_proxy": "other.example"}, "b:1 from HTTPS_PROXY"),
        ({"HTTPS_PROXY": "b:1", "NO_PROXY": "*"}, None),
        ({"HTTP_PROXY": "b:1"}, None),
    ],
)
def test_the_variable_that_counts_is_the_one_that_is_named(monkeypatch, variables, expected):
    """That of the scheme before the one for all, the one in lower case before the one in upper case."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = find_proxy(SERVICE)
    assert (str(found) if found else None) == expected
    assert find_proxy("http://localhost/v1") is find_proxy("https://127.0.0.1:1/v1") is None


FACES = {
    "the chat model": lambda: ChatCerebrasDemo(proxy=UNUSABLE["socks4"][0]),
    "the client": lambda: Client(proxy=UNUSABLE["socks4"][0]),
}


@pytest.mark.parametrize("face", FACES)
def test_the_argument_is_refused_where_it_is_given(face):
    """Before any request, and its password is not shown."""
    with pytest.raises(ValueError, match="the argument proxy names a SOCKS proxy") as caught:
        FACES[face]()
    assert SENTINEL not in all_that_shows(caught.value)


async def test_the_provider_refuses_the_argument_too():
    """When its generator is read."""
    pieces = Cerebras.create_async_generator("", HELLO, "csk-0123456789", proxy=UNUSABLE["socks4"][0])
    with pytest.raises(ValueError, match="the argument proxy names a SOCKS proxy"):
        await pieces.__anext__()
