"""A run: its order, its limits, its files, and a second run."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import sys
import threading
from contextlib import aclosing
from pathlib import Path

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel

from langchain_cerebras_demo import ChatCerebrasDemo, RateLimit
from langchain_cerebras_demo.bulk import BulkInputError, BulkOutputError, bulk
from langchain_cerebras_demo.bulk.output import Output
from langchain_cerebras_demo.testing import Gate, Reply, Status


def asked(server):
    """Return the prompts that the server received, in order."""
    return [request.json["messages"][-1]["content"] for request in server.requests]


async def test_records_come_as_they_are_finished(server, model):
    """A slow row does not delay others."""
    gate = Gate()
    server.script(gate)
    async with aclosing(bulk(model, ["slow", "b", "c", "d"], concurrency=2).__aiter__()) as records:
        assert {(await anext(records)).id[0] for _ in range(3)} == {"2", "3", "4"}
        gate.open()
        assert (await anext(records)).id.startswith("1-")


async def test_ordered_records_come_in_the_order_of_the_rows(server, model):
    """A slow row holds up all others; four rows a worker are read ahead and no more."""
    gate = Gate()
    server.script(gate)
    run = bulk(model, [f"row {number}" for number in range(100)], concurrency=4, ordered=True)
    task = asyncio.ensure_future(collect(run))
    assert await asyncio.to_thread(server.wait_for_requests, 16)
    assert not await asyncio.to_thread(server.wait_for_requests, 17, 0.3)
    gate.open()
    assert [record.id.partition("-")[0] for record in await task] == [str(number) for number in range(1, 101)]


async def test_rows_are_read_no_faster_than_they_are_handed_out(model):
    """Of endless rows, two per worker are read ahead: the concurrency bounds the memory."""
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield f"row {taken}"

    async with aclosing(bulk(model, endless(), concurrency=3).__aiter__()) as records:
        for handed_out in range(1, 31):
            await anext(records)
            await asyncio.sleep(0.005)
            assert taken <= handed_out + 6


@pytest.mark.parametrize(("concurrency", "of_model"), [(3, None), (50, 3)])
async def test_no_more_rows_are_asked_at_once_than_is_said(server, concurrency, of_model):
    """By the run or by the model."""
    server.latency = 0.02
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, rate_limit=None, max_concurrency=of_model)
    progress = await bulk(model, [f"row {n}" for n in range(30)], concurrency=concurrency).arun()
    assert progress.done == 30
    assert server.open_connections == 3
    await model.aclose()


async def collect(run):
    return [record async for record in run]


async def test_a_file_becomes_a_file(server, model, write, output, read):
    """Ids given and derived; unreadable, refused and unaskable rows go to the failures, with their lines."""
    source = write(
        b'{"id": 1, "prompt": "a"}\nno json\n{"text": "x"}\n{"id": "bad", "prompt": "refused"}\n{"prompt": "b"}\n'
    )
    server.script(Reply(text="A"), Status(400), Reply(text="B"))
    run = bulk(model, source, output=output, concurrency=1)
    progress = await run.arun()
    assert (progress.total, progress.done, progress.failed, progress.left) == (5, 2, 3, 0)
    assert progress.errors == {"BulkInputError": 2, "BadRequestError": 1}
    assert [record["content"] for record in read(output).values()] == ["A", "B"]
    assert 1 in read(output)
    failures = list(read(run.failures_path).values())
    assert failures[-1]["id"] == "bad"
    assert "line 2: not valid JSON" in failures[0]["error"]["message"]
    assert "line 3" in failures[1]["error"]["message"]
    assert len(server.requests) == 3


async def test_a_resumed_run_asks_what_is_missing_and_what_failed(server, model, write, output, read):
    """And nothing twice that was answered; in the end every row has one good record."""
    source = write([{"id": name, "prompt": name} for name in "abc"])
    server.script(Reply(text="A"), Status(400), Reply(text="C"))
    first = await bulk(model, source, output=output, concurrency=1).arun()
    assert (first.done, first.failed) == (2, 1)
    run = bulk(model, source, output=output, resume=True)
    second = await run.arun()
    assert (second.done, second.failed, second.skipped) == (1, 0, 2)
    assert asked(server) == ["a", "b", "c", "b"]
    assert sorted(read(output)) == ["a", "b", "c"]
    assert not run.failures_path.exists()
    third = await bulk(model, source, output=output, resume=True).arun()
    assert (third.done, third.skipped, len(server.requests)) == (0, 3, 4)


async def test_a_row_with_another_text_under_its_id_is_sent_again(server, model, write, output, read):
    """And its old answer is gone in the end; more rows, another order, and columns that the prompt does not use change nothing."""
    rows = [{"id": name, "q": name, "note": 1} for name in "abc"]
    await bulk(model, write(rows), template="What is {q}?", output=output).arun()
    rows = [
        {"id": "new", "q": "new"},
        {"id": "c", "q": "other"},
        {"id": "b", "q": "b", "note": 2},
        {"id": "a", "q": "a"},
    ]
    progress = await bulk(model, write(rows), template="What is {q}?", output=output, resume=True).arun()
    assert (progress.changed, progress.done, progress.skipped) == (1, 2, 2)
    assert asked(server)[3:] == ["What is new?", "What is other?"]
    found = read(output)
    assert found["c"]["input"] == {"id": "c", "q": "other"}
    assert "other" in found["c"]["content"]
    progress = await bulk(model, write(rows), template="What is {q}?", output=output, resume=True).arun()
    assert (progress.changed, progress.skipped) == (0, 4)


async def test_answers_of_an_earlier_version_are_kept(server, model, write, output, read):
    """Their records have no hash of the prompt, so it is unknown whether it has changed."""
    source = write([{"id": "a", "prompt": "a"}])
    await bulk(model, source, output=output).arun()
    record = json.loads(output.read_text())
    old = {name: record[name] for name in record if name not in {"row", "input", "prompt_hash", "reused"}}
    output.write_text(json.dumps(old) + "\n")
    assert (await bulk(model, source, output=output, resume=True).arun()).skipped == 1


async def test_changed_settings_are_refused_before_anything_is_sent(server, model, write, output):
    """The difference is named."""
    source = write([{"text": "a"}])
    await bulk(model, source, output=output, template="Say {text}").arun()
    with pytest.raises(BulkOutputError, match=r'template was "Say \{text\}" and is "Sag \{text\}"'):
        await bulk(model, source, output=output, template="Sag {text}", resume=True).arun()
    with pytest.raises(BulkOutputError, match=r"model\.temperature was not set and is 0\.5"):
        warm = model.model_copy(update={"temperature": 0.5})
        await bulk(warm, source, output=output, template="Say {text}", resume=True).arun()
    assert len(server.requests) == 1


async def test_bad_input_is_refused_before_anything_is_sent(server, model, write, output, tmp_path):
    """Doubled ids, a column that no row has, an input that is the output; no output is begun."""
    doubled = write([{"id": "a", "prompt": "1"}, {"id": "a", "prompt": "2"}])
    with pytest.raises(BulkInputError, match="line 1 and in line 2"):
        await bulk(model, doubled, output=output).arun()
    with pytest.raises(BulkInputError, match="'topic'"):
        await bulk(model, write([{"prompt": "1"}]), output=output, template="{topic}").arun()
    with pytest.raises(BulkInputError, match="'topic'"):
        await bulk(model, [{"prompt": "1"}], output=output, template="{topic}").arun()
    with pytest.raises(BulkOutputError, match="is the input"):
        await bulk(model, tmp_path / "in.jsonl", output=tmp_path / "in.jsonl", resume=True).arun()
    assert server.requests == []
    assert (tmp_path / "in.jsonl").read_bytes() == b'{"prompt": "1"}\n'


async def test_what_came_before_a_doubled_id_of_an_iterable_is_kept(model, output, read):
    """Its rows cannot be looked at beforehand."""
    rows = [{"id": str(number % 9), "prompt": "x"} for number in range(10)]
    with pytest.raises(BulkInputError, match="row 1 and in row 10"):
        await bulk(model, rows, output=output).arun()
    assert len(read(output)) == 9


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv"])
async def test_an_empty_input_is_a_run_without_rows(model, write, output, name):
    """Its output is empty, and it has not failed."""
    progress = await bulk(model, write(b"", name), output=output).arun()
    assert (progress.total, progress.done, progress.stopped) == (0, 0, "")
    assert output.read_bytes() == b""
    assert await collect(bulk(model, [])) == []


class Sum(BaseModel):
    sum: int


async def test_a_schema_gives_values(server, model, output, read):
    """Instances while iterating, JSON in the file; one that does not fit is an error of its row."""
    server.script(Reply(text='{"sum": 4}'), Reply(text="four"))
    run = bulk(model, ["2 + 2?", "3 + 1?"], schema=Sum, output=output, concurrency=1)
    good, bad = await collect(run)
    assert (good.parsed, bad.error["type"]) == (Sum(sum=4), "OutputParserException")
    assert [record["parsed"] for record in read(output).values()] == [{"sum": 4}]


async def test_templates_and_the_systems_words_make_the_prompt(server, model, write):
    """From the columns of a CSV file."""
    source = write(b"word,language\nhouse,French\n", "in.csv")
    template = ChatPromptTemplate.from_template("{word} in {language}?")
    await bulk(model, source, template=template, system="Be brief.").arun()
    roles = [(message["role"], message["content"]) for message in server.requests[0].json["messages"]]
    assert roles == [("system", "Be brief."), ("user", "house in French?")]


async def test_progress_is_told(server, write):
    """Counts, errors by kind, the limits in force; the last word is the end."""
    model = ChatCerebrasDemo(
        base_url=server.base_url, api_key=server.key, rate_limit=RateLimit(requests_per_minute=60_000), max_tokens=50
    )
    server.script(Status(400))
    told = []
    run = bulk(model, write(["a", "b", "c"]), concurrency=1, on_progress=told.append)
    assert run.progress.total is None
    await run.arun()
    last = told[-1]
    assert (last.total, last.done, last.failed, last.errors) == (3, 2, 1, {"BadRequestError": 1})
    assert (last.requests, last.in_flight, last.left, last.seconds_left) == (3, 0, 0, 0.0)
    assert last.tokens > 0
    assert re.fullmatch(r"60,000 requests per minute \(given\); [\d,]+ requests per day, [\d,]+ left", last.limit)
    await model.aclose()


async def test_run_works_inside_a_running_loop(model, output, read):
    """A notebook's: it is not that loop which is used."""
    progress = bulk(model, ["a", "b"], output=output).run()
    assert (progress.done, len(read(output))) == (2, 2)


def test_run_works_without_a_loop_twice(server, output, read):
    """And leaves no connection behind."""
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, rate_limit=None)
    for rows in (["a"], ["a", "b"]):
        assert bulk(model, rows, output=output, resume=True).run().done == 1
    assert len(read(output)) == 2
    assert server.wait_for_connections(0)


async def test_leaving_early_leaves_something_to_go_on_with(server, model, output, read):
    """Rows in flight are cancelled, and the lock is released."""
    rows = [{"id": str(number), "prompt": f"row {number}"} for number in range(20)]
    server.latency = 0.02
    async with aclosing(bulk(model, rows, output=output, concurrency=2).__aiter__()) as records:
        async for _ in records:
            break
    done = len(read(output))
    assert 1 <= done < 20
    progress = await bulk(model, rows, output=output, resume=True).arun()
    assert (progress.skipped, progress.done, len(read(output))) == (done, 20 - done, 20)


async def test_stop_finishes_what_is_under_way(server, model, output, read):
    """And asks for nothing more; the progress says so."""
    gate = Gate()
    server.script(gate)
    run = bulk(model, [f"row {number}" for number in range(50)], output=output, concurrency=1)
    task = asyncio.ensure_future(run.arun())
    assert await asyncio.to_thread(gate.wait_reached)
    run.stop("enough")
    gate.open()
    progress = await task
    assert (progress.done, progress.stopped, progress.message, progress.left) == (1, "interrupted", "enough", 49)
    assert len(read(output)) == len(server.requests) == 1


async def test_answers_that_wait_for_their_turn_are_kept_when_the_run_stops(server, model, output, read):
    """Ordered or not: they are paid for."""
    gate = Gate()
    server.script(gate)
    run = bulk(model, [f"row {number}" for number in range(9)], output=output, concurrency=2, ordered=True)
    run_task = asyncio.ensure_future(run.arun())
    assert await asyncio.to_thread(server.wait_for_requests, 8)
    run._workers.cancel()
    await run_task
    gate.open()
    assert len(read(output)) >= 6


async def test_ordered_records_are_in_the_order_of_the_rows_once_the_run_has_ended(server, model, output, read):
    """While it runs, they are in the order in which the answers arrive, and so is each of them in the file at once."""
    gate = Gate()
    server.script(gate)
    run = bulk(model, [f"row {number}" for number in range(9)], output=output, concurrency=2, ordered=True)
    run_task = asyncio.ensure_future(run.arun())
    assert await asyncio.to_thread(server.wait_for_requests, 8)
    assert len(read(output)) >= 6
    gate.open()
    await run_task
    assert [record["row"] for record in read(output).values()] == list(range(1, 10))
    assert sorted(path.name for path in output.parent.iterdir()) == ["out.jsonl", "out.jsonl.journal"]


async def test_a_resumed_run_puts_all_records_in_the_order_of_its_rows(server, model, output, read):
    """Those of earlier runs, too; rows that are no longer in the input come last, and a replaced answer is gone."""
    rows = [{"id": name, "prompt": name} for name in "abcde"]
    server.script(Status(400))
    await bulk(model, rows, output=output, concurrency=1).arun()
    assert list(read(output)) == ["b", "c", "d", "e"]
    rows = [
        {"id": "e", "prompt": "e"},
        {"id": "a", "prompt": "a"},
        {"id": "d", "prompt": "new"},
        {"id": "b", "prompt": "b"},
    ]
    run = bulk(model, rows, output=output, resume=True, ordered=True)
    progress = await run.arun()
    assert (progress.skipped, progress.changed, progress.done) == (2, 1, 2)
    records = read(output)
    assert list(records) == ["e", "a", "d", "b", "c"]
    assert "new" in records["d"]["content"]
    assert run.to_table()["id"].to_pylist() == ["e", "a", "d", "b"]


async def test_records_that_cannot_be_put_in_order_are_kept(model, output, read, monkeypatch):
    """The file stays in the order of arrival, and the error names the remedy."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    await bulk(model, [{"id": "a", "prompt": "a"}], output=output).arun()
    monkeypatch.setattr(Path, "replace", full)
    rows = [{"id": name, "prompt": name} for name in "ba"]
    with pytest.raises(BulkOutputError, match="cannot be rewritten: No space left on device"):
        await bulk(model, rows, output=output, resume=True, ordered=True).arun()
    assert list(read(output)) == ["a", "b"]


@pytest.mark.skipif(sys.platform != "linux", reason="wants /dev/full")
async def test_a_full_disk_ends_the_run_with_a_sentence(model, tmp_path):
    """And not with a million failed rows."""
    (tmp_path / "out.jsonl").symlink_to("/dev/full")
    with pytest.raises(BulkOutputError, match="the disk is full"):
        await bulk(model, ["a"] * 200, output=tmp_path / "out.jsonl", concurrency=4).arun()


async def test_no_key_is_in_any_file(server, model, output, tmp_path):
    """Not in the journal, the output or the failures."""
    server.script(Status(400, {"message": f"what is {server.key}?", "type": "x", "param": "", "code": "y"}))
    await bulk(model, ["a", "b"], output=output, concurrency=1).arun()
    assert len(list(tmp_path.iterdir())) == 3
    for path in tmp_path.iterdir():
        assert server.key.encode() not in path.read_bytes()


class LazyFrame:
    def collect(self):
        return []

    def collect_schema(self):
        return {}


@pytest.mark.parametrize(("records", "words"), [(5, "records of type int"), (LazyFrame(), r"pass frame\.collect")])
async def test_records_without_rows_are_refused(server, model, records, words):
    """Nothing is sent."""
    with pytest.raises(BulkInputError, match=words):
        await bulk(model, records).arun()
    assert server.requests == []


def test_a_schema_goes_with_a_chat_model(model):
    """A chain has its own."""
    with pytest.raises(ValueError, match=r"put model\.with_structured_output"):
        bulk(model | StrOutputParser(), [], schema=Sum)


async def test_a_run_that_is_cancelled_while_it_opens_leaves_no_lock(model, output, monkeypatch):
    """The thread that opens the files cannot be stopped; what it opens is closed."""
    is_opening, may_open, is_closed = threading.Event(), threading.Event(), threading.Event()

    class Slow(Output):
        def __init__(self, *arguments, **more):
            is_opening.set()
            may_open.wait(5)
            super().__init__(*arguments, **more)

        def close(self, ending=None):
            super().close(ending)
            is_closed.set()

    monkeypatch.setattr("langchain_cerebras_demo.bulk.run.Output", Slow)
    task = asyncio.ensure_future(bulk(model, ["a"], output=output).arun())
    assert await asyncio.to_thread(is_opening.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_open.set()
    assert await asyncio.to_thread(is_closed.wait, 5)
    monkeypatch.undo()
    assert (await bulk(model, ["a"], output=output, resume=True).arun()).done == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"concurrency": 0}, "concurrency=0"),
        ({"resume": True}, "resume=True needs an output"),
        ({"budget": "lots"}, "budget='lots'"),
    ],
)
def test_bad_arguments_are_refused_by_name(model, arguments, words):
    """When the run is made."""
    with pytest.raises(ValueError, match=words):
        bulk(model, [], **arguments)


async def test_a_run_can_be_used_once(model):
    """Its counts are its own."""
    run = bulk(model, ["a"])
    await run.arun()
    with pytest.raises(RuntimeError, match="once"):
        await run.arun()


async def test_a_run_says_how_to_start_it(model, write):
    """Its repr, and the error of a plain ``for``."""
    run = bulk(model, write(["a"], "reviews.jsonl"))
    assert repr(run) == "<BulkRun of reviews.jsonl, not started: .run(), await .arun() or async for>"
    with pytest.raises(TypeError, match=r"use `async for`, or `\.run\(\)` in a script"):
        list(run)
    await run.arun()
    assert repr(run) == "<BulkRun of reviews.jsonl, started>"
    assert repr(bulk(model, ["a", "b"])).startswith("<BulkRun of a list of 2 rows, ")
    assert re.search(r" seconds=\d+\.\d, ", repr(run.progress))


async def test_the_journal_tells_the_runs(model, output):
    """The settings in clear, then how each run ended."""
    await bulk(model, ["a"], output=output).arun()
    lines = [json.loads(line) for line in output.with_name("out.jsonl.journal").read_text().splitlines()]
    assert lines[0]["settings"]["model"]["model_name"] == "gpt-oss-120b"
    assert (lines[1]["how"], lines[1]["done"]) == ("finished", 1)


async def test_a_spent_budget_still_serves_rows_that_cost_nothing(server, model):
    """Three requests answer all rows of three prompts, as the estimate says; a fourth prompt stops the run."""
    rows = ["a", "b", "c", "a", "b"]
    run = bulk(model, rows, budget="3 requests")
    assert run.estimate().requests == 3
    progress = await run.arun()
    assert (progress.done, progress.stopped) == (5, "")
    progress = await bulk(model, [*rows, "d", "a"], budget="3 requests").arun()
    assert (progress.done, progress.stopped) == (5, "budget")
    assert len(asked(server)) == 6


async def test_a_resumed_table_without_its_records_is_refused(server, model, tmp_path):
    """Otherwise all rows would be paid again, and the table replaced."""
    table = tmp_path / "out.csv"
    await bulk(model, ["a"], output=table).arun()
    before = table.read_bytes()
    (tmp_path / "out.csv.records.jsonl").unlink()
    with pytest.raises(BulkOutputError, match=r"out\.csv\.records\.jsonl"):
        await bulk(model, ["a"], output=table, resume=True).arun()
    assert table.read_bytes() == before
    assert len(asked(server)) == 1


async def test_an_output_is_closed_on_another_thread(model, monkeypatch, output):
    """Closing syncs the records and may rewrite them, which must not stop the event loop."""
    threads = []
    close = Output.close
    monkeypatch.setattr(Output, "close", lambda *given: (threads.append(threading.current_thread()), close(*given)))
    await bulk(model, ["a"], output=output).arun()
    assert threads
    assert threading.main_thread() not in threads
