"""The rule-based answers depend only on the request, and keep its limits."""

from __future__ import annotations

import json

import pytest

from langchain_cerebras_demo.catalog import find_spec
from langchain_cerebras_demo.testing import LoopbackCerebras, LoopbackModel
from langchain_cerebras_demo.testing.models import MODELS as LOOPBACK_MODELS
from tests.testing.wire_client import CONVERT, WEATHER, after_calls, ask, calls_of, chat, function

SCHEMA = {
    "type": "object",
    "properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}},
    "required": ["setup", "punchline"],
    "additionalProperties": False,
}


def json_schema(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def test_plain_text_quotes_the_last_user_message(shared_server):
    """The answer quotes the last message of the user."""
    messages = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "second"},
    ]
    text = ask(shared_server, chat(messages)).message["content"]
    assert "second" in text
    assert "first" not in text


def test_a_number_of_words_is_obeyed(shared_server):
    """A prompt can ask for an answer of any length, for tests of long streams."""
    text = ask(shared_server, chat("Write me a story in 700 words.")).message["content"]
    assert len(text.split()) == 700


@pytest.mark.parametrize(
    ("model", "fields", "reasons"),
    [
        ("gpt-oss-120b", {}, True),
        ("qwen-3.8-27b", {}, True),
        ("qwen-3.8-27b", {"reasoning_effort": "none"}, False),
        ("gemma-4-31b", {}, False),
        ("gemma-4-31b", {"reasoning_effort": "low"}, True),
        ("zai-glm-4.7", {"disable_reasoning": True}, False),
        ("zai-glm-4.7", {"reasoning_effort": "none"}, False),
    ],
)
def test_each_model_reasons_as_it_does(shared_server, model, fields, reasons):
    """Defaults and switches are those of the model."""
    answer = ask(shared_server, chat(model=model, **fields))
    assert ("reasoning" in answer.message) is reasons
    assert (answer.json["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0) is reasons


def test_more_effort_is_more_reasoning(shared_server):
    """low < medium < high, in tokens."""
    lengths = [
        len(ask(shared_server, chat(reasoning_effort=e)).message["reasoning"]) for e in ("low", "medium", "high")
    ]
    assert lengths == sorted(set(lengths))


def test_hidden_reasoning_is_paid_and_not_shown(shared_server):
    """``hidden`` drops the text and counts its tokens."""
    shown, hidden = (ask(shared_server, chat(reasoning_format=form)) for form in ("parsed", "hidden"))
    assert "reasoning" not in hidden.message
    assert hidden.json["usage"] == shown.json["usage"]


def test_raw_reasoning_stands_in_the_content(shared_server):
    """``raw`` puts it in front of the text, between think tags but for gpt-oss."""
    tagged = ask(shared_server, chat(model="qwen-3.8-27b", reasoning_format="raw")).message
    assert tagged["content"].startswith("<think>The user says")
    assert "</think>You said" in tagged["content"]
    assert "reasoning" not in tagged
    assert ask(shared_server, chat(reasoning_format="raw")).message["content"].startswith("The user says")


def test_a_stop_sequence_ends_the_text_before_it(shared_server):
    """The earliest one counts, and it is not part of the text."""
    answer = ask(shared_server, chat("alpha beta gamma", stop=["gamma", "beta"], reasoning_effort="low"))
    assert answer.message["content"] == 'You said: "alpha '
    assert answer.json["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("field", ["max_completion_tokens", "max_tokens"])
def test_a_token_limit_cuts_with_length(shared_server, field):
    """Exactly so many tokens come, reasoning included."""
    full = ask(shared_server, chat()).json["usage"]["completion_tokens"]
    answer = ask(shared_server, chat(**{field: full - 1}))
    assert answer.json["choices"][0]["finish_reason"] == "length"
    assert answer.json["usage"]["completion_tokens"] == full - 1
    assert ask(shared_server, chat(**{field: full})).json["choices"][0]["finish_reason"] == "stop"


def test_reasoning_can_eat_the_whole_budget(shared_server):
    """Then ``content`` is missing, as reported of the real service."""
    answer = ask(shared_server, chat(max_completion_tokens=5))
    assert answer.json["choices"][0]["finish_reason"] == "length"
    assert answer.message.keys() == {"role", "reasoning"}
    assert answer.json["usage"]["completion_tokens_details"]["reasoning_tokens"] == 5


@pytest.mark.parametrize(("spare", "ending"), [(-1, ""), (0, "</think>"), (1, "</think>You")])
def test_the_budget_may_end_where_the_reasoning_does(shared_server, spare, ending):
    """Raw reasoning that was cut has no closing tag; the first token behind it is content."""
    body = chat(model="qwen-3.8-27b", reasoning_format="raw")
    whole = ask(shared_server, body)
    thoughts = whole.json["usage"]["completion_tokens_details"]["reasoning_tokens"]
    answer = ask(shared_server, body | {"max_completion_tokens": thoughts + spare})
    assert answer.json["choices"][0]["finish_reason"] == "length"
    before = whole.message["content"].partition("</think>")[0]
    if ending:
        assert answer.message["content"] == before + ending
    else:
        assert before.startswith(answer.message["content"])


def test_a_budget_that_ends_with_the_reasoning_leaves_no_content_key(shared_server):
    """Not an empty string."""
    thoughts = ask(shared_server, chat()).json["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert ask(shared_server, chat(max_completion_tokens=thoughts)).message.keys() == {"role", "reasoning"}
    assert ask(shared_server, chat(max_completion_tokens=thoughts + 1)).message["content"] == "You"


def test_a_token_limit_can_cut_a_call_in_its_json(shared_server):
    """What is left of the arguments is not JSON, and the reason is ``length``."""
    fields = {"tools": [WEATHER], "tool_choice": "required", "model": "gemma-4-31b"}
    full = ask(shared_server, chat("weather in Paris", **fields))
    answer = ask(
        shared_server,
        chat("weather in Paris", **fields, max_completion_tokens=full.json["usage"]["completion_tokens"] - 1),
    )
    assert answer.json["choices"][0]["finish_reason"] == "length"
    with pytest.raises(ValueError):
        json.loads(answer.message["tool_calls"][0]["function"]["arguments"])


def test_a_model_has_a_longest_answer():
    """Without a limit in the request the model's own holds."""
    with LoopbackCerebras(models=[LoopbackModel("short", max_output_tokens=30)]) as server:
        answer = ask(server, chat("Write 500 words", model="short"))
        assert answer.json["usage"]["completion_tokens"] == 30


def test_cached_tokens_come_in_blocks(shared_server):
    """A long prompt has a cached prefix, in blocks of 128 tokens."""
    usage = ask(shared_server, chat("word " * 300)).json["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] // 128 * 128 > 128


def test_images_are_counted(shared_server):
    """Their tokens stand under the prompt's details."""
    content = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    usage = ask(shared_server, chat([{"role": "user", "content": content}], model="qwen-3.8-27b")).json["usage"]
    assert usage["prompt_tokens_details"]["image_tokens"] == 280 < usage["prompt_tokens"]


def test_a_schema_is_filled(shared_server):
    """json_schema answers hold what is required, from the prompt's words."""
    answer = ask(shared_server, chat("Tell me a joke about cats.", response_format=json_schema(SCHEMA)))
    found = json.loads(answer.message["content"])
    assert found.keys() == {"setup", "punchline"}
    assert "cats" in found["setup"]


def test_json_mode_takes_its_keys_from_the_prompt(shared_server):
    """json_object has no schema: the quoted names are the keys."""
    prompt = "Tell me a joke. Return a JSON with 'setup' and 'punchline' keys."
    answer = ask(shared_server, chat(prompt, response_format={"type": "json_object"}))
    assert json.loads(answer.message["content"]).keys() == {"setup", "punchline"}


def test_a_tool_goes_before_the_json():
    """A model that accepts tools and a schema together calls first and answers in JSON when it has the result."""
    fields = {"model": "our-endpoint", "tools": [WEATHER], "response_format": json_schema(SCHEMA)}
    messages = after_calls("weather in Paris?", "get_weather")
    with LoopbackCerebras(models=["our-endpoint"]) as server:
        assert calls_of(ask(server, chat("weather in Paris?", **fields)))
        assert json.loads(ask(server, chat(messages, **fields)).message["content"]).keys() == {"setup", "punchline"}


@pytest.mark.parametrize("form", [json_schema(SCHEMA), {"type": "json_object"}], ids=["schema", "json_object"])
def test_the_models_of_the_shared_endpoints_do_not_accept_tools_and_a_schema_together(shared_server, form):
    """The documentation asks for that; a response format of plain text is none."""
    refused = ask(shared_server, chat("weather in Paris?", tools=[WEATHER], response_format=form))
    assert (refused.status, refused.json["param"]) == (400, "response_format")
    assert ask(shared_server, chat("hello", tools=[WEATHER], response_format={"type": "text"})).status == 200


def test_what_a_model_accepts_together_follows_the_catalogue():
    """The loopback has its own table, and the two must not differ here."""
    loopback = {model.id: model.response_format_with_tools for model in LOOPBACK_MODELS}
    assert loopback == {name: find_spec(name).response_format_with_tools is True for name in loopback}


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
