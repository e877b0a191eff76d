"""The hosts that a key may go to: a session's demo key to cerebras.ai alone, over https."""

from __future__ import annotations

import warnings

import pytest

from langchain_cerebras_demo.errors import KeyHostError
from langchain_cerebras_demo.keys import DemoKey, Secret
from langchain_cerebras_demo.keys.hosts import check_key_host

SENTINEL = "csk-never-shown"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.cerebras.ai/v1/chat/completions",
        "https://cerebras.ai/v1",
        "https://mine.api.cerebras.ai/v1",
        "https://API.CEREBRAS.AI/v1",
        "https://api.cerebras.ai:8443/v1",
    ],
)
def test_a_demo_key_goes_to_cerebras_over_https(url):
    """Any host below cerebras.ai and any port of it."""
    check_key_host(Secret(DemoKey(SENTINEL), "cookies"), url)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.cerebras.ai/v1",
        "http://api.cerebras.ai:443/v1",
        "https://notcerebras.ai/v1",
        "https://cerebras.ai.evil.test/v1",
        "https://api.cerebras.ai.evil.test/v1",
        "https://api-cerebras.ai/v1",
        "https://api.cerebras.air/v1",
        "https://api.cerebras.ai@evil.test/v1",
        "https://evil.test/api.cerebras.ai",
        "https://evil.test/?.cerebras.ai",
        "https://evil.test#.cerebras.ai",
        "https://evil.test\\@x.cerebras.ai.evil.test/",
        "https://cerebras.ai./v1",
        "https://xn--crebras-cya.ai/v1",
        "http://127.0.0.1:8080/v1",
        "http://localhost/v1",
        "wss://api.cerebras.ai/v1",
        "local",
        "",
    ],
)
def test_a_demo_key_goes_nowhere_else(url):
    """Look-alikes, plain http and every other host are refused before anything is sent, and the key is not shown."""
    with pytest.raises(KeyHostError, match="api_key") as caught:
        check_key_host(Secret(DemoKey(SENTINEL), "cookies"), url)
    assert SENTINEL not in str(caught.value)


def test_a_key_of_the_users_own_goes_where_the_user_sends_it():
    """Only the demo key is bound to a host: gateways have their own keys."""
    check_key_host(Secret(SENTINEL, "api_key"), "https://gateway.example/v1")
    check_key_host(Secret(SENTINEL, "api_key"), "http://localhost:8080/v1")


def test_a_key_over_plain_http_to_another_machine_warns_once_a_host():
    """By the host's name; loopback is this machine, and https is safe."""
    for again in (False, True):
        for host in ("gateway-one.example", "gateway-two.example:8080"):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                check_key_host(Secret(SENTINEL, "api_key"), f"http://{host}/v1")
            messages = [str(one.message) for one in caught]
            assert len(messages) == (0 if again else 1)
            assert all(host in message and SENTINEL not in message for message in messages)
