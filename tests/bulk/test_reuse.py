"""Equal requests are sent once, and a cache works across runs; reused answers cost nothing."""

from __future__ import annotations

import asyncio
import json

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

from langchain_cerebras_demo.bulk import BulkError, bulk
from langchain_cerebras_demo.testing import Reply, Status

ROWS = [{"id": number, "prompt": "same" if number % 2 else f"own {number}"} for number in range(10)]


@pytest.mark.parametrize("has_output", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_equal_rows_are_sent_once(server, model, output, concurrency, ordered, has_output):
    """Every row has the answer; tokens, requests and dollars are those of six requests."""
    run = bulk(model, ROWS, output=output if has_output else None, concurrency=concurrency, ordered=ordered)
    records = [record async for record in run]
    progress = run.progress
    assert sorted(record.id for record in records) == list(range(10))
    assert len({record.content for record in records if record.id % 2}) == 1
    assert (len(server.requests), progress.requests, progress.done, progress.duplicates) == (6, 6, 10, 4)
    assert progress.tokens == sum(record.total_tokens for record in records)
    assert progress.cost_usd > 0
    assert sorted(record.reused or "" for record in records) == [""] * 6 + ["duplicate"] * 4


async def test_equal_rows_are_sent_each_if_wanted(server, model):
    """For several samples of one prompt."""
    progress = await bulk(model, ROWS, dedupe=False).arun()
    assert (len(server.requests), progress.duplicates) == (10, 0)


async def test_equal_rows_are_sent_once_over_a_resumed_run(server, model, output):
    """The answer is in the output already."""
    await bulk(model, ROWS[:2], output=output).arun()
    progress = await bulk(model, ROWS, output=output, resume=True).arun()
    assert (progress.skipped, progress.done, progress.duplicates, len(server.requests)) == (2, 8, 4, 6)


async def test_an_equal_row_that_waited_shares_the_error(server, model):
    """The request would fail alike."""
    server.script(Status(400))
    progress = await bulk(model, ["same", "same"], concurrency=2).arun()
    assert (progress.done, progress.failed, len(server.requests)) == (0, 2, 1)


@pytest.mark.parametrize("ordered", [True, False])
async def test_equal_rows_that_fail_are_all_failures(ordered):
    """Each has the error, whether it was sent or waited for an equal row; nothing is raised."""

    async def fail(_):
        await asyncio.sleep(0)
        raise RuntimeError("no")

    progress = await bulk(RunnableLambda(fail), ["same"] * 10, concurrency=4, ordered=ordered).arun()
    assert (progress.failed, dict(progress.errors), progress.stopped) == (10, {"RuntimeError": 10}, "")


@pytest.mark.parametrize("ordered", [True, False])
async def test_rows_equal_to_one_that_failed_are_sent_once(ordered):
    """Those that waited for it share its error; of the later ones, the first is sent and the others share its answer."""
    sends = []

    async def answer(prompt):
        sends.append(prompt)
        is_first = len(sends) == 1
        await asyncio.sleep(0)
        if is_first:
            raise RuntimeError("no")
        return "yes"

    progress = await bulk(RunnableLambda(answer), ["same"] * 40, concurrency=8, ordered=ordered).arun()
    assert (len(sends), progress.failed, progress.done, progress.duplicates) == (2, 8, 32, 31)


class Sum(BaseModel):
    sum: int


async def test_values_of_a_schema_are_instances_again(server, model, output):
    """Found in the output, in memory and in a cache."""
    server.script(Reply(text='{"sum": 4}'))
    cache = InMemoryCache()
    for arguments in ({}, {"output": output}, {"cache": cache}, {"cache": cache}):
        rows = ["2 + 2?", "2 + 2?"]
        server.script(Reply(text='{"sum": 4}'))
        run = bulk(model, rows, schema=Sum, concurrency=1, **arguments)
        assert [record.parsed async for record in run] == [Sum(sum=4), Sum(sum=4)]
        server.script()


async def test_a_cache_serves_over_runs_and_outputs(server, model, tmp_path):
    """Hits are counted apart, and cost nothing; other settings do not hit; errors are not kept."""
    cache = InMemoryCache()
    rows = [{"id": name, "text": name} for name in "abc"]
    server.script(Status(400))
    first = await bulk(model, rows, template="{text}", cache=cache, concurrency=1).arun()
    assert (first.failed, first.cached) == (1, 0)
    second = await bulk(model, rows, template="{text}", cache=cache, output=tmp_path / "out.jsonl").arun()
    assert (second.done, second.cached, second.requests, len(server.requests)) == (3, 2, 1, 4)
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {record["id"]: record["reused"] for record in records} == {"a": None, "b": "cache", "c": "cache"}
    assert all(record["input"]["text"] == record["id"] for record in records)
    warm = model.model_copy(update={"temperature": 0.5})
    third = await bulk(warm, rows, template="{text}", cache=cache).arun()
    assert (third.cached, third.requests) == (0, 3)


class Broken(InMemoryCache):
    is_full = True

    def lookup(self, prompt, llm_string):
        if not self.is_full:
            raise OSError("no such host")

    def update(self, prompt, llm_string, return_val):
        raise OSError("the cache is full")


async def test_a_broken_cache_ends_the_run_and_loses_no_answer(server, model, output, read):
    """The answer that could not be cached is in the output."""
    with pytest.raises(BulkError, match="the cache cannot be written: OSError: the cache is full"):
        await bulk(model, ["a", "b"], cache=Broken(), output=output, concurrency=1).arun()
    assert len(read(output)) == len(server.requests) == 1
    broken = Broken()
    broken.is_full = False
    with pytest.raises(BulkError, match="the cache cannot be read: OSError: no such host"):
        await bulk(model, ["a", "b"], cache=broken, concurrency=1).arun()
    assert len(server.requests) == 1


def test_what_is_not_a_cache_is_refused(model):
    """When the run is made."""
    with pytest.raises(ValueError, match="give a LangChain cache"):
        bulk(model, ["a"], cache={})
