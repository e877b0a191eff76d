"""Scripted steps are used in order, and answers have the given content."""

from __future__ import annotations

import json

import pytest

from langchain_cerebras_demo.testing import (
    REQUESTS_EXCEEDED,
    TOKENS_EXCEEDED,
    ErrorEvent,
    HtmlPage,
    Redirect,
    Reply,
    ScriptedCall,
    Status,
)
from langchain_cerebras_demo.testing.scenarios import STEPS
from tests.testing.wire_client import ask, chat

STREAM = chat(stream=True)


def test_steps_are_used_one_a_request_in_order(server):
    """When the script is used up, the rules answer again."""
    server.script(Reply("one"), Status(503))
    server.script(Reply("two"))
    assert server.unused_steps == 3
    assert ask(server, chat()).message["content"] == "one"
    assert ask(server, chat()).status == 503
    assert ask(server, STREAM).chunks[1]["choices"][0]["delta"] == {"content": "two"}
    assert "You said" in ask(server, chat()).message["content"]
    assert server.unused_steps == 0


def test_a_refused_request_takes_no_step(server):
    """The service would not get as far as answering."""
    server.script(Reply("kept"))
    assert ask(server, chat(foo=1)).status == 400
    assert ask(server, chat(), key="wrong").status == 401
    assert ask(server, chat()).message["content"] == "kept"


def test_what_is_no_step_is_refused_at_once(server):
    """A script's mistake shows where it is written."""
    with pytest.raises(TypeError, match="'hello' is not a step; use one of Reply"):
        server.script("hello")
    with pytest.raises(TypeError, match="a Reply answers chat requests only"):
        server.script_session(Reply("x"))
    with pytest.raises(TypeError, match="is not a step"):
        server.script(Reply)


def test_every_step_is_a_frozen_dataclass_with_a_docstring():
    """Steps can be shared between tests, compared and printed."""
    for kind in STEPS:
        assert kind.__dataclass_params__.frozen
        assert len(kind.__doc__) > 40
        assert not kind.__doc__.startswith(f"{kind.__name__}(")


def test_a_reply_is_given_word_for_word(server):
    """Text, reasoning, calls, finish reason, usage and headers are those of the script, in both forms."""
    reply = Reply(
        text="Hi.",
        reasoning="Easy.",
        tool_calls=[ScriptedCall("add", {"a": 1}, id="c1"), ScriptedCall("sub", "{not json")],
        finish_reason="content_filter",
        usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        headers={"X-RateLimit-Remaining-Tokens-Minute": "0", "x-more": "1"},
    )
    server.script(reply, reply)
    answer = ask(server, chat(stop=["H"], max_completion_tokens=1))
    calls = answer.message.pop("tool_calls")
    assert answer.message == {"role": "assistant", "content": "Hi.", "reasoning": "Easy."}
    assert calls[0] == {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    assert calls[1]["function"] == {"name": "sub", "arguments": "{not json"}
    assert answer.json["choices"][0]["finish_reason"] == "content_filter"
    assert answer.json["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert answer.headers["x-ratelimit-remaining-tokens-minute"] == "0"
    assert answer.headers["x-more"] == "1"
    last = ask(server, STREAM).chunks[-1]
    assert last["choices"] == [{"delta": {}, "finish_reason": "content_filter", "index": 0}]
    assert last["usage"]["total_tokens"] == 3


def test_a_reply_without_text_has_no_content_key(server):
    """As the service does on a pure tool call."""
    server.script(Reply(tool_calls=[ScriptedCall("add")]), Reply(text=""))
    answer = ask(server, chat())
    assert answer.message.keys() == {"role", "tool_calls"}
    assert answer.message["tool_calls"][0]["function"]["arguments"] == "{}"
    assert answer.json["choices"][0]["finish_reason"] == "tool_calls"
    assert ask(server, chat()).message["content"] == ""


def test_explicit_deltas_are_streamed_as_they_are(server):
    """And where the request is not streamed, what they add up to is the message."""
    deltas = (
        {"role": "assistant", "content": ""},
        {"reasoning": "a"},
        {"content": "b", "reasoning": "c"},
        {"tool_calls": [{"index": 1, "id": "c1", "function": {"name": "add", "arguments": "{"}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "}"}}]},
        {"content": None},
    )
    server.script(Reply(deltas=deltas), Reply(deltas=deltas))
    chunks = ask(server, STREAM).chunks
    assert tuple(chunk["choices"][0]["delta"] for chunk in chunks) == (*deltas, {})
    answer = ask(server, chat())
    assert (answer.message["content"], answer.message["reasoning"]) == ("b", "ac")
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    assert answer.message["tool_calls"] == [call]
    assert answer.json["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429])
def test_a_client_error_is_flat(server, status):
    """Each 4xx has the recorded flat shape."""
    server.script(Status(status, headers={"retry-after": "2"}))
    answer = ask(server, chat())
    assert answer.status == status
    assert answer.json.keys() == {"message", "type", "param", "code"}
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["content-type"] == "application/json"
    assert "x-ratelimit-limit-tokens-minute" not in answer.headers


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_error_is_enveloped(server, status):
    """Each 5xx has the recorded envelope."""
    server.script(Status(status))
    answer = ask(server, chat())
    assert answer.json["status_code"] == answer.status == status
    assert answer.json["error"].keys() == {"message", "type", "param", "code", "id"}


def test_an_error_can_have_any_body(server):
    """Documented quota bodies stand ready; any other mapping goes too."""
    server.script(Status(429), Status(429, TOKENS_EXCEEDED), Status(500, {}))
    assert [ask(server, chat()).json for _ in range(3)] == [REQUESTS_EXCEEDED, TOKENS_EXCEEDED, {}]


def test_a_web_page_and_a_redirect(server):
    """What proxies and portals put in front of a service."""
    server.script(HtmlPage(), HtmlPage(503, title="Sorry"), Redirect("https://other.example/x", status=307))
    page = ask(server, chat())
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=UTF-8")
    assert page.body.startswith(b"<!DOCTYPE html>")
    assert b"Sorry" in ask(server, chat()).body
    away = ask(server, chat())
    assert (away.status, away.headers["location"], away.body) == (307, "https://other.example/x", b"")


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("shape", ["flat", "enveloped", "named"])
def test_an_error_event_comes_after_some_events(server, shape, after):
    """In its three shapes; the stream then ends without [DONE]."""
    server.script(ErrorEvent(after=after, shape=shape, status=503))
    events = ask(server, STREAM).events
    assert len(events) == after + 1
    assert all("choices" in json.loads(event) for event in events[:-1])
    name, _, data = events[-1].rpartition(b"data: ")
    assert name == (b"event: error\n" if shape == "named" else b"")
    error = json.loads(data)
    if shape == "flat":
        assert error.keys() == {"message", "type", "param", "code"}
    else:
        assert (error["status_code"], bool(error["error"]["message"])) == (503, True)


def test_an_error_can_be_a_whole_answer_with_status_200(server):
    """The SDK's types know that form; its body may be given."""
    server.script(ErrorEvent(), ErrorEvent(body={"error": "plain"}, reply=Reply("x")))
    answer = ask(server, chat())
    assert (answer.status, answer.json["status_code"]) == (200, 500)
    assert ask(server, chat()).json == {"error": "plain"}
