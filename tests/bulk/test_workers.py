"""Workers: any result of a row becomes its record, and some errors stop the run."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from datetime import datetime, timedelta, timezone

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableGenerator, RunnableLambda

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.bulk import Budget, BulkError, BulkInputError, BulkStoppedError, Item, ask, bulk
from langchain_cerebras_demo.bulk import run as run_module
from langchain_cerebras_demo.catalog import find_spec
from langchain_cerebras_demo.errors import APIConnectionError
from langchain_cerebras_demo.testing import (
    CutAfter,
    Gate,
    LoopbackCerebras,
    Quota,
    RawAnswer,
    RawStream,
    Reply,
    ScriptedCall,
    Status,
    sse,
)

ROWS = [{"id": str(number), "prompt": f"row {number}"} for number in range(200)]
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
    server.script(Reply(tool_calls=[ScriptedCall("f", {"x": 1}, id="123456789")]))
    record = await ask(model.bind_tools([tool]), Item("a", "call f", 1))
    assert record.tool_calls == [{"name": "f", "args": {"x": 1}, "id": "123456789"}]
    assert record.is_good


async def test_a_call_with_broken_arguments_is_an_error(server, model):
    """It cannot be used; the record has the tokens that were spent."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    server.script(Reply(tool_calls=[ScriptedCall("f", '{"x": ')]))
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
    """A message without a role, or with an unknown one."""
    record = await ask(model, Item("a", [{"content": "hi"}], 1))
    assert (record.error["type"], record.attempts) == ("ValueError", 0)
    assert server.requests == []


async def test_an_error_while_the_key_is_looked_for_counts_no_request(server):
    """Neither in the record nor in the budget."""

    def give():
        raise APIConnectionError("the vault cannot be reached")

    model = ChatCerebrasDemo(base_url=server.base_url, api_key=give)
    assert (await ask(model, Item("a", "hi", 1))).attempts == 0
    progress = await bulk(model, ["a", "b"]).arun()
    assert (progress.failed, progress.requests) == (2, 0)


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
    """It ends the run, and no record is made for the row."""
    gate = Gate()
    server.script(gate)
    task = asyncio.create_task(ask(model, Item("a", "hi", 1)))
    assert await asyncio.to_thread(gate.wait_reached)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_refusal_is_what_the_row_says(server, model):
    """It is the model's only text."""
    choice = {"index": 0, "message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}
    server.script(
        RawAnswer(headers={"content-type": "application/json"}, body=json.dumps({"choices": [choice]}).encode())
    )
    record = await ask(model, Item("a", "hi", 1))
    assert (record.content, record.error) == ("No.", None)


# -- what stops a run


async def test_a_key_that_is_refused_stops_the_run(server, output):
    """No row has failed by it: all of them are left."""
    model = ChatCerebrasDemo(base_url=server.base_url, api_key="csk-another-0123456789", rate_limit=None)
    progress = await bulk(model, ROWS, output=output, concurrency=5).arun()
    assert (progress.stopped, progress.done, progress.failed, progress.left) == ("refused", 0, 0, 200)
    assert "AuthenticationError" in progress.message
    assert len(server.requests) <= 5
    assert not output.with_name("out.jsonl.failures.jsonl").exists()
    await model.aclose()


async def test_a_missing_key_stops_the_run_before_anything_is_sent():
    """The message says where to get one. When iterating, it is raised."""
    records = []
    with pytest.raises(BulkStoppedError, match="CEREBRAS_API_KEY") as caught:
        async for record in bulk(ChatCerebrasDemo(), ROWS):
            records.append(record)
    assert records == []
    assert caught.value.reason == "refused"


async def test_an_empty_account_stops_the_run(server, model):
    """402."""
    server.script(*[Status(402)] * 5)
    assert (await bulk(model, ROWS, concurrency=5).arun()).stopped == "refused"


@pytest.mark.parametrize("rate_limit", ["auto", None])
async def test_a_limit_of_the_day_stops_the_run_with_the_time_to_come_back(output, read, rate_limit):
    """Whether it is announced or causes a refusal; a run resumed the next day continues."""
    quota = Quota(60_000_000, requests_day=20, older_form=True, clock=lambda: 12 * 3600.0)  # noon: no new day is near
    with LoopbackCerebras(quota=quota) as server:
        model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, rate_limit=rate_limit, max_tokens=50)
        progress = await bulk(model, ROWS, output=output, concurrency=4).arun()
        assert (progress.stopped, progress.failed) == ("limit", 0)
        assert 20 - 4 <= progress.done == len(read(output)) <= 20  # four workers may meet the limit at once
        if rate_limit:
            assert 43_000 < progress.retry_after <= 43_200
            assert len(server.requests) <= 20
        assert len(server.requests) <= 20 + 4 * 3  # each worker's last row, with the model's retries
        await model.aclose()


async def test_a_limit_of_the_minute_fails_no_row(server):
    """The row waits for it, in addition to the model's retries."""
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, rate_limit=None, max_retries=0)
    server.script(*[Status(429, headers={"retry-after": "0.01"})] * 4, Reply(text="A"))
    records = [record async for record in bulk(model, ["a"])]
    assert [(record.content, record.attempts) for record in records] == [("A", 5)]
    await model.aclose()


async def test_a_budget_of_requests_is_never_passed(server, model, output):
    """Failed rows count."""
    server.script(*[Status(400)] * 10)
    progress = await bulk(model, ROWS, output=output, concurrency=8, budget="50 requests").arun()
    assert (progress.stopped, progress.message) == ("budget", "the budget is spent: 50 of 50 requests")
    assert (len(server.requests), progress.done, progress.failed) == (50, 40, 10)


async def test_a_budget_of_tokens_is_passed_by_no_more_than_the_first_rows(server, model):
    """100 tokens a row: what was under way before the first answer is all that is not foreseen."""
    usage = {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}
    server.script(*[Reply(text="x", usage=usage)] * 200)
    progress = await bulk(model, ROWS, concurrency=4, budget="2,000 tokens").arun()
    assert (progress.stopped, progress.tokens, progress.done) == ("budget", 2000, 20)


USAGE = {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}
VALUE = Reply(text='{"sum": 4}', usage=USAGE)
CUT_OFF = RawStream(
    [
        sse({"id": "c1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}}]}),
        sse({"id": "c1", "choices": [], "usage": USAGE}),
    ],
    end="eof",
)


def fail(_):
    raise ValueError("not a number")


def streaming(model):
    return model.model_copy(update={"streaming": True})


@pytest.mark.parametrize(
    ("to_chain", "step", "done", "failed"),
    [
        (lambda model: model | StrOutputParser(), VALUE, 20, 0),
        (lambda model: streaming(model) | StrOutputParser(), VALUE, 20, 0),
        (lambda model: model.with_structured_output(SCHEMA), VALUE, 20, 0),
        (lambda model: model | RunnableLambda(fail), VALUE, 0, 20),
        (lambda model: model | StrOutputParser() | model, VALUE, 10, 0),
        (lambda model: model | StrOutputParser() | model | RunnableLambda(fail), VALUE, 0, 10),
        (streaming, CUT_OFF, 0, 20),
    ],
    ids=["text", "streamed text", "value", "failed parser", "two calls", "two calls, failed", "stream cut off"],
)
async def test_a_budget_counts_the_tokens_of_every_request(server, model, to_chain, step, done, failed):
    """Whatever the chain makes of the answers, and although the row fails; so do the progress and the cost."""
    server.script(*[step] * 200)
    run = bulk(to_chain(model), ROWS, concurrency=4, budget="2,000 tokens", give_up_after=None)
    progress = await run.arun()
    assert (progress.stopped, progress.tokens, progress.requests) == ("budget", 2000, 20)
    assert (progress.done, progress.failed) == (done, failed)
    assert progress.cost_usd == pytest.approx(find_spec("gpt-oss-120b").cost_usd(1200, 800))


@pytest.mark.parametrize(
    "to_chain",
    [
        lambda model: model.with_structured_output(SCHEMA),
        lambda model: model.bind(stop=["x"]),
        lambda model: model.with_fallbacks([model]),
        lambda model: model.with_retry() | StrOutputParser(),
    ],
    ids=["schema", "binding", "fallbacks", "retry"],
)
async def test_a_model_inside_a_chain_has_its_price(server, model, to_chain):
    """So a budget of dollars is accepted, and the progress has the cost."""
    server.script(VALUE)
    progress = await bulk(to_chain(model), ["a"], budget="$5").arun()
    assert progress.cost_usd == pytest.approx(find_spec("gpt-oss-120b").cost_usd(60, 40))


async def test_each_request_of_a_chain_costs_what_its_model_does(server, model):
    """A chain of two models has two prices."""
    other = model.model_copy(update={"model": "qwen-3.8-27b"})
    server.script(*[VALUE] * 2)
    progress = await bulk(model | StrOutputParser() | other, ["a"]).arun()
    costs = [find_spec(name).cost_usd(60, 40) for name in ("gpt-oss-120b", "qwen-3.8-27b")]
    assert costs[0] != costs[1]
    assert progress.cost_usd == pytest.approx(sum(costs))


@pytest.mark.parametrize("last", [StrOutputParser(), RunnableLambda(fail)], ids=["text", "failed"])
async def test_a_record_without_a_message_has_the_tokens_of_its_requests(server, model, last):
    """So that the sums of the table's columns are correct."""
    server.script(*[VALUE] * 2)
    record = await ask(model | StrOutputParser() | model | last, Item("a", "hi", 1))
    assert record.usage == {"input_tokens": 120, "output_tokens": 80, "total_tokens": 200}


async def test_a_budget_that_suffices_stops_nothing(model):
    """The last row may spend the last of it."""
    progress = await bulk(model, ROWS[:10], concurrency=4, budget="10 requests").arun()
    assert (progress.stopped, progress.done) == ("", 10)


async def test_row_after_row_that_fails_stops_the_run(server, output, read):
    """Of any kind; they are among the failures, and an answered row resets the count."""
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, rate_limit=None, max_retries=0)
    server.script(*[Status(400)] * 9, Reply(text="x"), *[Status(400)] * 150)
    run = bulk(model, ROWS, output=output, concurrency=1, give_up_after=10)
    progress = await run.arun()
    assert (progress.stopped, progress.done, progress.failed) == ("failing", 1, 19)
    assert "10 consecutive rows failed, the last (row 20) with BadRequestError" in progress.message
    assert len(read(run.failures_path)) == 19
    await model.aclose()


async def test_rows_that_cannot_be_read_stop_nothing(write, model):
    """They cost nothing, and they are the input's fault."""
    progress = await bulk(model, write(b"no\n" * 30 + b'"yes"\n'), give_up_after=10).arun()
    assert (progress.stopped, progress.done, progress.failed) == ("", 1, 30)


SCHEMA_REFUSED = {
    "message": "Unsupported JSON schema fields: {'minItems'}",
    "type": "invalid_request_error",
    "param": "response_format",
    "code": "wrong_api_format",
}
OWN_PARAMETER = {
    "message": "body.reasoning_effort: Input should be 'low'",
    "type": "invalid_request_error",
    "param": "validation_error",
    "code": "wrong_api_format",
}


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Status(404), "NotFoundError: 404"),
        (Status(400, SCHEMA_REFUSED), "Unsupported JSON schema fields.*All rows are sent with the same settings"),
        (Status(400, OWN_PARAMETER), "reasoning_effort"),
    ],
    ids=["model", "schema", "parameter"],
)
async def test_what_all_rows_share_stops_the_run_at_the_first(server, model, output, step, words):
    """A model that does not exist, a schema that is refused: the row is left for the next run."""
    server.script(step)
    run = bulk(model, ROWS, output=output, concurrency=1)
    progress = await run.arun()
    assert (progress.stopped, progress.done, progress.failed, len(server.requests)) == ("refused", 0, 0, 1)
    assert re.search(words, progress.message)
    assert (await bulk(model, ROWS[:3], output=output, resume=True).arun()).done == 3


async def test_a_parameter_that_is_refused_before_sending_stops_the_run_too(server, model):
    """A message that is refused is its row's own failure."""
    progress = await bulk(model.bind(top_logprobs=3), ROWS, concurrency=1).arun()
    assert (progress.stopped, progress.failed, len(server.requests)) == ("refused", 0, 0)
    rows = [[{"role": "nobody", "content": "x"}], "good"]
    progress = await bulk(model, rows, concurrency=1).arun()
    assert (progress.stopped, progress.done, progress.failed) == ("", 1, 1)


async def test_settings_that_have_been_answered_are_not_at_fault(server, model):
    """A refusal later is that of its row."""
    server.script(Reply(text="x"), Status(400, SCHEMA_REFUSED))
    progress = await bulk(model, ["a", "b", "c"], concurrency=1).arun()
    assert (progress.stopped, progress.done, progress.failed) == ("", 2, 1)


async def test_a_template_that_fits_no_row_is_refused_before_anything_is_sent(server, model, write):
    """A column that is missing is found by its name; a format that no text has is found, too."""
    source = write(b"n\n1\n2\n", "in.csv")
    for rows, words in ((source, "none of the 2 rows can be sent"), ([{"n": "1"}], "row 1: the prompt cannot be made")):
        with pytest.raises(BulkInputError, match=words):
            await bulk(model, rows, template="{n:d}").arun()
    assert server.requests == []


async def test_a_deadline_stops_the_run(server, model, output, monkeypatch):
    """Rows in flight have a few seconds; after the deadline, nothing is sent."""
    monkeypatch.setattr(run_module, "GRACE_SECONDS", 0.0)
    server.script(Gate())
    budget = Budget(deadline=timedelta(milliseconds=300))
    progress = await bulk(model, ROWS, output=output, budget=budget, concurrency=1).arun()
    assert (progress.stopped, progress.message, progress.done) == ("deadline", "the deadline has passed", 0)
    assert len(server.requests) <= 1
    sent = len(server.requests)
    budget = Budget(deadline=datetime(2020, 1, 1, tzinfo=timezone.utc))
    assert (await bulk(model, ROWS, budget=budget).arun()).stopped == "deadline"
    assert len(server.requests) == sent


class UnreadableOnce(InMemoryCache):
    """A cache that fails for one prompt, once the others have been looked up."""

    def __init__(self, others):
        super().__init__()
        self.left, self.is_over = others, asyncio.Event()

    async def alookup(self, prompt, llm_string):
        if prompt == "bad":
            await self.is_over.wait()
            raise OSError("no such host")
        self.left -= 1
        if not self.left:
            self.is_over.set()


async def quiet_after(*rows):
    """A source that gives these rows, and then waits for ever."""
    for row in rows:
        yield row
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("step", "arguments", "stopped"),
    [
        (Status(401), {}, "refused"),
        (Status(429, headers={"retry-after": "3600"}), {}, "limit"),
        (Status(400), {"give_up_after": 1}, "failing"),
        (Gate(), {"budget": Budget(deadline=timedelta(milliseconds=200))}, "deadline"),
    ],
)
@pytest.mark.parametrize("ordered", [True, False])
async def test_a_run_that_has_to_stop_does_not_wait_for_its_source(
    server, model, monkeypatch, step, arguments, stopped, ordered
):
    """A queue or a socket may give the next row in an hour, or never."""
    monkeypatch.setattr(run_module, "GRACE_SECONDS", 0.0)
    server.script(step)
    run = bulk(model, quiet_after("a"), concurrency=2, ordered=ordered, **arguments)
    progress = await asyncio.wait_for(run.arun(), 10)
    assert progress.stopped == stopped


async def test_stop_does_not_wait_for_the_source(server, model, monkeypatch):
    """The row in flight is finished, however long that takes."""
    monkeypatch.setattr(run_module, "GRACE_SECONDS", 600.0)
    run = bulk(model, quiet_after("a"), concurrency=2)
    task = asyncio.ensure_future(run.arun())
    assert await asyncio.to_thread(server.wait_for_requests, 1)
    run.stop("enough")
    progress = await asyncio.wait_for(task, 10)
    assert (progress.stopped, progress.message, progress.done) == ("interrupted", "enough", 1)


async def test_a_cache_that_cannot_be_read_ends_a_run_over_a_quiet_source(model):
    """Although another worker already waits for the next row."""
    cache = UnreadableOnce(0)

    async def rows():
        yield "bad"
        cache.is_over.set()
        await asyncio.Event().wait()

    run = bulk(model, rows(), cache=cache, concurrency=2)
    with pytest.raises(BulkError, match="the cache cannot be read"):
        await asyncio.wait_for(run.arun(), 10)


async def test_a_row_that_the_source_gives_after_the_stop_is_not_sent(server, model):
    """Such as one of a source that finishes its own work before it ends."""

    async def rows():
        yield "a"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield "late"

    run = bulk(model, rows(), concurrency=2)
    server.script(Status(401))
    progress = await asyncio.wait_for(run.arun(), 10)
    assert (progress.stopped, len(server.requests)) == ("refused", 1)


async def test_an_ordered_run_ends_when_its_earliest_row_cannot_be_looked_up(model):
    """Although all the rows that may be read ahead wait for that one."""
    rows = ["bad", *(f"row {number}" for number in range(20))]
    run = bulk(model, rows, cache=UnreadableOnce(7), concurrency=2, ordered=True)
    with pytest.raises(BulkError, match="the cache cannot be read"):
        await asyncio.wait_for(run.arun(), 10)


class Unwritable:
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("has_output", [False, True])
async def test_a_value_that_cannot_be_written_costs_no_other_row(output, read, has_output, ordered):
    """All rows that were finished with it are returned, counted and written; then its error ends the run."""

    async def answer(prompt):
        await asyncio.sleep(0)
        return Unwritable() if prompt == "row 3" else prompt

    rows = [f"row {number}" for number in range(8)]
    run = bulk(RunnableLambda(answer), rows, output=output if has_output else None, concurrency=8, ordered=ordered)
    found = []
    with pytest.raises(RuntimeError, match="no text"):
        async for record in run:
            found.append(record.content)
    wanted = [row for row in rows if row != "row 3"]
    assert sorted(found) == wanted
    assert run.progress.done == 7
    if has_output:
        assert sorted(record["content"] for record in read(output).values()) == wanted


async def test_a_worker_sends_its_next_row_when_the_one_before_is_written(output):
    """So a kill costs at most one request for each worker, in flight or answered and not written yet."""
    at_risk, sent = [], 0

    class Model:
        async def ainvoke(self, prompt):
            nonlocal sent
            sent += 1
            at_risk.append(sent - len(output.read_bytes().splitlines()))
            await asyncio.sleep(0)
            return prompt

    rows = [f"row {number}" for number in range(40)]
    progress = await bulk(Model(), rows, output=output, concurrency=4).arun()
    assert (progress.done, sent) == (40, 40)
    assert max(at_risk) == 4


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks need Python 3.12")
@pytest.mark.parametrize("ordered", [False, True])
async def test_rows_that_need_no_waiting_are_returned_by_eager_tasks_too(ordered):
    """Then the workers have ended before the event loop goes on."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    run = bulk(RunnableLambda(lambda prompt: prompt), ["a", "b", "c"], ordered=ordered)
    assert sorted([record.content async for record in run]) == ["a", "b", "c"]


async def test_dollars_are_spent_as_a_budget(server, model):
    """At list prices; the last rows in flight are the bound's excess."""
    price = (await bulk(model, ["a"]).arun()).cost_usd
    progress = await bulk(model, ROWS, budget={"usd": price * 3.5}, concurrency=1).arun()
    assert progress.stopped == "budget"
    assert re.search(r"the budget is spent: \$0\.\d{4} of \$", progress.message)
    assert progress.cost_usd <= price * 4.5
