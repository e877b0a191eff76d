"""The actor: what becomes of rows, blocks and columns."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import asynccontextmanager

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.bulk import BulkInputError, BulkRecord, BulkStoppedError
from langchain_cerebras_demo.testing import Status

pytest.importorskip("ray", reason="Ray Data is not installed: pip install 'langchain-cerebras-demo[ray]'")
pa = pytest.importorskip("pyarrow")

from langchain_cerebras_demo.ray import KeyFile  # noqa: E402
from langchain_cerebras_demo.ray.actor import ActorOptions, AskRows, Columns, current_trace, to_item  # noqa: E402

COLUMNS = Columns("id", "prompt", "answer", "error", "record")


@pytest.fixture
def key_file(tmp_path, server):
    path = tmp_path / "key"
    path.write_text(server.key)
    path.chmod(0o600)
    return KeyFile(path)


@pytest.fixture
def no_backoff(monkeypatch):
    """Chance makes every wait the shortest one: ten refusals would wait for half a minute."""
    monkeypatch.setattr(random, "random", lambda: 0.0)


@pytest.fixture
def actor(server, key_file):
    """What an actor is, here and without a cluster."""

    @asynccontextmanager
    async def actor(in_flight=1, **settings):
        model = ChatCerebrasDemo(base_url=server.base_url, key_resolver=key_file, rate_limit=None, **settings)
        rows = AskRows(ActorOptions(model, COLUMNS, in_flight, "test", None))
        try:
            yield rows
        finally:
            await asyncio.to_thread(rows.close)

    return actor


@pytest.fixture
def ask(actor):
    """Lets it ask one table."""

    async def ask(table, in_flight=1, **settings):
        async with actor(in_flight, **settings) as rows:
            return (await rows(pa.table(table))).to_pylist()

    return ask


@pytest.mark.usefixtures("no_backoff")
async def test_what_goes_wrong_with_a_row_stays_in_its_row(server, ask):
    """400, 500 and 429 rows have an error and no answer; the others have their answer; a row for a row, in order."""
    server.script(
        Status(400, {"message": "too bad", "code": "wrong_api_format"}),
        Status(500, {"message": "boom"}),
        *[Status(429, {"message": "slow down"}, headers={"retry-after": "0.001"})] * 10,
    )
    rows = await ask({"id": [1, 2, 3, 4], "prompt": ["a", "b", "c", "d"]}, max_retries=0)
    assert [row["id"] for row in rows] == [1, 2, 3, 4]
    assert [row["answer"] is None for row in rows] == [True, True, True, False]
    kinds = [None if row["error"] is None else row["error"].partition(":")[0] for row in rows]
    assert kinds == ["BadRequestError", "InternalServerError", "RateLimitError", None]
    assert json.loads(rows[3]["record"])["usage"]["total_tokens"] > 0


@pytest.mark.usefixtures("no_backoff")
async def test_a_limit_that_passes_is_no_failure(server, ask):
    """A row is asked again after more refusals than the model retries by itself."""
    server.script(*[Status(429, {"message": "slow down"}, headers={"retry-after": "0.001"})] * 9)
    [row] = await ask({"id": [1], "prompt": ["a"]}, max_retries=0)
    assert row["error"] is None
    assert len(server.requests) == 10


@pytest.mark.parametrize("status", [401, 402])
async def test_a_refused_key_or_account_ends_the_run(server, ask, status):
    """A million rows would be refused alike: the run stops and says so, and the other rows of the block are left."""
    server.script(*[Status(status, {"message": "no"})] * 2)  # after a 401, the file is asked for a fresher key
    with pytest.raises(BulkStoppedError, match=str(status)) as stopped:
        await ask({"id": list(range(50)), "prompt": ["a"] * 50}, max_retries=0)
    assert stopped.value.reason == "refused"
    assert len(server.requests) <= 2


async def test_rows_that_cannot_be_asked_are_errors_and_are_not_sent(server, ask):
    """An empty prompt, null, and what is no text."""
    rows = await ask({"id": [1, 2], "prompt": ["", None]})
    rows += await ask({"id": [3], "prompt": [5]})
    assert all(row["error"].startswith("BulkInputError: the prompt is") for row in rows)
    assert not server.requests


async def test_a_prompt_may_be_a_list_of_messages(server, ask):
    """Arrow gives every struct the fields of all others; the nulls do not go out."""
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi", "name": "Ann"}]
    [row] = await ask({"id": [1], "prompt": [messages]})
    assert row["error"] is None
    sent = server.requests[0].json["messages"]
    assert [message["role"] for message in sent] == ["system", "user"]
    assert "name" not in sent[0]


async def test_no_more_rows_are_asked_at_once_than_in_flight(server, ask):
    """One actor's bound, whatever the size of the block."""
    server.latency = 0.05
    began = time.monotonic()
    await ask({"id": list(range(20)), "prompt": ["a"] * 20}, in_flight=5)
    assert time.monotonic() - began >= 4 * 0.05


async def test_blocks_share_the_rows_in_flight_and_come_one_after_the_other(server, actor):
    """Two at once, and one behind them when nobody is at work any more; an empty one asks nothing."""

    def block(*ids):
        return pa.table({"id": ids, "prompt": [f"row {number}" for number in ids]})

    async def one_after_the_other(rows, table, other):
        answered = await rows(table)
        await rows(other)
        return answered

    async with actor(in_flight=1) as rows:
        first, second = await asyncio.gather(rows(block(1, 2, 3)), rows(block(4, 5)))
        third = await asyncio.wait_for(one_after_the_other(rows, block(6), block(8)), 10)
        none = await rows(block(7).slice(1))
    assert [table["id"].to_pylist() for table in (first, second, third, none)] == [[1, 2, 3], [4, 5], [6], []]
    assert none.schema == third.schema
    sent = [request.json["messages"][0]["content"] for request in server.requests]
    assert sorted(sent) == ["row 1", "row 2", "row 3", "row 4", "row 5", "row 6", "row 8"]
    assert sent[-2:] == ["row 6", "row 8"]


async def test_an_actor_that_ray_lets_go_of_closes_its_connections(server, ask):
    """Nothing is left open, and nothing is said on the way out."""
    await ask({"id": [1], "prompt": ["a"]})
    assert server.requests
    assert server.wait_for_connections(0)


def test_blocks_without_errors_fit_blocks_with_nothing_but_errors():
    """The types of the new columns do not hang on what is in them: the Parquet files of one folder have one schema."""
    table = pa.table({"id": [1]})
    good = COLUMNS.fill(table, [BulkRecord(1, content="a")])
    bad = COLUMNS.fill(table, [BulkRecord(1, error={"type": "E", "message": "m"})])
    assert good.schema == bad.schema
    assert (good["answer"].to_pylist(), bad["error"].to_pylist()) == (["a"], ["E: m"])


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ({"id": [1]}, "prompt_column='prompt'"),
        ({"prompt": ["a"]}, "id_column='id'"),
        ({"id": [1], "prompt": ["a"], "answer": ["b"]}, "output_column='answer'"),
    ],
)
async def test_a_column_that_is_missing_or_would_be_lost_is_named(ask, server, table, word):
    """Before anything is sent."""
    with pytest.raises(BulkInputError, match=word):
        await ask(table)
    assert not server.requests


def test_the_options_show_nothing_but_the_model():
    """Ray writes the text of constructor arguments into its plans."""
    options = ActorOptions(ChatCerebrasDemo(base_url="http://127.0.0.1:1/v1"), COLUMNS, 1, "test", None)
    assert str(options) == "<ActorOptions for gpt-oss-120b>"


def test_an_item_keeps_the_id_of_its_row():
    """As it stands in the table."""
    assert to_item("row-7", "a").id == "row-7"


async def test_calls_are_children_of_the_span_that_started_the_job(server, key_file):
    """The span is in another process: its name travels with the options."""
    pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed: the dependency group `test`")
    from tests.support.otel import instrumented

    assert current_trace() == {}
    model = ChatCerebrasDemo(base_url=server.base_url, key_resolver=key_file, rate_limit=None)
    with instrumented() as exported:
        with exported.tracer.start_as_current_span("job") as job:
            trace = current_trace()
        rows = AskRows(ActorOptions(model, COLUMNS, 2, "test", None, trace=trace))
        await rows(pa.table({"id": [1, 2, 3], "prompt": ["a", "b", "c"]}))
        await asyncio.to_thread(rows.close)
        assert [span.parent.span_id for span in exported.spans("chat ")] == [job.get_span_context().span_id] * 3
