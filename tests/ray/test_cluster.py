"""Ray Data itself, on this machine with two actors: limits, crashes, keys, files."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo, RateLimit
from langchain_cerebras_demo.testing import Quota
from tests.support.processes import environment

ray = pytest.importorskip("ray", reason="Ray Data is not installed: pip install 'langchain-cerebras-demo[ray]'")
pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

from langchain_cerebras_demo.ray import ray_map_chat  # noqa: E402
from langchain_cerebras_demo.ray.limiting import SharedLimiter, find_limiter  # noqa: E402

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the processes of the cluster are looked up in /proc"),
    # Ray leaves files and sockets of its own to the garbage collector, and warns of its own future.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
]

KEY = "csk-sentinel-4d1f3b8ac2e7"


@pytest.fixture
def prompts(tmp_path):
    """Writes a Parquet file of rows and gives its dataset."""

    def prompts(count):
        path = tmp_path / "in.parquet"
        pq.write_table(pa.table({"id": range(count), "prompt": [f"question {n}" for n in range(count)]}), path)
        return ray.data.read_parquet(str(path))

    return prompts


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


def model(server, **settings):
    return ChatCerebrasDemo(base_url=server.base_url, max_tokens=50, **settings)


def rows_of(folder):
    """Every row of the output; no id may stand in it twice."""
    rows = pq.read_table(folder).to_pylist()
    assert len({row["id"] for row in rows}) == len(rows)
    return rows


def asked(server):
    """The rows that were sent, one for each time."""
    return [int(request.json["messages"][0]["content"].split()[1]) for request in server.requests]


def test_two_actors_keep_one_limit(cluster, serve, prompts, output):
    """Every row once, in several files; the key is in no file of Ray's. The benchmarks measure how much of the limit is used.

    The requests take as long as one limit makes them; with a limit each, they would take half the time.
    """
    quota = Quota()
    server = serve(quota=quota)
    ray_map_chat(
        prompts(160),
        model=model(server),
        rate_limit={"requests_per_minute": 1800},
        account="one limit",
        concurrency=2,
        rows_per_block=40,
    ).write_parquet(str(output))
    rows = rows_of(output)
    assert len(rows) == 160
    assert all(row["answer"] and row["error"] is None for row in rows)
    assert len(list(output.glob("*.parquet"))) == 4
    assert quota.admitted == 160
    assert quota.admissions[-1].time - quota.admissions[0].time > 4  # alone 5.4 s, with a limit each 2.7 s
    assert holding(cluster.folder, KEY) == []
    # The plan with its arguments is among the files.
    assert holding(cluster.folder, "<ActorOptions for gpt-oss-120b>")


@pytest.mark.long
async def test_a_queue_that_dies_is_started_again(cluster):
    """Requests wait for the new queue; tickets of the old one are forgotten."""
    limit = RateLimit(requests_per_minute=600)
    actor = find_limiter("dies")
    worker = SharedLimiter(actor, "dies")
    ticket = await worker.acquire("whoever", "m", 10.0, limit)
    ray.kill(actor)
    ticket.close()
    again = await asyncio.wait_for(worker.acquire("whoever", "m", 10.0, limit), 30)
    assert again.waited < 1.0
    again.close()


@pytest.mark.long
def test_an_actor_that_is_killed_costs_no_row(cluster, serve, prompts, output, until):
    """The blocks under way are asked again by another; every row is once in the output, and the limit is kept."""
    quota = Quota(requests_minute=3000, requests_burst=30)
    server = serve(quota=quota)
    dataset = ray_map_chat(
        prompts(300),
        model=model(server),
        rate_limit={"requests_per_minute": 3000},
        account="killed actor",
        concurrency=2,
        rows_per_block=30,
    )
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(dataset.write_parquet, str(output))
        until(lambda: quota.admitted > 100)
        cluster.kill_actor()
        run.result(timeout=100)
    assert sorted(row["id"] for row in rows_of(output)) == list(range(300))
    assert all(row["error"] is None for row in rows_of(output))
    assert (
        quota.refused < 30
    )  # on a busy machine, requests bunch up and a few are refused; without a limit, hundreds are
    assert len(asked(server)) - 300 <= 2 * 30  # two blocks are under way in an actor


DRIVER = """
    import sys

    import ray

    from langchain_cerebras_demo import ChatCerebrasDemo
    from langchain_cerebras_demo.ray import ray_map_chat

    address, base_url, source, output = sys.argv[1:]
    ray.init(address=address, log_to_driver=False)
    model = ChatCerebrasDemo(base_url=base_url, max_tokens=50)
    limit = {"requests_per_minute": 3000}
    dataset = ray.data.read_parquet(source)
    ray_map_chat(
        dataset, model=model, rate_limit=limit, account="killed driver", rows_per_block=30, done=output
    ).write_parquet(output)
"""


@pytest.mark.long
def test_a_driver_that_is_killed_goes_on_where_it_was(cluster, serve, prompts, output, tmp_path, until):
    """The same line again asks for what was not written, and for nothing else; every row is once in the output."""
    quota = Quota(requests_minute=3000, requests_burst=30)
    server = serve(quota=quota)
    prompts(300)
    arguments = [cluster.address, server.base_url, str(tmp_path / "in.parquet"), str(output)]
    command = [sys.executable, "-c", textwrap.dedent(DRIVER), *arguments]
    surroundings = environment(RAY_AUTH_TOKEN=os.environ["RAY_AUTH_TOKEN"], RAY_AUTH_MODE="token")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": surroundings}
    with subprocess.Popen(command, **quiet) as driver:
        until(lambda: quota.admitted > 150)
        os.kill(driver.pid, signal.SIGKILL)
    until(lambda: not cluster.actors())
    before = asked(server)
    written = {row["id"] for row in rows_of(output)}
    assert written
    subprocess.run(command, check=True, timeout=100, **quiet)
    after = asked(server)[len(before) :]
    assert sorted(after) == sorted(set(range(300)) - written)
    assert sorted(row["id"] for row in rows_of(output)) == list(range(300))
    assert len(set(before) - written) <= 4 * 30  # two blocks under way, and two that wait to be written
    assert quota.refused == 0


@pytest.mark.long
def test_two_actors_share_the_tokens_a_minute(cluster, serve, prompts, output):
    """Both draw on one bucket of given tokens: no 429."""
    quota = Quota(tokens_minute=30_000)
    server = serve(quota=quota)
    ray_map_chat(
        prompts(400),
        model=model(server),
        rate_limit={"tokens_per_minute": 30_000},
        account="tokens",
        concurrency=2,
        rows_per_block=50,
    ).write_parquet(str(output))
    assert len(rows_of(output)) == 400
    assert quota.refused == 0


@pytest.mark.long
def test_a_key_that_is_refused_ends_the_job(cluster, serve, prompts, output):
    """A job of a million rows does not end as a million errors; Ray's own exception holds our words, and no key."""
    server = serve()
    server.key = "csk-another-0123456789"
    with pytest.raises(ray.exceptions.RayTaskError, match=r"AuthenticationError.*run again with done=") as refused:
        ray_map_chat(prompts(100), model=model(server), rows_per_block=30).write_parquet(str(output))
    assert KEY not in str(refused.value)
    assert len(asked(server)) <= 2 * 64


@pytest.mark.long
@pytest.mark.timeout(900)
def test_twenty_thousand_rows_outlive_an_actor(cluster, serve, prompts, output, until):
    """The whole form: 20,000 rows, 2 actors, one killed in the middle, one limit; every row once, the limit kept."""
    rate = 6000
    quota = Quota(tokens_minute=100_000_000, requests_minute=rate, requests_burst=rate // 60)
    server = serve(quota=quota)
    dataset = ray_map_chat(
        prompts(20_000),
        model=model(server),
        rate_limit={"requests_per_minute": rate},
        account="twenty thousand",
        concurrency=2,
        rows_per_block=500,
    )
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(dataset.write_parquet, str(output))
        until(lambda: quota.admitted > 8000, seconds=300)
        cluster.kill_actor()
        run.result(timeout=600)
    rows = rows_of(output)
    assert sorted(row["id"] for row in rows) == list(range(20_000))
    assert all(row["error"] is None for row in rows)
    assert quota.refused == 0
    assert quota.admitted - 20_000 <= 2 * 500


def holding(folder, text):
    """The files below ``folder`` that hold it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10  # of a cluster that is there
    return [path for path in files if text.encode() in path.read_bytes()]
