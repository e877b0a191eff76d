"""Agents that answer by a schema: every strategy of LangChain ends with a valid answer, and no request has what its model refuses."""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import AutoStrategy, ProviderStrategy, ToolStrategy
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from langchain_cerebras_demo import ChatCerebrasDemo, InvalidRequestError, StreamInterruptedError
from langchain_cerebras_demo.catalog import find_spec
from langchain_cerebras_demo.provider import Cerebras
from langchain_cerebras_demo.testing import CutAfter, LoopbackCerebras, Reply, ScriptedCall

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:langgraph"),
]


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


class Report(BaseModel):
    """What an agent reports."""

    city: str = Field(description="The city.")
    sunny: bool


STRATEGIES = {"auto": AutoStrategy, "provider": ProviderStrategy, "tool": ToolStrategy}
MODELS = ["gpt-oss-120b", "qwen-3.8-27b"]
ASKED = {"messages": [HumanMessage("How is the weather in Paris?")]}


async def last_of(parts):
    return [part async for part in parts][-1]


WAYS = {
    "invoke": lambda agent: agent.invoke(ASKED),
    "ainvoke": lambda agent: asyncio.run(agent.ainvoke(ASKED)),
    "stream": lambda agent: [state for mode, state in agent.stream(ASKED, stream_mode=["messages", "values"])][-1],
    "astream": lambda agent: asyncio.run(last_of(agent.astream(ASKED, stream_mode=["messages", "values"])))[1],
}


@pytest.fixture(scope="module")
def loopback():
    with LoopbackCerebras(models=[*MODELS, "our-endpoint"]) as running:
        yield running


def model_for(server, model, **fields):
    return ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, model=model, max_retries=0, **fields)


def agent_of(server, model, strategy, tools, **fields):
    return create_agent(model_for(server, model, **fields), tools, response_format=STRATEGIES[strategy](Report))


def has_both(body):
    return bool(body.get("tools")) and body.get("response_format", {}).get("type", "text") != "text"


def answer(strategy, tools, model):
    """What the scripted model says last: by a call, or as text where a response format asks for it."""
    by_text = strategy == "provider" and (not tools or model == "our-endpoint")
    value = {"city": "Paris", "sunny": True}
    return (
        Reply(text=Report(**value).model_dump_json()) if by_text else Reply(tool_calls=[ScriptedCall("Report", value)])
    )


@pytest.mark.parametrize("calls", ["tools called first", "no tool called", "no tools"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", [*MODELS, "our-endpoint"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_ends_with_a_valid_answer(loopback, strategy, model, way, calls):
    """Never by a request that has tools and a response format, if the model is not known to accept both."""
    tools = [] if calls == "no tools" else [get_weather]
    first = [Reply(tool_calls=[ScriptedCall("get_weather", {"city": "Paris"}, id="c1")])] * (
        calls == "tools called first"
    )
    loopback.script(*first, answer(strategy, tools, model))
    before = len(loopback.requests)
    result = WAYS[way](agent_of(loopback, model, strategy, tools, streaming="stream" in way))
    assert result["structured_response"] == Report(city="Paris", sunny=True)
    bodies = [request.json for request in loopback.requests[before:]]
    assert len(bodies) == len(first) + 1
    assert loopback.unused_steps == 0
    assert all(body.get("stream", False) == ("stream" in way) for body in bodies)
    expected = strategy == "provider" and bool(tools) and model == "our-endpoint"
    assert [has_both(body) for body in bodies] == [expected] * len(bodies)
    for body in bodies:
        names = [one["function"]["name"] for one in body.get("tools", ())]
        by_text = strategy == "provider" and (not tools or model == "our-endpoint")
        assert names == ["get_weather"] * len(tools) + ["Report"] * (not by_text)
        assert body.get("tool_choice") == (None if by_text else "required")
    results = [message for message in bodies[-1]["messages"] if message["role"] == "tool"]
    assert [message["content"] for message in results] == ["sunny in Paris"] * len(first)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_loopbacks_own_answers_are_valid_too(loopback, strategy, model):
    """It reads the request alone, as the service does, and nothing is scripted."""
    loopback.script()
    assert isinstance(agent_of(loopback, model, strategy, [get_weather]).invoke(ASKED)["structured_response"], Report)


@pytest.mark.parametrize("model", MODELS)
def test_the_catalogue_decides_which_strategy_auto_takes(loopback, model):
    """And the profile follows it; a user's own profile wins, and the request is still one that the model accepts."""
    assert find_spec(model).response_format_with_tools is False
    assert model_for(loopback, model).profile["structured_output"] is False
    own = model_for(loopback, model, profile={"structured_output": True})
    loopback.script(answer("provider", [get_weather], model))
    result = create_agent(own, [get_weather], response_format=Report).invoke(ASKED)
    assert result["structured_response"] == Report(city="Paris", sunny=True)
    assert result["messages"][-1].text  # the provider's strategy: the answer is the message's text
    assert not has_both(loopback.requests[-1].json)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_an_answer_beside_another_call_waits_for_its_result(loopback, is_streamed):
    """The tool runs, and the model answers anew."""
    value = {"city": "Paris", "sunny": False}
    both = [ScriptedCall("Report", value, id="c1"), ScriptedCall("get_weather", {"city": "Paris"}, id="c2")]
    loopback.script(Reply(tool_calls=both), answer("provider", [get_weather], "qwen-3.8-27b"))
    agent = agent_of(loopback, "qwen-3.8-27b", "provider", [get_weather], streaming=is_streamed)
    result = agent.invoke(ASKED)
    assert result["structured_response"] == Report(city="Paris", sunny=True)
    sent = loopback.requests[-1].json["messages"]
    assert [call["id"] for call in sent[1]["tool_calls"]] == ["c2"]
    assert [message["tool_call_id"] for message in sent if message["role"] == "tool"] == ["c2"]


def test_an_answer_that_breaks_off_is_in_its_error(loopback):
    """For every face: here the client's, whose partial answer is the text."""
    loopback.script(CutAfter(4, reply=answer("provider", [get_weather], "gpt-oss-120b")))
    generator = Cerebras.create_async_generator(
        "gpt-oss-120b",
        [{"role": "user", "content": "Report."}],
        loopback.key,
        api_base=loopback.base_url,
        tools=[{"type": "function", "function": {"name": "f"}}],
        response_format={"type": "json_schema", "json_schema": {"name": "Report", "schema": {"type": "object"}}},
    )
    texts = []

    async def read():
        async for text in generator:
            texts.append(text)

    with pytest.raises(StreamInterruptedError) as raised:
        asyncio.run(read())
    assert raised.value.partial == "".join(texts) != ""
    assert Report(city="Paris", sunny=True).model_dump_json().startswith(raised.value.partial.replace(" ", ""))


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_any_json_cannot_replace_a_schema(loopback, way):
    """There is no tool for it: the request is refused before it is sent, with the remedy, unless it is not to be checked."""
    before = len(loopback.requests)
    fields = {"response_format": {"type": "json_object"}, "tools": [get_weather]}
    with pytest.raises(
        InvalidRequestError, match=r"give a JSON schema, or leave one of them out.*check_requests=False"
    ):
        list(getattr(model_for(loopback, "gpt-oss-120b").bind(**fields), way)("hello"))
    assert len(loopback.requests) == before
    with pytest.raises(Exception, match="tools cannot be used with response_format"):
        list(getattr(model_for(loopback, "gpt-oss-120b", check_requests=False).bind(**fields), way)("hello"))
    assert len(loopback.requests) == before + 1
