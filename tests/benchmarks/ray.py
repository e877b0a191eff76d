"""Rows a second an actor of Ray Data, beside one process of a bulk run, against the same server with 20 ms latency.

    python -m tests.benchmarks.ray [--rows 6000] [--rounds 2]

The server is a process of its own (that of ``tests.benchmarks.bulk``). Each round measures one bulk run in a fresh process, then one
Ray job with one actor, with two, and with two that share a limit too high to be met, which shows what sharing costs. Start-up is left
aside: of a bulk run the first 200 rows, of each actor the first two blocks; it is printed by itself, with the memory of Ray's
processes (Linux). Needs ray in the Python that runs it.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.benchmarks.bulk import KEY, PROMPT
from tests.benchmarks.environments import REPOSITORY
from tests.benchmarks.prepared import MODEL

IN_FLIGHT = 64
ROWS_PER_BLOCK = 500
SKIPPED_BLOCKS = 2
CASES = {
    "one actor": (1, "auto"),
    "two actors": (2, "auto"),
    "two actors, one limit": (2, {"requests_per_minute": 10_000_000}),
}


def one_process(address: str, rows: int) -> float:
    """Rows a second of a bulk run."""
    command = ["-m", "tests.benchmarks.bulk", "--subject", "ours", "--address", address, "--rows", str(rows)]
    command += ["--concurrency", str(IN_FLIGHT)]
    done = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True, cwd=REPOSITORY)
    return float(json.loads(done.stdout)["rows_per_second"])


def ray_job(address: str, rows: int, actors: int, rate_limit: Any) -> tuple[float, list[float]]:
    """Seconds until the first row was asked, and rows a second of each actor."""
    import pyarrow as pa
    import ray

    from langchain_cerebras_demo import ChatCerebrasDemo
    from langchain_cerebras_demo.ray import mapping

    class TimedRows(mapping.AskRows):
        """Says beside each row who asked its block, and when: one clock serves all processes of a machine."""

        async def __call__(self, table: Any) -> Any:
            began = time.monotonic()
            table = await super().__call__(table)
            for name, value in (("began", began), ("ended", time.monotonic()), ("actor", float(os.getpid()))):
                table = table.append_column(name, pa.array([value] * table.num_rows))
            return table

    asked_at = time.monotonic()
    mapping.AskRows = TimedRows  # type: ignore[misc]  # the class of the next job
    prompts = [{"id": number, "prompt": PROMPT.format(number)} for number in range(rows)]
    dataset = mapping.ray_map_chat(
        ray.data.from_items(prompts),
        model=ChatCerebrasDemo(base_url=f"{address}/v1", model=MODEL, max_tokens=100),
        rate_limit=rate_limit,
        concurrency=actors,
        in_flight=IN_FLIGHT,
        rows_per_block=ROWS_PER_BLOCK,
        num_cpus=0.25,
    )
    answered = dataset.select_columns(["answer", "began", "ended", "actor"]).take_all()
    mapping.AskRows = TimedRows.__base__  # type: ignore[assignment,misc]
    assert len(answered) == rows
    assert all(row["answer"] for row in answered)
    blocks = sorted({(row["actor"], row["began"], row["ended"]) for row in answered})
    rates = [rate(list(own)) for _, own in groupby(blocks, key=lambda block: block[0])]
    return min(began for _, began, _ in blocks) - asked_at, rates


def rate(blocks: list[tuple[float, float, float]]) -> float:
    """Rows a second of one actor, its first blocks aside."""
    counted = blocks[SKIPPED_BLOCKS:]
    # Two blocks are under way at once: what the skipped ones leave open when the first counted one begins ends within it.
    seconds = max(ended for _, _, ended in counted) - blocks[SKIPPED_BLOCKS - 1][2]
    return len(counted) * ROWS_PER_BLOCK / seconds


def memory(folder: Path) -> float:
    """MiB of Ray's own processes, without this one: what is shared among them counts once."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().decode(errors="replace")
            if str(folder) in line or line.startswith("ray::"):
                sizes = (process / "smaps_rollup").read_text()
                total += next(int(size.split()[1]) for size in sizes.splitlines() if size.startswith("Pss:"))
        except OSError:
            continue  # it has ended
    return total / 1024


def main() -> None:
    """Prints all figures, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_TOKEN=secrets.token_hex(32), CEREBRAS_API_KEY=KEY)
    found: dict[str, list[float]] = {}
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    command = [sys.executable, "-m", "tests.benchmarks.bulk", "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as server:
        import ray

        try:
            address = server.stdout.readline().strip()  # type: ignore[union-attr]  # it is a pipe
            for _ in range(given.rounds):
                found.setdefault("one process", []).append(one_process(address, given.rows // 2))
            began = time.monotonic()
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=str(folder))
            start, idle = time.monotonic() - began, memory(folder)
            ray.data.DataContext.get_current().enable_progress_bars = False
            firsts = []
            for _ in range(given.rounds):
                for name, (actors, rate_limit) in CASES.items():
                    first, rates = ray_job(address, given.rows * actors // 2, actors, rate_limit)
                    firsts.append(first)
                    found.setdefault(name, []).extend(rates)
        finally:
            ray.shutdown()
            server.kill()
            shutil.rmtree(folder, ignore_errors=True)
    report(found)
    print(
        f"ray.init took {start:.1f} s; a job asks its first row after {statistics.median(firsts):.1f} s; {idle:.0f} MiB idle"
    )


def report(found: dict[str, list[float]]) -> None:
    """Prints the rates, each beside that of one process."""
    alone = statistics.median(found["one process"])
    print(f"{IN_FLIGHT} in flight, 20 ms latency, blocks of {ROWS_PER_BLOCK}, {os.cpu_count()} cores; medians")
    for name, rates in found.items():
        middle = statistics.median(rates)
        each = ", ".join(f"{one:.0f}" for one in rates)
        print(f"{name:22} {middle:6.0f} rows/s each, {middle / alone:4.0%} of one process   ({each})")


if __name__ == "__main__":
    main()
