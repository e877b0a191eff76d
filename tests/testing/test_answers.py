"""The rule-based answers: derived from the request alone, alike in both forms, within the request's limits."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_cerebras_demo.testing import LoopbackCerebras, LoopbackModel
from tests.testing.wire_client import ask, chat, function

MODELS = ("gpt-oss-120b", "qwen-3.8-27b", "gemma-4-31b", "zai-glm-4.7")
WEATHER = function("get_weather", {"location": {"type": "string"}})
CONVERT = function("convert_currency", {"amount": {"type": "integer"}})
MAGIC = function("magic_function", {"input": {"type": "integer"}})
SCHEMA = {
    "type": "object",
    "properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}},
    "required": ["setup", "punchline"],
    "additionalProperties": False,
}


def json_schema(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def after_calls(question, *names):
    """The conversation in which these tools were called, one turn each."""
    messages = [{"role": "user", "content": question}]
    for number, name in enumerate(names):
        call = {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        messages.append({"role": "assistant", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": f"result of {name}"})
    return messages


def put_together(chunks):
    """What a client makes of a stream: a message a choice, finish reasons, usage."""
    choices = {}
    for chunk in chunks:
        for row in chunk["choices"]:
            choice = choices.setdefault(row["index"], {"message": {}, "calls": {}, "logprobs": []})
            delta = row["delta"]
            for key in ("role", "content", "reasoning"):
                if key in delta:
                    choice["message"][key] = choice["message"].get(key, "") + delta[key]
            for part in delta.get("tool_calls", ()):
                call = choice["calls"].setdefault(
                    part["index"], {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
                )
                call["id"] += part.get("id", "")
                call["function"]["name"] += part["function"].get("name", "")
                call["function"]["arguments"] += part["function"]["arguments"]
            choice["logprobs"] += (row.get("logprobs") or {}).get("content", [])
            choice["finish_reason"] = row.get("finish_reason")
    return choices, chunks[-1]["usage"]


def test_plain_text_quotes_the_last_user_message(shared_server):
    """The answer is about what was said last."""
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


def test_a_whole_answer_has_the_recorded_form(shared_server):
    """Keys, ids, usage and timing stand where the recordings have them."""
    answer = ask(shared_server, chat())
    body = answer.json
    assert list(body) == ["id", "choices", "created", "model", "system_fingerprint", "object", "usage", "time_info"]
    assert body["id"].startswith("chatcmpl-")
    assert answer.headers["inference-id"] == body["id"]
    assert (body["object"], body["model"]) == ("chat.completion", "gpt-oss-120b")
    assert body["choices"][0].keys() == {"finish_reason", "index", "message"}
    assert body["choices"][0]["message"].keys() == {"role", "content", "reasoning"}
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert body["time_info"].keys() == {"created", "queue_time", "prompt_time", "completion_time", "total_time"}


def test_a_stream_has_the_recorded_form(shared_server):
    """Role alone, reasoning, content, then an empty delta with the finish reason, usage and timing, then [DONE]."""
    answer = ask(shared_server, chat(stream=True))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.events[-1] == b"[DONE]"
    frames = {(c["id"], c["created"], c["model"], c["system_fingerprint"], c["object"]) for c in answer.chunks}
    assert len(frames) == 1
    assert answer.headers["inference-id"] == answer.chunks[0]["id"]
    deltas = [chunk["choices"][0]["delta"] for chunk in answer.chunks]
    assert deltas[0] == {"role": "assistant"}
    assert deltas[-1] == {}
    kinds = [next(iter(delta)) for delta in deltas[1:-1]]
    assert kinds == sorted(kinds, reverse=True), "all reasoning before all content"
    assert set(kinds) == {"reasoning", "content"}
    assert any(" " in delta["content"].strip() for delta in deltas if "content" in delta), "several tokens a chunk"
    assert ["finish_reason" in chunk["choices"][0] for chunk in answer.chunks] == [False] * (len(deltas) - 1) + [True]
    assert ["usage" in chunk for chunk in answer.chunks] == [False] * (len(deltas) - 1) + [True]
    assert answer.chunks[-1]["time_info"]["total_time"] > 0


REQUESTS = st.fixed_dictionaries(
    {
        "model": st.sampled_from(MODELS),
        "content": st.text(max_size=120) | st.just("weather in Paris, convert 5 currency"),
    },
    optional={
        "max_completion_tokens": st.integers(-1, 60),
        "stop": st.lists(st.text(min_size=1, max_size=2), min_size=1, max_size=4),
        "n": st.integers(1, 3),
        "reasoning_effort": st.sampled_from(("low", "medium", "high")),
        "reasoning_format": st.sampled_from(("none", "parsed", "text_parsed")),
        "tools": st.just([WEATHER, CONVERT]),
        "response_format": st.sampled_from((json_schema(SCHEMA), {"type": "json_object"}, {"type": "text"})),
        "logprobs": st.just(True),
    },
)


@given(REQUESTS)
def test_streamed_or_not_the_answer_is_the_same(shared_server, fields):
    """Text, reasoning, calls, finish reasons, log probabilities and usage do not depend on ``stream``."""
    body = chat(fields.pop("content"), **fields)
    whole = ask(shared_server, body)
    streamed = ask(shared_server, body | {"stream": True})
    assert (whole.status, streamed.status) == (200, 200), whole.body
    choices, usage = put_together(streamed.chunks)
    assert usage == whole.json["usage"]
    assert len(choices) == body.get("n", 1)
    for row in whole.json["choices"]:
        choice = choices[row["index"]]
        message = {**row["message"]}
        assert list(choice["calls"].values()) == message.pop("tool_calls", [])
        if message.get("content") == "":
            del message["content"]  # an empty content has no delta
        assert choice["message"] == message
        assert choice["finish_reason"] == row["finish_reason"]
        assert choice["logprobs"] == (row.get("logprobs") or {}).get("content", [])


@given(REQUESTS)
def test_the_same_request_gets_the_same_answer(shared_server, fields):
    """Nothing is left to chance: what temperature 0 promises holds for all."""
    body = chat(fields.pop("content"), **fields)
    assert ask(shared_server, body).json["choices"] == ask(shared_server, body).json["choices"]


@pytest.mark.parametrize("stream", [False, True])
def test_choices_differ_from_each_other(shared_server, stream):
    """``n`` choices come, each with its index; in a stream they come by turns and usage comes once."""
    answer = ask(shared_server, chat(n=3, stream=stream))
    if not stream:
        assert len({row["message"]["content"] for row in answer.json["choices"]}) == 3
        return
    choices, _ = put_together(answer.chunks)
    assert len({choice["message"]["content"] for choice in choices.values()}) == 3
    assert [chunk["choices"][0]["index"] for chunk in answer.chunks[:4]] == [0, 1, 2, 0]
    assert sum("usage" in chunk for chunk in answer.chunks) == 1


# -- reasoning


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


# -- limits


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


def test_log_probabilities_cover_every_token(shared_server):
    """Content and reasoning apart, their tokens put together are the text."""
    choice = ask(shared_server, chat(logprobs=True, top_logprobs=2)).json["choices"][0]
    for key, part in (("logprobs", "content"), ("reasoning_logprobs", "reasoning")):
        rows = choice[key]["content"]
        assert "".join(row["token"] for row in rows) == choice["message"][part]
        assert all(len(row["top_logprobs"]) == 2 and row["logprob"] < 0 for row in rows)


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


# -- tools


def calls_of(answer):
    calls = answer.message.get("tool_calls", [])
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


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
    assert calls_of(ask(shared_server, chat("Hello", tools=tools, tool_choice="required")))[0][0] == "get_weather"
    question = "What is the value of magic_function(3)? Use the tool."
    assert calls_of(ask(shared_server, chat(question, tools=tools, tool_choice="required"))) == [
        ("magic_function", {"input": 3})
    ]
    named = {"type": "function", "function": {"name": "magic_function"}}
    assert calls_of(ask(shared_server, chat("Weather", tools=tools, tool_choice=named)))[0][0] == "magic_function"


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


def test_calls_are_streamed_as_the_model_does(shared_server):
    """gpt-oss sends name and id first and the arguments in pieces, zai-glm the whole call in one delta."""
    body = chat("weather in San Francisco, CA", tools=[WEATHER], stream=True)
    deltas = [c["choices"][0]["delta"] for c in ask(shared_server, body).chunks]
    parts = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert parts[0].keys() == {"index", "id", "type", "function"}
    assert parts[0]["function"] == {"name": "get_weather", "arguments": ""}
    assert len(parts) > 2
    assert all(part.keys() == {"index", "type", "function"} for part in parts[1:])
    assert all(part["function"].keys() == {"arguments"} for part in parts[1:])
    deltas = [c["choices"][0]["delta"] for c in ask(shared_server, body | {"model": "zai-glm-4.7"}).chunks]
    whole = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert len(whole) == 1
    assert json.loads(whole[0]["function"]["arguments"]) == {"location": "San Francisco, CA"}


# -- JSON


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


def test_a_tool_goes_before_the_json(shared_server):
    """With tools and a schema in one request the model calls first and answers in JSON when it has the result."""
    fields = {"tools": [WEATHER], "response_format": json_schema(SCHEMA)}
    assert calls_of(ask(shared_server, chat("weather in Paris?", **fields)))
    messages = after_calls("weather in Paris?", "get_weather")
    assert json.loads(ask(shared_server, chat(messages, **fields)).message["content"]).keys() == {"setup", "punchline"}
