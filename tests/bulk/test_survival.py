"""A run that is killed again and again loses nothing and sends little twice.

``-s`` prints the figures.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from langchain_cerebras_demo.testing import LoopbackCerebras
from tests.support.processes import start_python

CONCURRENCY = 16

RUN = f"""
import sys, warnings
warnings.simplefilter("error")
from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.bulk import bulk
url, key, source, output = sys.argv[1:]
model = ChatCerebrasDemo(base_url=url, api_key=key, rate_limit=None)
progress = bulk(model, source, output=output, resume=True, concurrency={CONCURRENCY}).run()
print(progress.skipped, progress.done, progress.failed, progress.left)
"""


def start(server, source, output):
    return start_python(RUN, server.base_url, server.key, str(source), str(output), forked=True)


def survive(rows, kills, seed, write, output, read):
    """Kill the run after so many more requests, at random, again and again; then let it end."""
    chance = random.Random(seed)
    source = write([{"id": f"r{number}", "prompt": f"question {number}"} for number in range(rows)])
    torn = 0
    with LoopbackCerebras(latency=0.01) as server:
        for _ in range(kills):
            sent = len(server.requests)
            with start(server, source, output) as process:
                more = chance.randint(1, max(2, 2 * rows // (kills + 2)))
                assert server.wait_for_requests(min(sent + more, rows - 1), 60), process.communicate()
                process.kill()
            torn += output.exists() and not output.read_bytes().endswith(b"\n")
        with start(server, source, output) as process:
            said, complaints = process.communicate(timeout=60 + rows / 50)
        assert (complaints, process.returncode) == (b"", 0)
        sends = Counter(request.json["messages"][-1]["content"] for request in server.requests)
    skipped, done, failed, left = map(int, said.split())
    print(
        f"\n{rows} rows, {kills} kills, {torn} torn lines, {sends.total() - rows} sent again, most {max(sends.values())} times"
    )
    found = read(output)
    assert (skipped + done, failed, left) == (rows, 0, 0)
    assert sorted(found) == sorted(f"r{number}" for number in range(rows))
    assert all(record["error"] is None and record["content"] for record in found.values())
    assert len(sends) == rows
    assert sends.total() - rows <= kills * CONCURRENCY
    assert max(sends.values()) <= 1 + kills


def test_400_rows_survive_four_kills(write, output, read):
    """The short form: every row has exactly one good record, and what was under way is all that was sent again."""
    survive(400, 4, 1, write, output, read)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_5_000_rows_survive_twenty_kills(write, output, read):
    """The whole form."""
    survive(5000, 20, 2, write, output, read)
