"""``cerebras-demo ask --json`` where something fails, and with a schema: one object in any case."""

from __future__ import annotations

import functools
import json

import pytest

from langchain_cerebras_demo.testing import RawStream, Reply, Status, sse

PERSON = {"title": "Person", "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@pytest.fixture
def ask(run):
    """Runs the command in pipes."""
    return functools.partial(run, "ask")


def test_with_json_an_error_is_an_object_too(server, ask):
    """On stdout, one; the sentence on stderr and the exit code stay."""
    server.script(Status(402))
    done = ask("hi", "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["type"] == "PaymentRequiredError"
    assert done.stderr == f"cerebras-demo: PaymentRequiredError: {error['message']}\n"
    done = ask("hi", "--json", "-f", "missing")
    assert (done.returncode, json.loads(done.stdout)["error"]["type"]) == (2, "InputError")


def test_with_json_a_schema_gives_the_value(server, ask):
    """Or, where the answer does not fit, ``null`` and the error beside the answer."""
    server.script(Reply(text='{"name": "Ann"}'), Reply(text="Ann"))
    done = ask("Who?", "--schema", json.dumps(PERSON), "--json")
    assert (done.returncode, json.loads(done.stdout)["parsed"]) == (0, {"name": "Ann"})
    done = ask("Who?", "--schema", json.dumps(PERSON), "--json")
    record = json.loads(done.stdout)
    assert (done.returncode, record["parsed"], record["content"]) == (1, None, "Ann")
    assert record["error"].keys() == {"type", "message"}


def test_a_refusal_is_shown_and_is_no_value_of_a_schema(server, ask):
    """As text, and beside the content with --json."""
    said = [{"index": 0, "delta": {"refusal": "No."}}, {"index": 0, "delta": {}, "finish_reason": "stop"}]
    step = RawStream([sse({"id": "c1", "choices": [choice]}) for choice in said])
    server.script(step, step, step)
    assert ask("hi").stdout == "No.\n"
    record = json.loads(ask("hi", "--json").stdout)
    assert (record["content"], record["refusal"]) == ("", "No.")
    done = ask("hi", "--schema", '{"type": "object", "properties": {}, "additionalProperties": false}')
    assert done.returncode == 1
    assert "the model declined to answer: No." in done.stderr
