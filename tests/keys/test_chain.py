"""Which arguments make which chain of sources, and when the user's browser is one of them."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.keys import AbsentKey, BrowserSessionKey, StaticKey
from langchain_cerebras_demo.keys.chain import name_of, to_key_chain

API = "https://api.cerebras.ai/v1"
COOKIES = {"authjs.session-token": "never-shown"}


def names(chain):
    return [name_of(source) for source in chain.sources]


def test_the_order_is_the_documented_one():
    """Resolver, key, cookies, environment, browser."""
    chain = to_key_chain(API, key_resolver=StaticKey("a", name="mine"), api_key="b", cookies=COOKIES)
    assert names(chain) == ["mine", "api_key", "cookies", "CEREBRAS_API_KEY", "browser session"]


def test_a_browser_that_was_asked_for_stands_where_cookies_stand():
    """And is not asked a second time at the end."""
    chain = to_key_chain(API, cookies="browser")
    assert names(chain) == ["browser session", "CEREBRAS_API_KEY"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/v1", "https://gateway.example/v1", "http://api.cerebras.ai/v1", "local"]
)
def test_no_browser_is_looked_into_for_a_host_that_its_key_must_not_go_to(url):
    """Also where it would be automatic."""
    assert isinstance(to_key_chain(url, is_automatic=True).sources[-1], AbsentKey)


def test_the_chat_model_looks_into_no_browser_unasked(monkeypatch):
    """It may live in a server that answers strangers; its report says how to ask."""
    monkeypatch.setattr(BrowserSessionKey, "_read", lambda _: pytest.fail("it has looked"))
    report = ChatCerebrasDemo().explain_keys()[-1]
    assert (report.source, report.state, report.why) == ("browser session", "has none", "not asked for")
    assert 'cookies="browser"' in report.remedy


def test_the_variable_asks_for_it_in_the_chat_model(monkeypatch):
    """``CEREBRAS_DEMO_BROWSER=1``; 0 forbids it even where the code asks."""
    looked = []

    async def read(_):
        looked.append(1)
        raise TimeoutError

    pytest.importorskip("browser_cookie3", reason='needs the extra: pip install "langchain-cerebras-demo[browser]"')
    monkeypatch.setattr(BrowserSessionKey, "_read", read)
    monkeypatch.setenv("CEREBRAS_DEMO_BROWSER", "1")
    ChatCerebrasDemo().explain_keys()
    assert looked == [1]
    monkeypatch.setenv("CEREBRAS_DEMO_BROWSER", "0")
    ChatCerebrasDemo(cookies="browser").explain_keys()
    assert looked == [1]
