"""The requests and answers of the child process: llama.cpp's server, configured to behave like Cerebras."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest

from langchain_cerebras_demo.local import LOCAL_HEADERS, LOCAL_MODEL, LocalServer, to_local

pytestmark = pytest.mark.xdist_group("embedded")


def ask(server, *, key=None, **body):
    """The open answer of one request over the standard library's client; close its connection when read."""
    url = urlsplit(server.base_url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
    headers = {**LOCAL_HEADERS, "Authorization": f"Bearer {server.api_key if key is None else key}"}
    connection.request("POST", f"{url.path}/chat/completions", json.dumps(to_local(body)), headers)
    answer = connection.getresponse()
    answer.connection = connection
    return answer


def ask_json(server, **body):
    answer = ask(server, **body)
    try:
        return answer.status, json.loads(answer.read())
    finally:
        answer.connection.close()


def user(text):
    return [{"role": "user", "content": text}]


def test_a_plain_answer_is_a_chat_completion_of_the_model(embedded):
    """It has text, usage and the model's own name, even if another name was requested."""
    status, answer = ask_json(embedded, model="gpt-oss-120b", messages=user("Say hi"), max_completion_tokens=5)
    assert status == 200
    assert answer["model"] == LOCAL_MODEL == embedded.model == "smollm2-135m"
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] == 5


def test_a_stream_ends_with_its_usage_and_done(embedded):
    """Without having been asked for the usage, as at Cerebras."""
    answer = ask(embedded, messages=user("Say hi"), max_completion_tokens=5, stream=True)
    lines = [line.strip() for line in answer if line.strip()]
    answer.connection.close()
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert lines[-1] == b"data: [DONE]"
    chunks = [json.loads(line.removeprefix(b"data: ")) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert chunks[-1]["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_forced_call_calls(embedded, choice):
    """The tool's name and arguments that parse, even after a turn of the assistant and with a format asked for."""
    numbers = {"a": {"type": "integer"}, "b": {"type": "integer"}}
    add = {"name": "add", "parameters": {"type": "object", "properties": numbers, "required": ["a", "b"]}}
    status, answer = ask_json(
        embedded,
        messages=[*user("What is 2 plus 3?"), {"role": "assistant", "content": "Well", "reasoning": "hm"}],
        tools=[{"type": "function", "function": add}],
        tool_choice=choice,
        response_format={"type": "json_object"},
        temperature=0,
    )
    assert status == 200
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "add"
    assert json.loads(call["function"]["arguments"]).keys() == {"a", "b"}


def test_a_round_trip_of_a_tool_is_understood(embedded):
    """Null content, calls and results pass the template."""
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        *user("Add 2"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "4"}]},
    ]
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
    status, _ = ask_json(embedded, messages=messages, tools=tools, max_completion_tokens=3)
    assert status == 200


def test_a_last_message_of_the_assistant_is_not_echoed(embedded):
    """llama.cpp would take it for the beginning of the answer."""
    messages = [*user("Count."), {"role": "assistant", "content": "Zwiebelfisch"}]
    _, answer = ask_json(embedded, messages=messages, max_completion_tokens=3, temperature=0)
    assert not answer["choices"][0]["message"]["content"].startswith("Zwiebelfisch")


def test_a_wrong_key_is_refused(embedded):
    """Other programs of the machine can reach the port."""
    status, answer = ask_json(embedded, messages=user("hi"), key="wrong")
    assert status == 401
    assert answer["error"]["type"] == "authentication_error"


def test_pages_of_a_browser_are_kept_out_and_there_is_no_page(embedded):
    """Any site open in a browser can send requests to loopback; the answer must not allow it to read."""
    url = urlsplit(embedded.base_url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
    connection.request("GET", "/", headers={**LOCAL_HEADERS, "Origin": "https://evil.example"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.headers["Access-Control-Allow-Origin"] not in {"*", "https://evil.example"}
    assert answer.status == 404


def test_a_stop_breaks_off_a_running_stream_and_does_not_wait_for_it():
    """The child needs no killing for that."""
    with LocalServer(context_tokens=1024) as server:
        answer = ask(server, messages=user("Tell me a long story"), stream=True)
        answer.readline()
        child = server._child
        server.stop()
        with pytest.raises((http.client.HTTPException, OSError)):
            answer.read()
        answer.connection.close()
    assert child.process.returncode == 0


def test_the_engine_is_set_up_as_asked_and_keeps_quiet_and_small(made_up_engine, tmp_path):
    """Its own defaults write to stderr and keep up to 8 GiB of past prompts."""
    made_up_engine(f"open({str(tmp_path / 'params')!r}, 'w').write(repr(vars(params) | vars(params.cpuparams)))")
    with LocalServer(threads=2, slots=3, context_tokens=1024):
        params = (tmp_path / "params").read_text(encoding="utf-8")
    for setting in ("'n_threads': 2", "'n_parallel': 3", "'n_ctx': 1024", "'verbosity': 0", "'cache_ram_mib': 0"):
        assert setting in params
