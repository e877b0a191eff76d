"""The loopback Cerebras refuses the same requests as the service, with the same messages."""

from __future__ import annotations

import base64

import pytest

from langchain_cerebras_demo.testing import LoopbackCerebras, LoopbackModel
from tests.testing.wire_client import ask, chat, function

ADD = function("add", {"a": {"type": "integer"}})
PNG = "data:image/png;base64," + base64.b64encode(b"not really").decode()


def call(call_id="c1", name="add", arguments="{}"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls, **more):
    return {"role": "assistant", "tool_calls": list(calls), **more}


def result(call_id="c1", **more):
    return {"role": "tool", "tool_call_id": call_id, "content": "2", **more}


def user(content="hi"):
    return {"role": "user", "content": content}


def image(url=PNG, **more):
    return [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url, **more}}]


def strict(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def closed(**properties):
    return {"type": "object", "properties": properties, "additionalProperties": False}


VALIDATION = [
    ({"foo": 1}, "body.foo: property 'body.foo' is unsupported"),
    ({"store": True}, "body.store: property 'body.store' is unsupported"),
    ({"temperature": 2.1}, "body.temperature: "),
    ({"temperature": "1"}, "body.temperature: "),
    ({"temperature": True}, "body.temperature: "),
    ({"top_p": -0.1}, "body.top_p: "),
    ({"top_p": 1.1}, "body.top_p: "),
    ({"frequency_penalty": 2.1}, "body.frequency_penalty: "),
    ({"frequency_penalty": -2.1}, "body.frequency_penalty: "),
    ({"presence_penalty": 2.1}, "body.presence_penalty: "),
    ({"presence_penalty": -2.1}, "body.presence_penalty: "),
    ({"logit_bias": {"5": 101}}, "body.logit_bias.5: "),
    ({"logit_bias": {"5": -101}}, "body.logit_bias.5: "),
    ({"logit_bias": []}, "body.logit_bias: "),
    ({"max_completion_tokens": -2}, "body.max_completion_tokens: "),
    ({"max_tokens": 1.5}, "body.max_tokens: "),
    ({"min_tokens": -2}, "body.min_tokens: "),
    ({"n": 0}, "body.n: "),
    ({"seed": "x"}, "body.seed: "),
    ({"stop": []}, "body.stop: "),
    ({"stop": ["a"] * 5}, "body.stop: "),
    ({"stop": ""}, "body.stop: "),
    ({"stop": [1]}, "body.stop.0: "),
    ({"stop": 1}, "body.stop: "),
    ({"stream": "yes"}, "body.stream: "),
    ({"stream_options": {"chunk": 1}}, "stream_options.chunk: property 'stream_options.chunk' is unsupported"),
    ({"logprobs": 1}, "body.logprobs: "),
    ({"top_logprobs": 21, "logprobs": True}, "body.top_logprobs: "),
    ({"tools": []}, "tools: List should have at least 1 item"),
    ({"tools": ["add"]}, "tools.0: Input should be a valid object"),
    (
        {"tools": [{"type": "function", "function": {"name": 1}}]},
        "tools.0.function.name: Input should be a valid string",
    ),
    ({"tools": [function("")]}, "tools.0.function.name: "),
    ({"tools": [{**ADD, "extra": 1}]}, "tools.0.extra: property 'tools.0.extra' is unsupported"),
    ({"tools": [function("add", extras=1)]}, "tools.0.function.extras: "),
    ({"tools": [function("no spaces")]}, "tools.0.function.name: "),
    ({"tools": [function("x" * 65)]}, "tools.0.function.name: "),
    ({"tools": [{"type": "function"}]}, "tools.0.function: property 'tools.0.function' is missing"),
    ({"tools": [ADD], "tool_choice": "any"}, "tool_choice: "),
    ({"tools": [ADD], "tool_choice": {"type": "function"}}, "tool_choice.function: "),
    ({"parallel_tool_calls": "no"}, "body.parallel_tool_calls: "),
    ({"response_format": {"type": "xml"}}, "response_format.type: "),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema: "),
    ({"response_format": {"type": "text", "x": 1}}, "response_format.x: "),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}}, "response_format.json_schema.name"),
    ({"reasoning_effort": "extreme"}, "body.reasoning_effort: "),
    ({"reasoning_format": None}, "body.reasoning_format: "),
    ({"reasoning_format": "pretty"}, "body.reasoning_format: "),
    ({"prediction": {"type": "content"}}, "prediction.content: "),
    ({"prompt_cache_key": "x" * 1025}, "body.prompt_cache_key: "),
    ({"service_tier": "fast"}, "body.service_tier: "),
    ({"user": 1}, "body.user: "),
    ({"messages": []}, "messages: "),
    ({"messages": "hi"}, "messages: "),
    ({"messages": [{"role": "human", "content": "hi"}]}, "messages.0.role: "),
    ({"messages": [{"role": ["user"], "content": "hi"}]}, "messages.0.role: "),
    ({"messages": [{"role": "user"}]}, "messages.0.user.content: "),
    ({"messages": [user(None)]}, "messages.0.user.content: "),
    (
        {"messages": [user([{"type": "text", "text": "x", "cache_control": 1}])]},
        "messages.0.user.content.0.cache_control: ",
    ),
    ({"messages": [user([{"type": "tool_use"}])]}, "messages.0.user.content.0.type: "),
    ({"messages": [user(["words"])]}, "messages.0.user.content.0.type: "),
    (
        {"messages": [user(), {"role": "assistant", "content": "x", "reasoning_content": "y"}, user()]},
        "messages.1.assistant.reasoning_content: property 'messages.1.assistant.reasoning_content' is unsupported",
    ),
    ({"messages": [user(), {"role": "assistant", "content": image()}]}, "messages.1.assistant.content.1.type: "),
    ({"messages": [user(), calling(call(arguments={}))]}, "messages.1.assistant.tool_calls.0.function.arguments: "),
    ({"messages": [user(), calling(call(""))]}, "messages.1.assistant.tool_calls.0.id: "),
    ({"messages": [user(), calling()]}, "messages.1.assistant.tool_calls: "),
    ({"messages": [user(), calling(call()), result(status="ok")]}, "messages.2.tool.status: "),
    ({"messages": [user(), calling(call()), result(content=None)]}, "messages.2.tool.content: "),
    ({"model": None}, "body.model: "),
]

MEANING = [
    ({"tool_choice": "auto"}, "tool_choice", "only allowed when 'tools'"),
    ({"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "sub"}}}, "tool_choice", "'sub'"),
    ({"tools": [ADD, ADD]}, "tools", "two tools have the same name"),
    ({"tools": [function("add", {"a": {"type": "string"}}, strict=True)]}, "tools", "additionalProperties"),
    ({"messages": [user(), result()]}, "messages", "'c1' answers no tool call"),
    ({"messages": [user(), calling(call()), user()]}, "messages", "without a tool message directly behind: ['c1']"),
    ({"messages": [user(), calling(call())]}, "messages", "['c1']"),
    ({"messages": [user(), calling(call()), result("c2")]}, "messages", "'c2' answers no tool call"),
    ({"messages": [user(), calling(call()), result(), result()]}, "messages", "'c1' answers no tool call"),
    ({"messages": [user(), calling(call(), call()), result()]}, "messages", "duplicate id 'c1'"),
    ({"messages": [user(), calling(call()), result(), calling(call()), result()]}, "messages", "duplicate id 'c1'"),
    ({"messages": [user(), calling(call(), call("c2")), result(), user(), result("c2")]}, "messages", "['c2']"),
    ({"reasoning_effort": "none"}, "reasoning_effort", "gpt-oss-120b"),
    ({"disable_reasoning": True}, "disable_reasoning", "gpt-oss-120b"),
    ({"model": "gemma-4-31b", "reasoning_format": "hidden"}, "reasoning_format", "gemma-4-31b"),
    ({"model": "qwen-3.8-27b", "reasoning_format": "hidden"}, "reasoning_format", "qwen-3.8-27b"),
    ({"reasoning_format": "raw", "response_format": {"type": "json_object"}}, "reasoning_format", "json_object"),
    ({"top_logprobs": 2}, "top_logprobs", "needs 'logprobs'"),
    ({"model_parameters": {"a": 1}}, "model_parameters", "declares no"),
    ({"model": "qwen-3.8-27b", "prediction": {"type": "content", "content": "x"}}, "prediction", "qwen-3.8-27b"),
    ({"n": 2, "prediction": {"type": "content", "content": "x"}}, "prediction", "n > 1"),
    ({"messages": [user(image())]}, "messages", "does not support image"),
    ({"model": "qwen-3.8-27b", "messages": [user(image("https://x.example/a.png"))]}, "messages", "base64 data URI"),
    ({"model": "qwen-3.8-27b", "messages": [user(image("data:image/gif;base64,AA=="))]}, "messages", "image/png"),
    ({"model": "qwen-3.8-27b", "messages": [user(image("data:image/png;base64,%%%"))]}, "messages", "not base64"),
    ({"model": "qwen-3.8-27b", "messages": [{"role": "system", "content": image()}]}, "messages", "user messages"),
    ({"response_format": strict({"type": "array"})}, "response_format", "root"),
    ({"response_format": strict({"type": "object", "properties": {}})}, "response_format", "additionalProperties"),
]

ACCEPTED = [
    {"temperature": 2, "top_p": 0, "frequency_penalty": -2, "presence_penalty": 2, "logit_bias": {"1": -100}},
    {"max_completion_tokens": -1, "min_completion_tokens": 3, "n": 2, "seed": 7, "stop": ["a", "b", "c", "d"]},
    {"stream_options": {"include_usage": True}, "logprobs": True, "top_logprobs": 0, "user": "me"},
    {"temperature": None, "stop": None, "tools": None, "tool_choice": None, "response_format": None, "n": None},
    {"service_tier": "flex", "prompt_cache_key": "x" * 1024, "clear_thinking": False, "parallel_tool_calls": False},
    {"prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]}, "disable_reasoning": False},
    {"model": "zai-glm-4.7", "disable_reasoning": True, "reasoning_effort": "none"},
    {"tools": [function("A-z_9", {"a": {"type": "string"}}, description=None, strict=False)], "tool_choice": "none"},
    {"messages": [{"role": "system", "content": "s"}, {"role": "developer", "content": "d"}, user(), user()]},
    {"messages": [user(), calling(call(), call("c2")), result("c2"), result(), user()], "tools": [ADD]},
    {"messages": [user(), calling(call(), reasoning="why", content=None), result()]},
    {"messages": [user(), {"role": "assistant", "content": [{"type": "text", "text": "x"}], "name": "me"}, user()]},
    {"model": "qwen-3.8-27b", "messages": [user(image(detail="low"))]},
    {"model": "qwen-3.8-27b", "messages": [user([{"type": "image", "image": PNG}])]},
    {"response_format": strict(closed(a={"type": "integer", "minimum": 1}))},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
]


@pytest.mark.parametrize(("fields", "message"), VALIDATION, ids=[message[:60] for _, message in VALIDATION])
def test_a_wrong_shape_is_refused_by_name(shared_server, fields, message):
    """A wrong key, type, range or word is a flat 400 that starts with the path to it."""
    answer = ask(shared_server, chat() | fields)
    assert answer.status == 400
    assert answer.json["message"].startswith(message)
    assert "\n" not in answer.json["message"], "one problem, one line"
    assert (answer.json["type"], answer.json["param"], answer.json["code"]) == (
        "invalid_request_error",
        "validation_error",
        "wrong_api_format",
    )


@pytest.mark.parametrize(("fields", "param", "words"), MEANING, ids=[f"{p} {w}" for _, p, w in MEANING])
def test_a_wrong_meaning_is_refused_with_its_parameter(shared_server, fields, param, words):
    """What is well-formed and still impossible is a flat 400 whose ``param`` names the field."""
    answer = ask(shared_server, chat() | fields)
    assert answer.status == 400
    assert answer.json.keys() == {"message", "type", "param", "code"}
    assert answer.json["param"] == param
    assert words in answer.json["message"]


@pytest.mark.parametrize("fields", ACCEPTED, ids=lambda fields: " ".join(fields)[:60])
def test_the_whole_documented_range_is_accepted(shared_server, fields):
    """Limits are inclusive, ``null`` means absent, and each documented form is accepted."""
    answer = ask(shared_server, chat() | fields)
    assert answer.status == 200, answer.body


def test_each_problem_has_its_own_line(shared_server):
    """Several problems are told at once, one a line, as recorded."""
    answer = ask(shared_server, chat(temperature=3, foo=1, bar=2))
    assert [line.partition(":")[0] for line in answer.json["message"].split("\n")] == [
        "body.temperature",
        "body.foo",
        "body.bar",
    ]


@pytest.mark.parametrize("data", [b"{", b"\xff", b'"text"', b"[]", b'{"model": NaN}'])
def test_a_body_that_is_no_json_object_is_refused(shared_server, data):
    """What cannot be read is a 400 of the same shape."""
    answer = ask(shared_server, data=data)
    assert answer.status == 400
    assert answer.json["code"] == "wrong_api_format"


def test_another_content_type_is_refused_with_the_remedy(shared_server):
    """The service speaks msgpack as well, the loopback does not and says so."""
    answer = ask(shared_server, data=b"\x80", headers={"content-type": "application/vnd.msgpack"})
    assert answer.status == 400
    assert "application/json" in answer.json["message"]


def test_an_unknown_model_is_not_found(shared_server):
    """Retired and unknown ids get a flat 404."""
    answer = ask(shared_server, chat(model="llama3.1-8b"))
    assert answer.status == 404
    assert answer.json == {
        "message": "Model llama3.1-8b does not exist or you do not have access to it.",
        "type": "not_found_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_too_many_images_are_too_large(shared_server):
    """Six images are a 413."""
    answer = ask(shared_server, chat([user(image() * 6)], model="qwen-3.8-27b"))
    assert (answer.status, answer.json["code"]) == (413, "content_too_large")


@pytest.mark.parametrize(
    ("fields", "length"), [({}, 28), ({"max_completion_tokens": 10}, 38), ({"max_tokens": 10}, 38)]
)
def test_a_prompt_beyond_the_window_is_refused_with_both_numbers(fields, length):
    """Prompt and wanted answer together must fit the context window; a window of that very length is enough."""
    with LoopbackCerebras(models=[LoopbackModel("tight", length - 1), LoopbackModel("wide", length)]) as server:
        body = chat("one two three four five six seven eight " * 3, **fields)
        assert ask(server, body | {"model": "wide"}).status == 200
        answer = ask(server, body | {"model": "tight"})
        assert answer.status == 400
        assert answer.json["code"] == "context_length_exceeded"
        assert answer.json["message"] == (
            "Please reduce the length of the messages or completion."
            f" Current length is {length} while limit is {length - 1}"
        )
