"""One row is asked: whatever happens is its record."""

from __future__ import annotations

import asyncio
import json

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableGenerator, RunnableLambda

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.bulk import Item, ask
from langchain_cerebras_demo.testing import Call, CutAfter, Gate, RawAnswer, Reply, Status

SCHEMA = {"title": "Sum", "type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}


async def test_an_answer_is_taken_apart(server, model):
    """Text, reasoning, usage, times, attempts."""
    server.script(Status(500), Reply(text="4.", reasoning="Two and two."))
    record = await ask(model, Item("a", "2 + 2?", 1))
    assert (record.id, record.content, record.reasoning, record.error) == ("a", "4.", "Two and two.", None)
    assert (record.finish_reason, record.attempts) == ("stop", 2)
    assert record.total_tokens == record.usage["total_tokens"] > 0
    assert record.timing["seconds"] > 0
    assert "total_time" in record.timing


async def test_tool_calls_are_calls(server, model):
    """Name, arguments, id; nothing else."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    server.script(Reply(tool_calls=[Call("f", {"x": 1}, id="123456789")]))
    record = await ask(model.bind_tools([tool]), Item("a", "call f", 1))
    assert record.tool_calls == [{"name": "f", "args": {"x": 1}, "id": "123456789"}]
    assert record.is_good


async def test_a_call_with_broken_arguments_is_an_error(server, model):
    """It cannot be used; what was spent is told."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    server.script(Reply(tool_calls=[Call("f", '{"x": ')]))
    record = await ask(model.bind_tools([tool]), Item("a", "call f", 1))
    assert record.error["type"] == "InvalidToolCall"
    assert "'f'" in record.error["message"]
    assert record.total_tokens > 0


async def test_a_schema_gives_a_value(server, model):
    """And a value that does not fit is an error with its usage."""
    asked = model.with_structured_output(SCHEMA, include_raw=True)
    server.script(Reply(text='{"sum": 4}'), Reply(text="four"))
    good, bad = [await ask(asked, Item("a", "2 + 2?", 1)) for _ in range(2)]
    assert (good.parsed, good.content, good.error) == ({"sum": 4}, '{"sum": 4}', None)
    assert (bad.parsed, bad.error["type"]) == (None, "OutputParserException")
    assert bad.total_tokens > 0


async def test_a_chain_gives_what_it_gives(model):
    """A text is the content, anything else is the value."""
    text = await ask(model | StrOutputParser(), Item("a", "hi", 1))
    assert "hi" in text.content
    value = await ask(RunnableLambda(lambda prompt: [prompt]), Item("a", "hi", 1))
    assert (value.parsed, value.content) == (["hi"], None)
    foreign = await ask(RunnableLambda(lambda _: AIMessage("hello")), Item("a", "hi", 1))
    assert (foreign.content, foreign.usage, foreign.attempts) == ("hello", None, 1)


async def test_an_answer_out_of_a_cache_was_not_sent(server, model):
    """No attempts, no times of the service; a foreign model's cached answer neither."""
    mine = model.model_copy(update={"cache": InMemoryCache()})
    first, second = [await ask(mine, Item("a", "hi", 1)) for _ in range(2)]
    assert (first.attempts, second.attempts, len(server.requests)) == (1, 0, 1)
    assert (first.content, first.usage["total_tokens"]) == (second.content, second.usage["total_tokens"])
    assert ("total_time" in first.timing, list(second.timing)) == (True, ["seconds"])
    foreign = GenericFakeChatModel(messages=iter([AIMessage("hello")]), cache=InMemoryCache())
    assert [(await ask(foreign, Item("a", "hi", 1))).attempts for _ in range(2)] == [1, 0]


async def test_a_chain_that_calls_twice_has_the_attempts_of_both(server, model):
    """Its answer is the sum of two, and the retry of one of them counts too."""

    async def twice(prompts):
        async for prompt in prompts:
            for _ in range(2):
                async for chunk in model.astream(prompt):
                    yield chunk

    server.script(Status(500), Reply(text="Yes. "), Reply(text="No."))
    record = await ask(RunnableGenerator(twice), Item("a", "hi", 1))
    assert (record.content, record.attempts, len(server.requests)) == ("Yes. No.", 3, 3)
    assert "total_time" in record.timing


@pytest.mark.parametrize(
    ("step", "kind", "attempts"),
    [
        (Status(400), "BadRequestError", 1),
        (CutAfter(events=2), "APIConnectionError", 3),
        (Status(503), "InternalServerError", 3),
    ],
)
async def test_a_failure_is_an_error_with_its_attempts(server, model, step, kind, attempts):
    """By class and message; nothing is raised."""
    server.script(*[step] * 3)
    record = await ask(model, Item("a", "hi", 1))
    assert (record.error["type"], record.attempts, record.content) == (kind, attempts, None)
    assert len(server.requests) == attempts


async def test_a_prompt_that_langchain_refuses_is_an_error_that_sent_nothing(server, model):
    """A message without a role, a role that is none."""
    record = await ask(model, Item("a", [{"content": "hi"}], 1))
    assert (record.error["type"], record.attempts) == ("ValueError", 0)
    assert server.requests == []


async def test_a_row_that_could_not_be_read_is_not_asked(server, model):
    """Its problem is its error."""
    record = await ask(model, Item("a", None, 1, 7, problem="line 7: no JSON"))
    assert record.error == {"type": "BulkInputError", "message": "line 7: no JSON"}
    assert server.requests == []


async def test_no_key_is_in_a_record(server):
    """Not even where a user's own code puts it into an exception."""
    secret = "csk-sentinel0123456789"

    def give():
        raise RuntimeError(f"cannot use {secret} here")

    record = await ask(ChatCerebrasDemo(base_url=server.base_url, api_key=give), Item("a", "hi", 1))
    assert record.error["type"]
    assert secret.encode() not in record.to_json()


async def test_cancelling_passes_through(server, model):
    """It is the run's business, and the row's record is not made."""
    gate = Gate()
    server.script(gate)
    task = asyncio.create_task(ask(model, Item("a", "hi", 1)))
    assert await asyncio.to_thread(gate.wait_reached)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_refusal_is_what_the_row_says(server, model):
    """It is all that the model has said."""
    choice = {"index": 0, "message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}
    server.script(
        RawAnswer(headers={"content-type": "application/json"}, body=json.dumps({"choices": [choice]}).encode())
    )
    record = await ask(model, Item("a", "hi", 1))
    assert (record.content, record.error) == ("No.", None)
