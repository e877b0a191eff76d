"""Agents and graphs meet tool calls that nobody expected: the turn ends, and the thread takes the next question."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import MemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.testing import LoopbackCerebras, RawAnswer, RawStream, sse

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:langgraph"),
    pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.TruncatedAnswerWarning"),
]

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
