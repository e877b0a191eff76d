"""A run that is killed again and again loses nothing and sends little twice.

``-s`` prints the figures.
"""

from __future__ import annotations

import csv
import random
from collections import Counter

import pytest

from langchain_cerebras_demo.bulk.output import records_path
from langchain_cerebras_demo.testing import Gate, LoopbackCerebras
from tests.support.processes import start_python

CONCURRENCY = 16

RUN = f"""
import sys, warnings
warnings.simplefilter("error")
from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.bulk import bulk
url, key, source, output = sys.argv[1:]
model = ChatCerebrasDemo(base_url=url, api_key=key, rate_limit=None)
progress = bulk(model, source, output=output, resume=True, concurrency={CONCURRENCY}, template="{{text}}").run()
print(progress.skipped, progress.done, progress.failed, progress.left)
"""
RUN_IN_ORDER = RUN.replace(f"concurrency={CONCURRENCY}", "concurrency=2, ordered=True")


def start(server, source, output, code=RUN):
    return start_python(code, server.base_url, server.key, str(source), str(output), forked=True)


def survive(rows, kills, seed, write, output, read):
    """Kill the run after so many more requests, at random, again and again; then let it end. One row in ten repeats another."""
    chance = random.Random(seed)
    texts = [f"question {number - 5 if number % 10 == 9 else number}" for number in range(rows)]
    source = write(
        "".join(f"r{number},{text},{number * 1.5}\n" for number, text in enumerate(texts)).encode(), "in.csv"
    )
    source.write_bytes(b"id,text,weight\n" + source.read_bytes())
    requests, torn = len(set(texts)), 0
    records = records_path(output)
    with LoopbackCerebras(latency=0.01) as server:
        for _ in range(kills):
            sent = len(server.requests)
            with start(server, source, output) as process:
                more = chance.randint(1, max(2, 2 * requests // (kills + 2)))
                assert server.wait_for_requests(min(sent + more, requests - 1), 60), process.communicate()
                process.kill()
            torn += records.exists() and not records.read_bytes().endswith(b"\n")
            assert output == records or not output.exists(), "a table is written when the run ends"
        with start(server, source, output) as process:
            said, complaints = process.communicate(timeout=60 + rows / 50)
        assert (complaints, process.returncode) == (b"", 0)
        sends = Counter(request.json["messages"][-1]["content"] for request in server.requests)
    skipped, done, failed, left = map(int, said.split())
    again = sends.total() - requests
    print(f"\n{rows} rows, {kills} kills, {torn} torn lines, {again} sent again, most {max(sends.values())} times")
    found = read(records)
    assert (skipped + done, failed, left) == (rows, 0, 0)
    assert sorted(found) == sorted(f"r{number}" for number in range(rows))
    assert all(record["error"] is None and record["content"] for record in found.values())
    assert len(sends) == requests
    assert again <= kills * CONCURRENCY
    assert max(sends.values()) <= 1 + kills
    if output != records:
        with output.open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
        wanted = [(f"r{number}", text, str(number * 1.5)) for number, text in enumerate(texts)]
        assert [(row["id"], row["text"], row["weight"]) for row in table] == wanted
        assert all(row["answer"] == found[row["id"]]["content"] and not row["error"] for row in table)


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_rows_survive_kills(write, tmp_path, read, name):
    """The short form: every row has exactly one good record, and only what was in flight is sent again."""
    survive(240, 3, 1, write, tmp_path / name, read)


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_answers_that_wait_for_an_earlier_row_survive_a_kill(write, tmp_path, read, name):
    """With ``ordered``, too, an answer is written when it arrives, not when its turn comes."""
    rows = "".join(f"r{number},question {number}\n" for number in range(20))
    source, output = write(f"id,text\n{rows}".encode(), "in.csv"), tmp_path / name
    with LoopbackCerebras() as server:
        server.script(Gate())  # holds the first or the second row; the other worker sends the rows after it
        with start(server, source, output, RUN_IN_ORDER) as process:
            assert server.wait_for_requests(8, 60), process.communicate()
            process.kill()
    assert len(read(records_path(output))) >= 6


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_5_000_rows_survive_twenty_kills(write, tmp_path, read, name):
    """The whole form."""
    survive(5000, 20, 2, write, tmp_path / name, read)
