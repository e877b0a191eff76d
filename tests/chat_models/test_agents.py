"""Agents of LangChain and LangGraph: tools, reasoning that goes back, summaries, retries, fallbacks."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
    wrap_model_call,
)
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import MemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import RetryPolicy
from pydantic import BaseModel, SecretStr
from typing_extensions import TypedDict

from langchain_cerebras_demo import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ChatCerebrasDemo,
    InvalidRequestError,
    is_retryable,
)
from langchain_cerebras_demo.testing import LoopbackCerebras, RawAnswer, RawStream, Reply, ScriptedCall, Status, sse

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:langgraph"),
    pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.TruncatedAnswerWarning"),
]

TURN_ONE = Reply(
    reasoning="I need both.",
    tool_calls=[
        ScriptedCall("weather", {"city": "Paris"}, id="c1"),
        ScriptedCall("weather", {"city": "Rome"}, id="c2"),
    ],
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


@pytest.mark.parametrize("model", ["gpt-oss-120b", "our-endpoint"])
@pytest.mark.parametrize("form", [True, False, "reasoning", "think_tags"])
def test_the_form_of_earlier_reasoning_can_be_named(model, form):
    """For models that the catalogue does not know, whose reasoning is left out otherwise; False leaves it out for all."""
    with LoopbackCerebras(models=["gpt-oss-120b", "our-endpoint"]) as server:
        server.script(TURN_ONE, TURN_TWO)
        chosen = model_for(server, model=model, replay_reasoning=form, reasoning_effort="high")
        create_agent(chosen, [weather]).invoke(ASKED)
        body = server.requests[1].json
    sent = body["messages"][1]
    known = form is True and model == "gpt-oss-120b"
    assert sent.get("reasoning") == ("I need both." if form == "reasoning" or known else None)
    assert str(sent.get("content")).startswith("<think>I need both.</think>") == (form == "think_tags")
    assert body.get("clear_thinking") == (False if form == "think_tags" else None)


def test_an_agent_answers_in_a_schema(server):
    """create_agent(response_format=…): by a tool call, which works on every model."""
    server.script(Reply(tool_calls=[ScriptedCall("Report", {"city": "Paris", "sunny": True}, id="c1")]))
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


class Failing:
    """A transport that raises."""

    def __init__(self, error):
        self.error = error
        self.sends = 0

    async def send(self, _request):
        self.sends += 1
        raise self.error


REFUSED_UNSENT = {
    "a parameter": lambda model: model.bind(temperature=9),
    "an unknown parameter": lambda model: model.bind(temprature=1),
    "a model's name": lambda model: model.bind(model=" gpt-oss-120b"),
    "a model's name that is not text": lambda model: model.bind(model=5),
    "something that is not a tool": lambda model: model.bind(tools=["search"]),
    "a tool without its function": lambda model: model.bind(tools=[{"type": "function", "function": "f"}]),
    "model_kwargs that are not a mapping": lambda model: model.bind(model_kwargs=5),
    "a schema's model": lambda model: (
        lambda messages: model.with_structured_output(Report, model=" gpt-oss-120b").invoke(messages)
    ),
    "a message": lambda model: (lambda _: [AIMessage([{"type": "text", "text": 5}])]) | model,
    "tools that disagree": lambda model: (
        lambda messages: model.bind_tools([{**THEIRS, "strict": True}, {**OTHER, "strict": False}]).invoke(messages)
    ),
}
THEIRS = {"type": "function", "name": "a", "parameters": {"type": "object", "properties": {}}}
OTHER = {**THEIRS, "name": "b"}


def node_with_policy(ask, **policy):
    """A graph of one node, tried three times at most, and the list of its attempts."""
    attempts = []

    def node(state):
        attempts.append(1)
        return {"messages": ask(state["messages"])}

    graph = StateGraph(MessagesState)
    retry = RetryPolicy(initial_interval=0.0, jitter=False, max_attempts=3, **policy)
    graph.add_node("ask", node, retry_policy=retry).add_edge(START, "ask")
    return graph.compile(), attempts


@pytest.mark.parametrize("policy", [{}, {"retry_on": is_retryable}], ids=["default", "is_retryable"])
@pytest.mark.parametrize("kind", [APITimeoutError, APIConnectionError])
def test_langgraph_tries_a_failure_of_the_line_again(kind, policy):
    """By default, too: a timeout is an OSError, of which the default policy retries `ConnectionError` alone."""
    transport = Failing(kind("too slow"))
    model = ChatCerebrasDemo(api_key="csk-0123456789", transport=transport, max_retries=0)
    graph, attempts = node_with_policy(model.invoke, **policy)
    with pytest.raises(kind):
        graph.invoke(ASKED)
    assert (len(attempts), transport.sends) == (3, 3)


@pytest.mark.parametrize("policy", [{}, {"retry_on": is_retryable}], ids=["default", "is_retryable"])
@pytest.mark.parametrize("case", REFUSED_UNSENT)
def test_langgraph_does_not_try_a_request_again_that_was_refused_unsent(server, case, policy):
    """What the arguments or the history of a call are refused for does not change by itself."""
    refused = REFUSED_UNSENT[case](model_for(server))
    graph, attempts = node_with_policy(refused if callable(refused) else refused.invoke, **policy)
    with pytest.raises(InvalidRequestError):
        graph.invoke(ASKED)
    assert (len(attempts), server.requests) == (1, [])


@pytest.mark.parametrize("case", REFUSED_UNSENT)
def test_retry_middleware_raises_at_once_for_a_request_that_was_refused_unsent(server, case):
    """It asks `is_retryable` of a model's errors, and retries every other exception."""
    attempts = []

    @wrap_model_call
    def refused(request, _handler):
        attempts.append(1)
        asked = REFUSED_UNSENT[case](request.model)
        return asked(request.messages) if callable(asked) else asked.invoke(request.messages)

    retry = ModelRetryMiddleware(max_retries=2, initial_delay=0.0, on_failure="error")
    with pytest.raises(InvalidRequestError):
        create_agent(model_for(server), [], middleware=[retry, refused]).invoke(ASKED)
    assert (len(attempts), server.requests) == (1, [])


@pytest.mark.parametrize("status", [401, 404])
def test_langgraphs_default_policy_tries_refused_keys_and_models_again_and_is_retryable_does_not(server, status):
    """The docs say so, and name the function."""
    server.script(*[Status(status)] * 4)
    for policy, sends in (({}, 3), ({"retry_on": is_retryable}, 1)):
        graph, attempts = node_with_policy(model_for(server).invoke, **policy)
        with pytest.raises(APIStatusError):
            graph.invoke(ASKED)
        assert len(attempts) == sends
    assert len(server.requests) == 4


KEY_NEVER_SAVED = "csk-never-saved-0123456789"


def in_state(model):
    return {"a model": model, "a bound model": model.bind_tools([weather]), "more": [{"nested": (model,)}]}


@pytest.mark.parametrize("pickle_fallback", [False, True])
@pytest.mark.parametrize("key", [KEY_NEVER_SAVED, SecretStr(KEY_NEVER_SAVED), lambda: KEY_NEVER_SAVED])
def test_a_checkpoint_holds_no_key_of_a_model_in_the_state(server, monkeypatch, pickle_fallback, key):
    """By LangGraph's own serializer; the model that is loaded asks the environment again."""
    serializer = JsonPlusSerializer(
        pickle_fallback=pickle_fallback,
        allowed_msgpack_modules=[(ChatCerebrasDemo.__module__, "ChatCerebrasDemo")],
    )
    model = model_for(server, api_key=key, cookies={"session": KEY_NEVER_SAVED}, temperature=0.5)
    for saved in in_state(model).values():
        _, data = serializer.dumps_typed(saved)
        assert KEY_NEVER_SAVED.encode() not in data
    loaded = serializer.loads_typed(serializer.dumps_typed(model))
    assert loaded.temperature == 0.5
    monkeypatch.setenv("CEREBRAS_API_KEY", server.key)
    assert loaded.invoke("hi").content
    assert server.requests[-1].bearer == server.key


def test_a_checkpoint_that_is_pickled_holds_no_key(server):
    """What msgpack cannot write, as a chain with structured output, goes through the pickle fallback."""
    chain = model_for(server, api_key=KEY_NEVER_SAVED).with_structured_output(Report)
    kind, data = JsonPlusSerializer(pickle_fallback=True).dumps_typed(chain)
    assert (kind, KEY_NEVER_SAVED.encode() in data) == ("pickle", False)


def test_a_graph_keeps_a_model_in_its_state_and_its_checkpoints_hold_no_key(server):
    """Saver and all."""

    class State(TypedDict, total=False):
        model: object
        answer: str

    graph = StateGraph(State)
    graph.add_node("ask", lambda state: {"answer": state["model"].invoke("hi").content})
    graph.add_edge(START, "ask")
    saver = MemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=True))
    compiled, config = graph.compile(checkpointer=saver), {"configurable": {"thread_id": "1"}}
    server.key = KEY_NEVER_SAVED
    assert compiled.invoke({"model": model_for(server)}, config)["answer"]
    assert KEY_NEVER_SAVED not in repr(saver.storage) + repr(saver.blobs) + repr(saver.writes)
    assert isinstance(compiled.get_state(config).values["model"], ChatCerebrasDemo)


# -- unexpected tool calls


FRAME = {"id": "chatcmpl-1", "model": "gpt-oss-120b", "created": 1}  # the same in every answer, as some servers have it
GOOD = '{"port": "Cork"}'


def call(call_id="c1", name="tide", arguments=GOOD, **more):
    """A call; an id of ``...`` leaves the key out."""
    return {
        **({} if call_id is ... else {"id": call_id}),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
        **more,
    }


class Turn:
    """An answer of the model: its message, and how it ends."""

    def __init__(self, *calls, finish="tool_calls", **message):
        self.message = {"content": None, **message, **({"tool_calls": list(calls)} if calls else {})}
        self.finish = finish

    def step(self, is_streamed):
        """As the server sends it, in fragments where it is streamed."""
        if not is_streamed:
            choice = {"index": 0, "message": {"role": "assistant", **self.message}, "finish_reason": self.finish}
            return RawAnswer(
                headers={"content-type": "application/json"}, body=json.dumps({**FRAME, "choices": [choice]}).encode()
            )
        deltas = [{"role": "assistant"}]
        for number, one in enumerate(self.message.get("tool_calls", ())):
            text = one["function"]["arguments"]
            begin = {"index": number, **one, "function": {**one["function"], "arguments": text[:4]}}
            deltas += [
                {"tool_calls": [begin]},
                {"tool_calls": [{"index": number, "function": {"arguments": text[4:]}}]},
            ]
        others = {key: value for key, value in self.message.items() if key != "tool_calls"}
        deltas.append(others)
        chunks = [{**FRAME, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        return RawStream(
            [sse(*chunks, {**FRAME, "choices": [{"index": 0, "delta": {}, "finish_reason": self.finish}]})]
        )


DONE, NEXT = Turn(finish="stop", content="Done."), Turn(finish="stop", content="Next.")

# What the model says before it is done, and the ports that the tool is asked for.
UNEXPECTED = {
    "no ids": ([Turn(call(...), call(..., arguments='{"port": "Hull"}'))], ["Cork", "Hull"]),
    "null for ids": ([Turn(call(None), call(None, arguments='{"port": "Hull"}'))], ["Cork", "Hull"]),
    "empty ids": ([Turn(call(""), call("", arguments='{"port": "Hull"}'))], ["Cork", "Hull"]),
    "no ids, in two turns": ([Turn(call(...)), Turn(call(..., arguments='{"port": "Hull"}'))], ["Cork", "Hull"]),
    "one id twice": ([Turn(call("d"), call("d", arguments='{"port": "Hull"}'))], ["Cork", "Hull"]),
    "one id in two turns": ([Turn(call("d")), Turn(call("d", arguments='{"port": "Hull"}'))], ["Cork", "Hull"]),
    "the old form": ([Turn(function_call={"name": "tide", "arguments": GOOD}, finish="function_call")], ["Cork"]),
    "a name with a dot": ([Turn(call(name="functions.tide")), Turn(call("c2"))], ["Cork"]),
    "a name with a blank": ([Turn(call(name="tide tool")), Turn(call("c2"))], ["Cork"]),
    "a special token": ([Turn(call(name="<|channel|>x")), Turn(call("c2"))], ["Cork"]),
    "an empty name": ([Turn(call(name="")), Turn(call("c2"))], ["Cork"]),
    "no name": ([Turn(call(name=None)), Turn(call("c2"))], ["Cork"]),
    "cut arguments": ([Turn(call(arguments='{"port": "Co'))], []),
    "arguments cut by length": ([Turn(call(arguments='{"port": "Co'), finish="length")], []),
    "cut arguments, no id": ([Turn(call(..., arguments='{"port": "Co'))], []),
    "cut arguments, no name": ([Turn(call(name=None, arguments='{"port": "Co'))], []),
    "cut beside whole": ([Turn(call("c1"), call("c2", arguments='{"port": "Hu'))], ["Cork"]),
    "cut beside whole of one id": ([Turn(call("d"), call("d", arguments='{"port": "Hu'))], ["Cork"]),
    "text for arguments": ([Turn(call(arguments="the port of Cork"))], []),
    "a list for arguments": ([Turn(call(arguments='["Cork"]'))], []),
    "arguments with a tail": ([Turn(call(arguments=GOOD + " and Hull"))], []),
    "empty arguments": ([Turn(call(arguments=""))], ["?"]),
}
# A broken call ends the turn where none beside it is run; then the server has one answer left.
ENDS_THE_TURN = {case for case, (_, ports) in UNEXPECTED.items() if not ports}


def make_tool():
    ran = []

    @tool
    def tide(port: str = "?") -> str:
        """The tide at a port."""
        ran.append(port)
        return f"high at {port}"

    return tide, ran


def agent_of(model, tide):
    return create_agent(model, [tide], checkpointer=MemorySaver())


def graph_of(model, tide):
    bound = model.bind_tools([tide])

    def sync(state):
        return {"messages": [bound.invoke(state["messages"])]}

    async def asynchronous(state):
        return {"messages": [await bound.ainvoke(state["messages"])]}

    from langchain_core.runnables import RunnableLambda

    graph = StateGraph(MessagesState)
    graph.add_node("model", RunnableLambda(sync, asynchronous))
    graph.add_node("tools", ToolNode([tide]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition, {"tools": "tools", END: END})
    graph.add_edge("tools", "model")
    return graph.compile(checkpointer=MemorySaver())


async def last_of(parts):
    return [part async for part in parts][-1]


CONFIG = {"configurable": {"thread_id": "1"}}
WAYS = {
    "invoke": lambda graph, asked: graph.invoke(asked, CONFIG),
    "ainvoke": lambda graph, asked: asyncio.run(graph.ainvoke(asked, CONFIG)),
    "stream": lambda graph, asked: list(graph.stream(asked, CONFIG, stream_mode=["messages", "values"]))[-1][1],
    "astream": lambda graph, asked: asyncio.run(
        last_of(graph.astream(asked, CONFIG, stream_mode=["messages", "values"]))
    )[1],
}


@pytest.fixture(scope="module")
def loopback():
    with LoopbackCerebras() as running:
        yield running


@pytest.mark.parametrize("make", [agent_of, graph_of])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", UNEXPECTED)
def test_an_agent_and_a_graph_go_on(loopback, case, way, make):
    """The right tools run, broken calls do not, and the strict server takes this turn's requests and the next one's."""
    turns, ports = UNEXPECTED[case]
    is_streamed = way.endswith("stream")
    ending = [] if case in ENDS_THE_TURN else [DONE]
    loopback.script(*(turn.step(is_streamed) for turn in [*turns, *ending, NEXT]))
    before = len(loopback.requests)
    tide, ran = make_tool()
    graph = make(
        ChatCerebrasDemo(base_url=loopback.base_url, api_key=loopback.key, max_retries=0, streaming=is_streamed), tide
    )
    first = WAYS[way](graph, {"messages": [HumanMessage("When is high tide?")]})
    assert sorted(ran) == sorted(ports)
    assert first["messages"][-1].content == ("" if case in ENDS_THE_TURN else "Done.")
    second = WAYS[way](graph, {"messages": [HumanMessage("And then?")]})
    assert second["messages"][-1].content == "Next."
    assert loopback.unused_steps == 0
    check_pairs(second["messages"], [request.json["messages"] for request in loopback.requests[before:]][-1])


def check_pairs(messages, sent):
    """Every call has an id of its own on the wire and its own result, and nothing of the model's is lost."""
    calls = {one["id"]: one["function"] for message in sent for one in message.get("tool_calls", ())}
    results = {message["tool_call_id"]: message["content"] for message in sent if message["role"] == "tool"}
    made = [
        one
        for message in messages
        if isinstance(message, AIMessage)
        for one in (*message.tool_calls, *message.invalid_tool_calls)
    ]
    assert list(calls) == list(results) or set(calls) == set(results)
    assert len(calls) == len(made)
    assert all(re.fullmatch(r"[\w-]{1,64}", function["name"]) for function in calls.values())
    for call_id, result in results.items():
        if result.startswith("high at"):
            assert json.loads(calls[call_id]["arguments"] or "{}").get("port", "?") == result.removeprefix("high at ")


def test_a_tool_message_of_a_broken_call_stays(loopback):
    """Whoever answers it, by its id, is heard in place of our own words."""
    loopback.script(Turn(call(arguments='{"port": "Co')).step(is_streamed=True), NEXT.step(is_streamed=True))
    model = ChatCerebrasDemo(base_url=loopback.base_url, api_key=loopback.key, streaming=True)
    answer = model.invoke("When?")
    (broken,) = answer.invalid_tool_calls
    model.invoke([HumanMessage("When?"), answer, ToolMessage("No such port.", tool_call_id=broken["id"])])
    assert loopback.requests[-1].json["messages"][2]["content"] == "No such port."


def test_made_up_ids_differ_from_turn_to_turn(loopback):
    """Although the server gives every answer the same id."""
    model = ChatCerebrasDemo(base_url=loopback.base_url, api_key=loopback.key)
    ids = []
    for streaming in (False, False, True, True):
        loopback.script(Turn(call(...), call(None), call("")).step(streaming))
        answer = model.invoke("When?", stream=streaming)
        ids += [one["id"] for one in answer.tool_calls]
    assert len(set(ids)) == len(ids) == 12
    assert all(re.fullmatch(r"call_[0-9a-f]+_\d", call_id) for call_id in ids)
