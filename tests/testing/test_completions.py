"""An answer has the same content streamed and whole."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.wire_client import CONVERT, WEATHER, ask, chat

MODELS = ("gpt-oss-120b", "qwen-3.8-27b", "gemma-4-31b", "zai-glm-4.7")


SCHEMA = {
    "type": "object",
    "properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}},
    "required": ["setup", "punchline"],
    "additionalProperties": False,
}


def json_schema(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


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
    assert usage["prompt_tokens"] == 69, "as recorded of a two-word message: gpt-oss has a hidden preamble"
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    details = usage["completion_tokens_details"]
    assert details["accepted_prediction_tokens"] == details["rejected_prediction_tokens"] == 0
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
).filter(lambda fields: "tools" not in fields or fields.get("response_format", {}).get("type", "text") == "text")


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


def test_log_probabilities_cover_every_token(shared_server):
    """Content and reasoning apart, their tokens put together are the text."""
    choice = ask(shared_server, chat(logprobs=True, top_logprobs=2)).json["choices"][0]
    for key, part in (("logprobs", "content"), ("reasoning_logprobs", "reasoning")):
        rows = choice[key]["content"]
        assert "".join(row["token"] for row in rows) == choice["message"][part]
        assert all(len(row["top_logprobs"]) == 2 and row["logprob"] < 0 for row in rows)


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
