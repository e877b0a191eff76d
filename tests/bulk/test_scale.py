"""Many rows: a limit that is used and kept among faults, and memory that does not grow.

The whole forms have the figures that were asked for; the short ones the same in seconds. ``-s`` prints the figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo, RateLimit
from langchain_cerebras_demo.bulk import bulk
from langchain_cerebras_demo.bulk.output import records_path
from langchain_cerebras_demo.testing import CutAfter, Disconnect, LoopbackCerebras, LoopbackModel, Quota, Reply, Status
from tests.support.processes import ROOT, environment

FAULTS = 0.02
POISON = 0.01
WINDOW = LoopbackModel("small", context_window=1000)
MOST_MEGABYTES = 300


def answers(count, chance):
    """So many steps, of which two in a hundred are faults."""
    kinds = (Status(500), Status(503), CutAfter(events=1), Disconnect())
    return [chance.choice(kinds) if chance.random() < FAULTS else Reply(text="Because.") for _ in range(count)]


def lines(count, chance):
    """So many rows; one in a hundred can never be answered: half of these are too long, half are no JSON."""
    for number in range(count):
        if chance.random() >= POISON:
            yield json.dumps({"id": f"r{number}", "prompt": f"Why {number}?"})
        elif chance.random() < 0.5:
            yield json.dumps({"id": f"p{number}", "prompt": "Why? " * 1000})
        else:
            yield '{"id": "torn'


async def endure(rows, requests_minute, skipped, write, output, read):
    """Ask for all rows; the progress, the share of the limit that was used after ``skipped`` seconds, and that of the 429."""
    chance = random.Random(1)
    source = write(("\n".join(lines(rows, chance)) + "\n").encode())
    quota = Quota(600_000_000, requests_minute=requests_minute, requests_burst=requests_minute // 60)
    with LoopbackCerebras(models=[WINDOW], quota=quota) as server:
        server.script(*answers(2 * rows, chance))
        model = ChatCerebrasDemo(
            model="small",
            base_url=server.base_url,
            api_key=server.key,
            max_tokens=50,
            rate_limit=RateLimit(requests_per_minute=requests_minute),
            aliases={},
        )
        progress = await bulk(model, source, output=output).arun()
        await model.aclose()
    times = [admission.time for admission in quota.admissions]
    counted = [time for time in times if time >= times[0] + skipped]
    use = (len(counted) - 1) / (counted[-1] - counted[0]) * 60 / requests_minute
    refused = quota.refused / (quota.refused + quota.admitted)
    print(f"\n{rows} rows: use {use:.1%}, 429 {refused:.2%}, {progress}")
    failures = read(output.with_name("out.jsonl.failures.jsonl")) if progress.failed else {}
    assert progress.done + progress.failed == rows
    assert len(read(output)) == progress.done
    assert len(failures) == progress.failed
    kinds = {record["error"]["type"] for record in failures.values()}
    assert kinds <= {"ContextOverflowError", "BulkInputError", "InternalServerError", "APIConnectionError"}
    assert progress.failed / rows == pytest.approx(POISON, abs=0.006 if rows > 5000 else 0.02)
    return use, refused


async def test_a_limit_is_kept_and_used_among_faults_and_poison(write, output, read):
    """The short form: four seconds at 3,000 requests a minute. Its first second is not counted."""
    use, refused = await endure(200, 3000, 1.0, write, output, read)
    assert use >= 0.85
    assert refused < 0.01


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_3_000_requests_a_minute_are_used_to_95_percent_among_faults_and_poison(write, output, read):
    """Two minutes: all rows end as good or as a recorded error, under 1 % of the answers are 429."""
    use, refused = await endure(6000, 3000, 5.0, write, output, read)
    assert use >= 0.95
    assert refused < 0.01


# -- memory


def ask_in_a_process(rows, output):
    """What a process of its own says of its memory while it asks for generated rows; the server is another."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.bulk", "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    ) as server:
        try:
            address = server.stdout.readline().strip()
            done = subprocess.run(
                [sys.executable, "-m", "tests.bulk.test_scale", address, str(rows), str(output)],
                capture_output=True,
                text=True,
                timeout=60 + rows / 200,
                check=False,
                cwd=ROOT,
                env=environment(),
            )
        finally:
            server.kill()
    assert (done.stderr, done.returncode) == ("", 0)
    return json.loads(done.stdout)


def assert_constant_memory(rows, most_bytes_a_row, output):
    told = ask_in_a_process(rows, output)
    samples = told["samples"]
    settled = [sample for sample in samples if sample[0] >= rows * 0.3]
    growth = (settled[-1][1] - settled[0][1]) / (settled[-1][0] - settled[0][0])
    print(
        f"\n{rows:,} rows in {told['seconds']:.0f} s ({rows / told['seconds']:.0f} a second); "
        f"{settled[0][1] / 2**20:.1f} to {settled[-1][1] / 2**20:.1f} MiB, {growth:+.1f} bytes a row, most {told['most'] / 2**20:.1f} MiB"
    )
    assert told["done"] == rows
    with output.open("rb") as table, records_path(output).open("rb") as records:
        assert sum(1 for _ in table) == rows + 1
        assert sum(1 for _ in records) == rows
    assert told["most"] < MOST_MEGABYTES * 1_000_000
    assert growth < most_bytes_a_row


proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")


@proc
@pytest.mark.parametrize(
    ("rows", "most_bytes_a_row"), [(2500, 1500), pytest.param(20_000, 200, marks=pytest.mark.long)]
)
def test_rows_are_asked_for_in_constant_memory(rows, most_bytes_a_row, tmp_path):
    """The short forms, with a table of all columns: no row is kept whole, which would be more than two thousand bytes."""
    assert_constant_memory(rows, most_bytes_a_row, tmp_path / "out.csv")


@proc
@pytest.mark.long
@pytest.mark.timeout(5400)
def test_a_million_generated_rows_in_under_300_megabytes(tmp_path):
    """The whole form; the indices of ids and prompts are bounded."""
    assert_constant_memory(1_000_000, 100, tmp_path / "out.csv")


async def ask(address, rows, output):
    """The process that asks: rows from a generator, answers to a file, its memory a hundred times."""
    model = ChatCerebrasDemo(base_url=f"{address}/v1", api_key="csk-scale", rate_limit=None)
    samples = []

    def sample(progress):
        if not samples or progress.done - samples[-1][0] >= rows / 100:
            samples.append((progress.done, resident_bytes()))

    source = (
        {
            "id": f"row {number}",
            "text": f"Question {number}?",
            "n": number,
            "share": number / rows,
            "note": "kept " * 400,
        }
        for number in range(rows)
    )
    progress = await bulk(model, source, template="{text}", output=output, on_progress=sample).arun()
    samples.append((progress.done, resident_bytes()))
    await model.aclose()
    return {
        "done": progress.done,
        "seconds": progress.seconds,
        "samples": samples,
        "most": most_resident_bytes(),
    }


def most_resident_bytes():
    """Return the peak, the writing of the table included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(sys.argv[1], int(sys.argv[2]), sys.argv[3]))))
