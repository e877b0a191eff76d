"""The fast path to an answer: used if there are no callbacks, and equal to the normal path."""

from __future__ import annotations

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompt_values import StringPromptValue
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import var_child_runnable_config
from pydantic import BaseModel

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.bulk.records import to_record
from langchain_cerebras_demo.chat_models.bulk_support import without_runs
from langchain_cerebras_demo.client.call import Sends
from langchain_cerebras_demo.testing import Reply


class Sum(BaseModel):
    sum: int


class Listener(AsyncCallbackHandler):
    pass


def make(server, **arguments):
    return ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, **arguments)


@pytest.mark.parametrize(
    "prompt", ["hi", [{"role": "user", "content": "hi"}], [HumanMessage("hi")], StringPromptValue(text="hi")]
)
@pytest.mark.parametrize("kind", ["plain", "bound", "schema"])
async def test_the_short_way_gives_what_the_long_one_gives(server, model, prompt, kind):
    """The same request goes out, and the same record comes of the answer."""
    runnable = {
        "plain": model,
        "bound": model.bind(stop=["END"], seed=5),
        "schema": model.with_structured_output(Sum, include_raw=True),
    }[kind]
    short = without_runs(runnable)
    assert short is not runnable
    server.script(*[Reply(text='{"sum": 4}', reasoning="Hm.")] * 2)
    records = [to_record({"id": "a"}, await way.ainvoke(prompt), 0.0, Sends()).to_dict() for way in (runnable, short)]
    for record in records:
        record.pop("timing")
    assert records[0] == records[1]
    assert server.requests[0].json == server.requests[1].json


async def test_blocks_of_other_vendors_go_the_long_way(server, model):
    """LangChain brings them into one form first."""
    await without_runs(model).ainvoke([HumanMessage([{"type": "text", "text": "hi"}])])
    assert server.requests[0].json["messages"][0]["content"] in ("hi", [{"type": "text", "text": "hi"}])


@pytest.mark.parametrize(
    "arguments",
    [
        {"callbacks": [Listener()]},
        {"verbose": True},
        {"cache": True},
        {"cache": InMemoryCache()},
        {"rate_limiter": InMemoryRateLimiter()},
        {"streaming": True},
        {"output_version": "v1"},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_where_a_run_matters_it_is_made(server, arguments):
    """Callbacks, caches, LangChain's own rate limiter, another form of content."""
    model = make(server, **arguments)
    assert without_runs(model) is model


def test_a_cache_of_all_models_is_asked(model):
    """As a call of the model would do; not where the model says no."""
    set_llm_cache(InMemoryCache())
    try:
        assert without_runs(model) is model
        assert without_runs(model.model_copy(update={"cache": False})) is not model
    finally:
        set_llm_cache(None)


def test_what_listens_to_the_surrounding_run_is_told(model):
    """A bulk run inside a chain or a tool."""
    token = var_child_runnable_config.set({"callbacks": [Listener()]})
    try:
        assert without_runs(model) is model
    finally:
        var_child_runnable_config.reset(token)


def test_tracing_is_no_secret(model, monkeypatch):
    """The variable that switches it on is seen."""
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("LANGSMITH_API_KEY", "x")
    from langsmith.utils import get_env_var

    get_env_var.cache_clear()
    try:
        assert without_runs(model) is model
    finally:
        monkeypatch.undo()
        get_env_var.cache_clear()


def test_other_runnables_stay_as_they_are(model):
    """Chains, subclasses with a way of their own, bindings with a configuration."""

    class Own(ChatCerebrasDemo):
        async def ainvoke(self, *_arguments, **_more):
            return "own"

    own = Own(base_url="http://127.0.0.1:1/v1")
    listened = model.with_config(callbacks=[Listener()])
    for runnable in (model | StrOutputParser(), RunnableLambda(len), own, listened, model.bind(stream=True)):
        assert without_runs(runnable) is runnable
