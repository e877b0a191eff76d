"""The gpt4free provider's face, and its two examples through provider and chat model alike, over TLS."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import date

import pytest

from langchain_cerebras_demo import AiohttpTransport, ChatCerebrasDemo, MissingKeyError, catalog, provider
from langchain_cerebras_demo.errors import AuthenticationError, KeyHostError, StreamInterruptedError
from langchain_cerebras_demo.provider import Cerebras
from langchain_cerebras_demo.testing import CutAfter, LoopbackCerebras, RawStream, Reply, sse
from tests.support.tls import LoopbackTLS

HELLO = [{"role": "user", "content": "Hello"}]
SESSION = {
    "__Secure-next-auth.session-token.0": "eyJhbGciOiJkaXIi..a+b/c==&d=e:f|g%22h~i@j(k)[l]{m}",
    "__Secure-next-auth.session-token.1": "second-chunk",
}
COOKIES = {**SESSION, "_analytics": "nobody's business"}


@pytest.fixture(scope="module")
def tls():
    return LoopbackTLS()


@pytest.fixture
def cerebras(tls):
    """One TLS server that stands for inference.cerebras.ai and api.cerebras.ai."""
    models = (*catalog.model_specs(), "llama3.1-70b")
    with LoopbackCerebras(ssl_context=tls.server_context(), session_cookies=SESSION, models=models) as server:
        yield server


@pytest.fixture
def transport(tls, cerebras):
    """The real transport, with names and certificates of this test's own: no rule of the library is turned off."""
    resolver = tls.resolver(cerebras.port)
    transport = AiohttpTransport(resolver=resolver, ssl_context=tls.client_context())
    transport.names = resolver.names
    return transport


async def ask_provider(transport, **kwargs):
    return "".join(
        [text async for text in Cerebras.create_async_generator("deepseek-r1", HELLO, transport=transport, **kwargs)]
    )


async def ask_chat_model(transport, **kwargs):
    model = ChatCerebrasDemo(model="deepseek-r1", transport=transport, **kwargs)
    return "".join([chunk.content async for chunk in model.astream([("user", "Hello")])])


@pytest.fixture(params=[ask_provider, ask_chat_model], ids=["provider", "chat model"])
def ask(request):
    return request.param


@pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.catalog.RetiredModelWarning")
async def test_the_first_example_sends_the_given_key_to_the_api_and_nothing_else(ask, cerebras, transport):
    """api_key: one request, to api.cerebras.ai, with this key, no cookie, the alias resolved."""
    cerebras.script(Reply(text="Hello there"))
    assert await ask(transport, api_key=cerebras.key) == "Hello there"
    (request,) = cerebras.requests
    assert (request.host, request.path) == ("api.cerebras.ai", "/v1/chat/completions")
    assert request.bearer == cerebras.key
    assert request.header("cookie") is None
    assert request.json == {
        "model": "deepseek-r1-distill-llama-70b",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
    }
    assert set(transport.names) == {"api.cerebras.ai"}


@pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.catalog.RetiredModelWarning")
async def test_the_second_example_buys_a_demo_key_with_the_sessions_cookies(ask, cerebras, transport):
    """cookies: the session's own go to the session endpoint alone, the key they buy to the API alone."""
    cerebras.script(Reply(text="Hello there"))
    assert await ask(transport, cookies=COOKIES) == "Hello there"
    session, chat = cerebras.requests
    assert (session.method, session.host, session.path) == ("GET", "inference.cerebras.ai", "/api/auth/session")
    assert session.header("cookie") == "; ".join(f"{name}={value}" for name, value in SESSION.items())
    assert session.header("authorization") is None
    assert (chat.host, chat.bearer) == ("api.cerebras.ai", "csk-demo-0123456789abcdef")
    assert chat.header("cookie") is None
    assert chat.json["model"] == "deepseek-r1-distill-llama-70b"
    assert set(transport.names) == {"inference.cerebras.ai", "api.cerebras.ai"}


@pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.catalog.RetiredModelWarning")
async def test_the_demo_key_never_leaves_for_another_host(ask, cerebras, transport):
    """Another base_url gets no demo key; nothing of the chat was sent."""
    address = {"api_base" if ask is ask_provider else "base_url": "https://other.example/v1"}
    with pytest.raises(KeyHostError, match=r"other\.example"):
        await ask(transport, cookies=COOKIES, **address)
    assert [request.host for request in cerebras.requests] == ["inference.cerebras.ai"]


async def test_a_chat_model_buys_the_key_once_for_many_calls(cerebras, transport):
    """200 concurrent first calls ask the session endpoint once."""
    model = ChatCerebrasDemo(transport=transport, cookies=COOKIES)
    await asyncio.gather(*[model.ainvoke("hi") for _ in range(200)])
    assert [request.path for request in cerebras.requests].count("/api/auth/session") == 1


async def test_a_refused_demo_key_is_bought_again_once(tls, cerebras, transport):
    """After a 401 the session is asked once more, and the request goes out again."""
    model = ChatCerebrasDemo(transport=transport, cookies=COOKIES, max_retries=0)
    model.cookies._key = provider_key = type(await model.cookies.resolve())("csk-expired-0000")
    assert (await model.ainvoke("hi")).content
    paths = [request.path for request in cerebras.requests]
    assert paths == ["/api/auth/session", "/v1/chat/completions", "/api/auth/session", "/v1/chat/completions"]
    assert cerebras.requests[1].bearer == provider_key


@pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.catalog.RetiredModelWarning")
async def test_a_signed_out_session_says_what_to_do(ask, cerebras, transport):
    """The endpoint answers 200 {} then."""
    with pytest.raises(MissingKeyError, match=r"signed out.*Sign in at https://inference\.cerebras\.ai"):
        await ask(transport, cookies={"__Secure-next-auth.session-token": "old"})
    assert [request.path for request in cerebras.requests] == ["/api/auth/session"]


# -- facts


def test_the_facts_of_the_original_stand_in_one_place():
    """What other code reads of a provider."""
    assert Cerebras.label == "Cerebras Inference"
    assert Cerebras.url == "https://inference.cerebras.ai/"
    assert Cerebras.login_url.startswith("https://")
    assert Cerebras.api_base == "https://api.cerebras.ai/v1"
    assert Cerebras.default_model == "gpt-oss-120b"
    assert Cerebras.model_aliases["llama-3.1-70b"] == "llama3.1-70b"
    assert Cerebras.model_aliases["llama-3.1-8b"] == "llama3.1-8b"
    assert Cerebras.model_aliases["deepseek-r1"] == "deepseek-r1-distill-llama-70b"


def test_models_are_the_live_ones_first_and_the_originals_four(monkeypatch):
    """Old scripts find their ids, new ones what answers."""
    monkeypatch.setattr(provider, "_today", lambda: date(2026, 11, 23))
    assert Cerebras.models[0] == Cerebras.default_model
    assert Cerebras.get_models() == Cerebras.models
    assert Cerebras.models[-4:] == ["llama3.1-70b", "llama3.1-8b", "llama-3.3-70b", "deepseek-r1-distill-llama-70b"]
    assert "qwen-3.8-27b" in Cerebras.models
    assert "gemma-4-31b" not in Cerebras.models


def test_get_model_resolves_aliases():
    """Unknown ids go through; an empty name is the default model."""
    assert Cerebras.get_model("deepseek-r1") == "deepseek-r1-distill-llama-70b"
    assert Cerebras.get_model("my-endpoint") == "my-endpoint"
    assert Cerebras.get_model("") == "gpt-oss-120b"


def test_working_tells_the_truth(monkeypatch):
    """It follows the catalogue: false once the default model has been retired."""
    assert Cerebras.working is True
    monkeypatch.setattr(catalog.ModelSpec, "life", lambda self, today: "retired")
    assert Cerebras.working is False


# -- the generator


async def test_parameters_of_the_api_go_out_and_others_are_refused(server):
    """temperature, max_tokens, headers; a misspelt one is named; `stream` is the original's and harmless."""
    where = {"api_base": server.base_url, "api_key": server.key}
    answer = [
        text
        async for text in Cerebras.create_async_generator(
            "", HELLO, temperature=0.5, max_tokens=90, stream=True, headers={"X-Title": "t"}, timeout=5, **where
        )
    ]
    assert answer
    body = server.requests[0].json
    assert (body["model"], body["temperature"], body["max_completion_tokens"]) == ("gpt-oss-120b", 0.5, 90)
    assert server.requests[0].header("x-title") == "t"
    with pytest.raises(TypeError, match=r"'temprature'.*'temperature'"):
        await anext(Cerebras.create_async_generator("", HELLO, temprature=1, **where))


async def test_impersonate_is_refused_with_the_reason(server):
    """This provider says who it is."""
    with pytest.raises(TypeError, match="imitates no browser"):
        await anext(Cerebras.create_async_generator("", HELLO, impersonate="chrome", api_key="csk-x"))


@pytest.mark.parametrize(
    "messages", [[], [{"role": "alien", "content": "x"}], [{"role": "user", "content": b"x"}], ["x"]]
)
async def test_bad_messages_are_refused_before_anything_leaves(server, messages):
    """By name, before the key is even looked for."""
    with pytest.raises((TypeError, ValueError), match="messages"):
        await anext(Cerebras.create_async_generator("", messages, api_base=server.base_url))
    assert server.requests == []


async def test_a_broken_stream_carries_the_text_that_had_come(server):
    """A short answer is an error, as text in `partial`."""
    server.script(CutAfter(events=3, reply=Reply(text="one two three four five six seven eight")))
    got = []
    with pytest.raises(StreamInterruptedError) as caught:
        async for text in Cerebras.create_async_generator("", HELLO, api_base=server.base_url, api_key=server.key):
            got.append(text)
    assert caught.value.partial == "".join(got) != ""


async def test_a_wrong_key_is_a_typed_error(server):
    """gpt4free hangs on it."""
    with pytest.raises(AuthenticationError):
        await anext(Cerebras.create_async_generator("", HELLO, api_base=server.base_url, api_key="csk-wrong"))


def test_of_langchain_only_the_exceptions_are_loaded():
    """A user who wants no LangChain does not pay for it."""
    code = """if True:
        import sys
        import langchain_core.exceptions
        light = {name for name in sys.modules if name.startswith("langchain")}
        from langchain_cerebras_demo.provider import Cerebras
        Cerebras.models
        heavy = {name for name in sys.modules if name.startswith("langchain_core")} - light
        print(sorted(heavy), "langsmith" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "False"], done.stderr


async def test_a_refusal_is_text(server):
    """A generator of text has no other place for it."""
    choices = [{"index": 0, "delta": {"refusal": "No."}}, {"index": 0, "delta": {}, "finish_reason": "stop"}]
    server.script(RawStream([sse({"id": "c1", "choices": [choice]}) for choice in choices]))
    answer = Cerebras.create_async_generator("", HELLO, api_base=server.base_url, api_key=server.key)
    assert [text async for text in answer] == ["No."]
