"""Which tools are called goes by the choice, the user's words and what was called before."""

from __future__ import annotations

import pytest

from tests.testing.wire_client import CONVERT, WEATHER, after_calls, ask, calls_of, chat, function

MODELS = ("gpt-oss-120b", "qwen-3.8-27b", "gemma-4-31b", "zai-glm-4.7")


MAGIC = function("magic_function", {"input": {"type": "integer"}})


def test_a_tool_is_called_when_the_user_asks_for_it(shared_server):
    """``auto`` goes by the words of the tool's name; the arguments come from the prompt."""
    answer = ask(shared_server, chat("What is the weather in San Francisco, CA?", tools=[CONVERT, WEATHER]))
    assert calls_of(answer) == [("get_weather", {"location": "San Francisco, CA"})]
    assert answer.json["choices"][0]["finish_reason"] == "tool_calls"
    assert "content" not in answer.message
    assert answer.message["tool_calls"][0].keys() == {"id", "type", "function"}
    assert len(answer.message["tool_calls"][0]["id"]) == 9


@pytest.mark.parametrize("fields", [{"tools": [WEATHER]}, {"tools": [WEATHER], "tool_choice": "none"}])
def test_no_tool_is_called_without_need(shared_server, fields):
    """Nothing asked for, or calls forbidden: plain text."""
    question = "What is the weather?" if "tool_choice" in fields else "Hello"
    assert calls_of(ask(shared_server, chat(question, **fields))) == []


def test_a_demanded_call_comes_in_any_case(shared_server):
    """``required`` calls the best fitting tool, a named choice calls that one."""
    tools = [WEATHER, MAGIC]
    for model in MODELS:
        called = calls_of(ask(shared_server, chat("Hello", tools=tools, tool_choice="required", model=model)))
        assert [name for name, _ in called] == ["get_weather"]
    question = "What is the value of magic_function(3)? Use the tool."
    assert calls_of(ask(shared_server, chat(question, tools=tools, tool_choice="required"))) == [
        ("magic_function", {"input": 3})
    ]
    named = {"type": "function", "function": {"name": "magic_function"}}
    assert calls_of(ask(shared_server, chat("Weather", tools=tools, tool_choice=named)))[0][0] == "magic_function"


@pytest.mark.parametrize(
    ("name", "question", "called"),
    [
        ("get_weather", "Weather in Paris?", True),
        ("getWeatherReport", "a report of the weather", True),
        ("getWeatherReport", "the weather", False),
        ("convert_currency", "I converted currencies and want to convert currency", True),
        ("add", "my address", False),
        ("add", "add 1", True),
        ("get_it", "get it", False),
        ("get_it", "please use get_it now", True),
    ],
)
def test_auto_goes_by_the_words_of_the_name(shared_server, name, question, called):
    """All words that say something, or the name itself; a short word must stand alone."""
    assert bool(calls_of(ask(shared_server, chat(question, tools=[function(name)])))) is called


def test_the_reasoning_names_the_tools(shared_server):
    """So a reader of a failing test sees why."""
    assert "call get_weather" in ask(shared_server, chat("weather", tools=[WEATHER])).message["reasoning"]
    assert "call" not in ask(shared_server, chat("hello", tools=[WEATHER])).message["reasoning"]


def test_the_result_of_a_call_ends_the_matter(shared_server):
    """With the result at hand the model speaks, and quotes it."""
    messages = after_calls("What is the weather in Paris?", "get_weather")
    answer = ask(shared_server, chat(messages, tools=[WEATHER]))
    assert calls_of(answer) == []
    assert "result of get_weather" in answer.message["content"]


def test_two_tools_go_in_parallel_only_where_the_model_can(shared_server):
    """gpt-oss calls one after the other, the others both at once unless it is forbidden."""
    question, tools = "Get the weather in Paris and convert 5 of currency", [WEATHER, CONVERT]
    both = [("get_weather", {"location": "Paris"}), ("convert_currency", {"amount": 5})]
    assert calls_of(ask(shared_server, chat(question, tools=tools))) == both[:1]
    then = chat(after_calls(question, "get_weather"), tools=tools)
    assert calls_of(ask(shared_server, then)) == both[1:]
    assert calls_of(ask(shared_server, chat(question, tools=tools, model="gemma-4-31b"))) == both
    forbidden = chat(question, tools=tools, model="gemma-4-31b", parallel_tool_calls=False)
    assert calls_of(ask(shared_server, forbidden)) == both[:1]


def test_required_moves_on_to_the_tool_that_was_not_called(shared_server):
    """So an agent that must always call something comes to its last tool."""
    report = function("Report", {"text": {"type": "string"}})
    messages = after_calls("What is the weather in Paris?", "get_weather")
    answer = ask(shared_server, chat(messages, tools=[WEATHER, report], tool_choice="required"))
    assert calls_of(answer)[0][0] == "Report"


def test_call_ids_are_new_in_every_turn(shared_server):
    """The same call in a later turn has another id, since doubled ids are refused."""
    first = ask(shared_server, chat("weather", tools=[WEATHER])).message["tool_calls"][0]["id"]
    longer = [*after_calls("weather", "get_weather"), {"role": "user", "content": "weather"}]
    assert ask(shared_server, chat(longer, tools=[WEATHER])).message["tool_calls"][0]["id"] != first
