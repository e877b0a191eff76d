"""Every middleware of LangChain runs with our model against the strict server."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from types import SimpleNamespace

import langchain.agents.middleware as offered
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.testing import Reply, ScriptedCall, Status

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:langgraph"),
]

ASKED = {"messages": [HumanMessage("How is the weather in Paris? Write to ann@example.org.")]}


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@tool
def get_time(city: str) -> str:
    """The time in a city."""
    return f"noon in {city}"


CALL = Reply(tool_calls=[ScriptedCall("get_weather", {"city": "Paris"}, id="c1")])
DONE = Reply(text="Sunny.")


def decider(model):
    """A decision model, which LangChain's middleware asks for choices, that asks ours."""
    from langchain_core.decisions import BaseDecisionModel, ClassifierResponse

    class Decider(BaseDecisionModel):
        model: str = "gpt-oss-120b"

        @property
        def _provider(self):
            return "cerebras"

        def _classify(self, state, questions):
            answers = {}
            for name, question in questions.items():
                if question.type == "choice":
                    schema = {"title": "Choice", "type": "string", "enum": [*question.criteria]}
                    chosen = model.with_structured_output(schema).invoke(str(state))
                    answer = {"type": "choice", "choice": chosen, "probabilities": {chosen: 1.0}, "confidence": 1.0}
                else:
                    schema = {"title": "Probability", "type": "number"}
                    answer = {"type": "noul", "noul": model.with_structured_output(schema).invoke(str(state))}
                answers[name] = answer
            return ClassifierResponse(model=self.model, answers=answers)

    return Decider()


# For each middleware: what it is made of, what the server says, and what the requests and the end have to be like.


def case(middleware, *replies, tools=(get_weather,), check=None, **more):
    return SimpleNamespace(middleware=middleware, replies=replies, tools=[*tools], check=check, **more)


def names(body):
    return [one["function"]["name"] for one in body.get("tools", ())]


def roles(body):
    return [message["role"] for message in body["messages"]]


CASES = {
    "SummarizationMiddleware": lambda kind, model, _: case(
        kind(model, trigger=("tokens", 1), keep=("messages", 1)),
        CALL,
        Reply(text="The user asked for the weather."),
        DONE,
        check=lambda _, bodies: "The user asked for the weather." in str(bodies[-1]["messages"][0]),
    ),
    "LLMToolSelectorMiddleware": lambda kind, model, _: case(
        kind(model=model, max_tools=1),
        Reply(text='{"tools": ["get_weather"]}'),
        DONE,
        tools=(get_weather, get_time),
        check=lambda _, bodies: names(bodies[1]) == ["get_weather"],
    ),
    "LLMToolEmulator": lambda kind, model, _: case(
        kind(model=model),
        CALL,
        Reply(text="rain"),
        DONE,
        check=lambda _, bodies: bodies[2]["messages"][-1]["content"] == "rain",
    ),
    "ModelFallbackMiddleware": lambda kind, _, other: case(
        kind(other), Status(503), DONE, check=lambda _, bodies: bodies[1]["model"] == "qwen-3.8-27b"
    ),
    "ModelRetryMiddleware": lambda kind, *_: case(
        kind(initial_delay=0.0), Status(503), DONE, check=lambda _, bodies: bodies[0] == bodies[1]
    ),
    "ModelRefusalMiddleware": lambda kind, *_: case(
        kind(), Reply(text="Once", finish_reason="content_filter"), error="ModelRefusalError"
    ),
    "ModelRouterMiddleware": lambda kind, model, other: case(
        kind(
            choices={"small": offered.ModelChoice(model, "Simple."), "large": offered.ModelChoice(other, "Complex.")},
            instructions="Choose.",
            classifier=decider(model),
        ),
        Reply(text='{"value": "large"}'),
        DONE,
        check=lambda _, bodies: bodies[1]["model"] == "qwen-3.8-27b",
    ),
    "AutoModeMiddleware": lambda kind, model, _: case(
        kind(tools=["get_weather"], classifier=decider(model)),
        CALL,
        Reply(text='{"value": 0.9}'),
        DONE,
        check=lambda _, bodies: "blocked" in bodies[2]["messages"][-1]["content"],
    ),
    "ContextEditingMiddleware": lambda kind, *_: case(
        kind(edits=[offered.ClearToolUsesEdit(trigger=1, keep=0)], token_count_method="model"),
        CALL,
        DONE,
        check=lambda _, bodies: bodies[1]["messages"][-1]["content"] == "[cleared]",
    ),
    "ProviderToolSearchMiddleware": lambda kind, *_: case(kind(), CALL, DONE),
    "ModelCallLimitMiddleware": lambda kind, *_: case(
        kind(run_limit=1), CALL, check=lambda result, _: "limit" in result["messages"][-1].text
    ),
    "ToolCallLimitMiddleware": lambda kind, *_: case(
        kind(run_limit=1),
        CALL,
        Reply(tool_calls=[ScriptedCall("get_weather", {"city": "Rome"}, id="c2")]),
        DONE,
        check=lambda _, bodies: "limit" in bodies[2]["messages"][-1]["content"],
    ),
    "ToolRetryMiddleware": lambda kind, *_: case(kind(initial_delay=0.0), CALL, DONE),
    "ToolErrorMiddleware": lambda kind, *_: case(kind(lambda error, _: str(error)), CALL, DONE),
    "TodoListMiddleware": lambda kind, *_: case(
        kind(),
        Reply(tool_calls=[ScriptedCall("write_todos", {"todos": [{"content": "a", "status": "pending"}]}, id="c1")]),
        DONE,
        check=lambda result, _: result["todos"] == [{"content": "a", "status": "pending"}],
    ),
    "PIIMiddleware": lambda kind, *_: case(
        kind("email"), DONE, check=lambda _, bodies: "ann@" not in json.dumps(bodies[0])
    ),
    "HumanInTheLoopMiddleware": lambda kind, *_: case(
        kind({"get_weather": True}), CALL, DONE, resume={"decisions": [{"type": "approve"}]}
    ),
    "FilesystemFileSearchMiddleware": lambda kind, *_: case(
        kind(root_path="tests/support", use_ripgrep=False),
        Reply(tool_calls=[ScriptedCall("glob_search", {"pattern": "ways.py"}, id="c1")]),
        DONE,
        check=lambda _, bodies: "ways.py" in bodies[1]["messages"][-1]["content"],
    ),
}
"""Those of langchain 1.5; an older one lacks some of them."""

# It takes no model, and leaves the pipes of its shell open, which is an error in our tests.
LEFT_OUT = {"ShellToolMiddleware"}


def model_for(server, model="gpt-oss-120b", **fields):
    return ChatCerebrasDemo(
        **{"base_url": server.base_url, "api_key": server.key, "max_retries": 0, **fields}, model=model
    )


def streamed(agent, given, config):
    parts = list(agent.stream(given, config, stream_mode=["messages", "values"]))
    return [state for mode, state in parts if mode == "values"][-1]


async def astreamed(agent, given, config):
    parts = [part async for part in agent.astream(given, config, stream_mode=["messages", "values"])]
    return [state for mode, state in parts if mode == "values"][-1]


WAYS = {
    "invoke": lambda agent, given, config: agent.invoke(given, config),
    "ainvoke": lambda agent, given, config: asyncio.run(agent.ainvoke(given, config)),
    "stream": streamed,
    "astream": lambda agent, given, config: asyncio.run(astreamed(agent, given, config)),
}
CONFIG = {"configurable": {"thread_id": "1"}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_middleware_runs_with_our_model(server, name, way):
    """The strict server takes all requests, and what the middleware is for has happened."""
    kind = getattr(offered, name, None)
    if kind is None:
        pytest.skip(f"this langchain has no {name}")
    if name == "HumanInTheLoopMiddleware" and way in {"ainvoke", "astream"} and sys.version_info < (3, 11):
        pytest.skip("an async LangGraph agent cannot be interrupted on Python 3.10")
    is_streamed = "stream" in way
    model = model_for(server, streaming=is_streamed)
    one = CASES[name](kind, model, model_for(server, "qwen-3.8-27b", streaming=is_streamed))
    server.script(*one.replies)
    before = len(server.requests)
    agent = create_agent(model, one.tools, middleware=[one.middleware], checkpointer=InMemorySaver())
    if error := getattr(one, "error", None):
        with pytest.raises(Exception, match="content_filter") as raised:
            WAYS[way](agent, ASKED, CONFIG)
        assert error in {base.__name__ for base in type(raised.value).__mro__}
        return
    result = WAYS[way](agent, ASKED, CONFIG)
    if resume := getattr(one, "resume", None):
        assert result["__interrupt__"] if not is_streamed else True
        result = WAYS[way](agent, Command(resume=resume), CONFIG)
    bodies = [request.json for request in server.requests[before:]]
    assert server.unused_steps == 0
    assert isinstance(result["messages"][-1], AIMessage)
    assert one.check is None or one.check(result, bodies)


def test_deferred_tools_are_refused_in_words(server):
    """Cerebras has no search over tools on its side: the middleware for it says so, and nothing is sent."""
    if not hasattr(offered, "ProviderToolSearchMiddleware"):
        pytest.skip("this langchain has no ProviderToolSearchMiddleware")
    middleware = offered.ProviderToolSearchMiddleware(searchable_tools=["get_weather"])
    before = len(server.requests)
    with pytest.raises(ValueError, match="tool search"):
        create_agent(model_for(server), [get_weather], middleware=[middleware]).invoke(ASKED)
    assert len(server.requests) == before


@pytest.mark.upstream
def test_no_middleware_of_langchain_is_missing_here():
    """A new release may bring one."""
    every = {
        name for name in offered.__all__ if inspect.isclass(kind := getattr(offered, name)) and _is_middleware(kind)
    }
    assert every == set(CASES) | LEFT_OUT


def _is_middleware(kind):
    return issubclass(kind, offered.AgentMiddleware) and kind is not offered.AgentMiddleware
