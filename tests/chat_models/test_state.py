"""What LangChain does to a model around a call: caches, configuration, retries, fallbacks, limiters, callbacks."""

from __future__ import annotations

import asyncio
import threading

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import ConfigurableField

from langchain_cerebras_demo import APIError, ChatCerebrasDemo, RateLimitError
from langchain_cerebras_demo.testing import LoopbackCerebras, Reply, Status

DELTAS = Reply(
    deltas=[{"role": "assistant"}, {"reasoning": "Hm."}, {"content": "a"}, {"content": "b"}, {"content": "c"}]
)


def model_for(server, **fields):
    return ChatCerebrasDemo(**{"base_url": server.base_url, "api_key": server.key, "max_retries": 0, **fields})


def test_a_cache_answers_the_second_call_and_tells_models_apart(server):
    """By endpoint, model and settings; the key is no part of it."""
    cache = InMemoryCache()
    first = model_for(server, cache=cache)
    assert first.invoke("hello").content == first.invoke("hello").content
    assert len(server.requests) == 1
    model_for(server, cache=cache, temperature=0.5).invoke("hello")
    model_for(server, cache=cache, model="qwen-3.8-27b").invoke("hello")
    assert len(server.requests) == 3
    with LoopbackCerebras() as other:
        model_for(other, cache=cache).invoke("hello")
        assert len(other.requests) == 1
    assert server.key not in str(cache._cache)


def test_fields_may_be_configured_at_a_call(server):
    """By the names that the constructor takes."""
    model = model_for(server).configurable_fields(
        model=ConfigurableField("model"), temperature=ConfigurableField("temperature")
    )
    model.with_config(configurable={"model": "qwen-3.8", "temperature": 0.25}).invoke("hello")
    assert server.requests[0].json["model"] == "qwen-3.8-27b"
    assert server.requests[0].json["temperature"] == 0.25


def test_with_retry_is_told_what_may_be_tried_again(server):
    """Core's default retries every exception, a 401 too; these classes are those worth it."""
    retryable = tuple(kind for kind in all_errors() if kind.is_retryable)
    patient = model_for(server).with_retry(
        retry_if_exception_type=retryable, wait_exponential_jitter=False, stop_after_attempt=3
    )
    server.script(Status(503), Reply(text="second"))
    assert patient.invoke("hello").content == "second"
    server.script(Status(401))
    with pytest.raises(APIError, match="401"):
        patient.invoke("hello")
    assert len(server.requests) == 3


def all_errors():
    from langchain_cerebras_demo import errors

    found = (getattr(errors, name) for name in errors.__all__)
    return [kind for kind in found if isinstance(kind, type) and issubclass(kind, errors.CerebrasError)]


def test_with_fallbacks_asks_another_model(server):
    """A limit is used up here; there it is not."""
    server.script(Status(429), Reply(text="from the other"))
    chain = model_for(server).with_fallbacks(
        [model_for(server, model="qwen-3.8")], exceptions_to_handle=(RateLimitError,)
    )
    assert chain.invoke("hello").content == "from the other"


class CountingLimiter(BaseRateLimiter):
    def __init__(self):
        self.acquired = 0

    def acquire(self, *, blocking=True):
        self.acquired += 1
        return True

    async def aacquire(self, *, blocking=True):
        return self.acquire()


def test_a_rate_limiter_is_asked_once_a_call(server):
    """LangChain's own, in all four ways."""
    limiter = CountingLimiter()
    model = model_for(server, rate_limiter=limiter)
    model.invoke("hello")
    list(model.stream("hello"))
    asyncio.run(model.ainvoke("hello"))
    assert limiter.acquired == 3


@pytest.mark.parametrize(("switch", "streamed"), [(True, False), (False, True), ("tool_calling", True)])
def test_streaming_can_be_disabled(server, switch, streamed):
    """disable_streaming, LangChain's own field."""
    list(model_for(server, disable_streaming=switch).stream("hello"))
    assert server.requests[0].json.get("stream", False) is streamed


class Tokens(BaseCallbackHandler):
    def __init__(self):
        self.tokens = []

    def on_llm_new_token(self, token, **kwargs):
        self.tokens.append(token)


class AsyncTokens(AsyncCallbackHandler):
    def __init__(self):
        self.tokens = []

    async def on_llm_new_token(self, token, **kwargs):
        self.tokens.append(token)


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize(
    ("way", "kind"), [("stream", Tokens), *[(way, kind) for way in ("astream", "v3") for kind in (Tokens, AsyncTokens)]]
)
def test_callbacks_hear_every_token_once(server, way, kind):
    """On the chunk path and on the event path, sync and async."""
    server.script(DELTAS)
    handler, model = kind(), model_for(server, coalesce=False)
    config = {"callbacks": [handler]}

    async def run():
        if way == "astream":
            return [chunk async for chunk in model.astream("hello", config)]
        stream = await model.astream_events("hello", config, version="v3")
        return await stream.output

    list(model.stream("hello", config)) if way == "stream" else asyncio.run(run())
    assert [token for token in handler.tokens if token] == ["a", "b", "c"]


def test_one_model_is_used_by_many_threads_and_loops_at_once(server):
    """16 threads, sync and async by turns: every call answered, none mixed up."""
    model = model_for(server)
    answers = {}

    def ask(number):
        prompt = f"say number {number}"
        message = model.invoke(prompt) if number % 2 else asyncio.run(model.ainvoke(prompt))
        answers[number] = message.content

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(f"number {number}" in answers[number] for number in range(16))


def test_traces_tell_our_version():
    """Beside LangChain's own."""
    from langchain_cerebras_demo import __version__

    versions = ChatCerebrasDemo().metadata["lc_versions"]
    assert versions["langchain-cerebras-demo"] == __version__
    assert "langchain-core" in versions
