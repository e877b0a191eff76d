"""Agents of LangChain and LangGraph: tools, reasoning that goes back, summaries, retries, fallbacks."""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware, SummarizationMiddleware
from langchain.chat_models import init_chat_model
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_cerebras_demo import ChatCerebrasDemo, register_with_init_chat_model
from langchain_cerebras_demo.testing import Call, Reply, Status

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:langgraph"),
]

TURN_ONE = Reply(
    reasoning="I need both.",
    tool_calls=[Call("weather", {"city": "Paris"}, id="c1"), Call("weather", {"city": "Rome"}, id="c2")],
)
TURN_TWO = Reply(text="Sunny in both.", reasoning="Done.")


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


class Report(BaseModel):
    """What an agent reports."""

    city: str
    sunny: bool


def model_for(server, **fields):
    return ChatCerebrasDemo(**{"base_url": server.base_url, "api_key": server.key, "max_retries": 0, **fields})


async def astreamed(agent, given):
    return [part async for part in agent.astream(given, stream_mode="updates")]


ASKED = {"messages": [HumanMessage("Weather in Paris and Rome?")]}
RUNS = {
    "invoke": lambda agent: agent.invoke(ASKED)["messages"],
    "ainvoke": lambda agent: asyncio.run(agent.ainvoke(ASKED))["messages"],
    "stream": lambda agent: [
        m for part in agent.stream(ASKED, stream_mode="updates") for step in part.values() for m in step["messages"]
    ],
    "astream": lambda agent: [
        m for part in asyncio.run(astreamed(agent, ASKED)) for step in part.values() for m in step["messages"]
    ],
    "messages": lambda agent: [chunk for chunk, _ in agent.stream(ASKED, stream_mode="messages")],
}


@pytest.mark.parametrize("way", RUNS)
@pytest.mark.parametrize(
    ("model", "form"), [("gpt-oss-120b", "reasoning"), ("qwen-3.8-27b", "reasoning"), ("zai-glm-4.7", "think tags")]
)
@pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.catalog.RetiredModelWarning")
def test_a_two_turn_agent_sends_its_reasoning_back_in_the_models_own_form(server, way, model, form):
    """Two parallel calls, two results, and the thought that led to them."""
    server.script(TURN_ONE, TURN_TWO)
    messages = RUNS[way](create_agent(model_for(server, model=model), [weather]))
    assert "Sunny in both." in "".join(str(message.content) for message in messages)
    first, second = (request.json for request in server.requests)
    assert [one["function"]["name"] for one in first["tools"]] == ["weather"]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool", "tool"]
    assistant = second["messages"][1]
    assert [call["id"] for call in assistant["tool_calls"]] == ["c1", "c2"]
    assert "reasoning_content" not in assistant
    if form == "reasoning":
        assert assistant["reasoning"] == "I need both."
    else:
        assert assistant["content"].startswith("<think>I need both.</think>")
        assert second["clear_thinking"] is False
    assert [message["content"] for message in second["messages"][2:]] == ["sunny in Paris", "sunny in Rome"]


def test_reasoning_can_be_left_out(server):
    """replay_reasoning=False."""
    server.script(TURN_ONE, TURN_TWO)
    create_agent(model_for(server, replay_reasoning=False), [weather]).invoke(ASKED)
    assert "reasoning" not in server.requests[1].json["messages"][1]


def test_an_agent_answers_in_a_schema(server):
    """create_agent(response_format=…): by a tool call, which works on every model."""
    server.script(Reply(tool_calls=[Call("Report", {"city": "Paris", "sunny": True}, id="c1")]))
    result = create_agent(model_for(server), [weather], response_format=Report).invoke(ASKED)
    assert result["structured_response"] == Report(city="Paris", sunny=True)


def test_summaries_start_at_a_fraction_of_the_models_window(server):
    """The profile says how large it is."""
    model = model_for(server)
    middleware = SummarizationMiddleware(model, trigger=("fraction", 0.5), keep=("messages", 1))
    agent = create_agent(model, [], middleware=[middleware])
    long = [
        message for number in range(40) for message in (HumanMessage(f"{number} " + "word " * 900), AIMessage("ok"))
    ]
    result = agent.invoke({"messages": [*long, HumanMessage("And now?")]})
    assert len(result["messages"]) < len(long)
    assert len(server.requests) == 2


def test_retries_and_fallbacks_know_our_errors(server):
    """A 503 is tried again by the middleware, a 401 is not; a fallback answers in place of what failed."""
    patient = create_agent(
        model_for(server), [], middleware=[ModelRetryMiddleware(max_retries=2, initial_delay=0.0, on_failure="error")]
    )
    server.script(Status(503), Reply(text="second"))
    assert patient.invoke(ASKED)["messages"][-1].content == "second"
    server.script(Status(401), Reply(text="never"))
    with pytest.raises(Exception, match="401"):
        patient.invoke(ASKED)
    assert len(server.requests) == 3
    server.script()
    fallback = create_agent(
        model_for(server, api_key="csk-wrong"), [], middleware=[ModelFallbackMiddleware(model_for(server))]
    )
    assert fallback.invoke(ASKED)["messages"][-1].content


def test_init_chat_model_finds_us_when_asked_to(server):
    """Never on import: before, the name is unknown."""
    import langchain.chat_models.base as table

    assert "cerebras" not in table._BUILTIN_PROVIDERS
    try:
        register_with_init_chat_model()
        register_with_init_chat_model()
        model = init_chat_model("cerebras:gpt-oss-120b", base_url=server.base_url, api_key=server.key)
        assert isinstance(model, ChatCerebrasDemo)
        assert model.invoke("hello").content
    finally:
        table._BUILTIN_PROVIDERS.pop("cerebras", None)
