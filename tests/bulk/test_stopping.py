"""What stops a run instead of failing all of its rows."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.bulk import BulkStoppedError, bulk
from langchain_cerebras_demo.testing import LoopbackCerebras, Quota, Reply, Status

ROWS = [{"id": str(number), "prompt": f"row {number}"} for number in range(200)]


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
    """With the words on where to get one. While iterating it is raised."""
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
    """Whether it is announced or runs into; resumed the next day it goes on."""
    with LoopbackCerebras(quota=Quota(60_000_000, requests_day=20)) as server:
        model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, rate_limit=rate_limit, max_tokens=50)
        progress = await bulk(model, ROWS, output=output, concurrency=4).arun()
        assert (progress.stopped, progress.failed) == ("limit", 0)
        assert 20 - 4 <= progress.done == len(read(output)) <= 20  # four workers may meet the limit at once
        if rate_limit:
            assert 80_000 < progress.retry_after <= 86_400
            assert len(server.requests) <= 20
        assert len(server.requests) <= 20 + 4 * 3  # each worker's last row, with the model's retries
        await model.aclose()


async def test_a_limit_of_the_minute_fails_no_row(server):
    """It is waited for beyond the model's own retries."""
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, rate_limit=None, max_retries=0)
    server.script(*[Status(429, headers={"retry-after": "0.01"})] * 4, Reply(text="A"))
    records = [record async for record in bulk(model, ["a"])]
    assert [(record.content, record.attempts) for record in records] == [("A", 5)]
    await model.aclose()


async def test_a_budget_of_requests_is_never_passed(server, model, output):
    """Those that failed count."""
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


async def test_a_budget_that_suffices_stops_nothing(model):
    """The last row may spend the last of it."""
    progress = await bulk(model, ROWS[:10], concurrency=4, budget="10 requests").arun()
    assert (progress.stopped, progress.done) == ("", 10)


async def test_row_after_row_that_fails_stops_the_run(server, output, read):
    """Of any kind; they stand among the failures, and a good one in between begins the count anew."""
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, rate_limit=None, max_retries=0)
    server.script(*[Status(404)] * 9, Reply(text="x"), *[Status(404)] * 150)
    run = bulk(model, ROWS, output=output, concurrency=1, give_up_after=10)
    progress = await run.arun()
    assert (progress.stopped, progress.done, progress.failed) == ("failing", 1, 19)
    assert "10 rows one after the other have failed, the last (row 20) with NotFoundError" in progress.message
    assert len(read(run.failures_path)) == 19
    await model.aclose()


async def test_rows_that_cannot_be_read_stop_nothing(write, model):
    """They cost nothing, and they are the input's fault."""
    progress = await bulk(model, write(b"no\n" * 30 + b'"yes"\n'), give_up_after=10).arun()
    assert (progress.stopped, progress.done, progress.failed) == ("", 1, 30)
