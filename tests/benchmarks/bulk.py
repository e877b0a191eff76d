"""Rows a second: a bulk run beside langchain-cerebras' ``abatch``, at the same concurrency, against the same server.

    python -m tests.benchmarks.bulk [--rows 3000] [--concurrency 64] [--rounds 3]

The server is a process of its own and answers after 20 ms. Each round measures both, each in a fresh process of its own
environment; the first rows of each are not counted. Ours reads its rows from a CSV file and writes a CSV file with all its columns and
the answers, records, journal and all; ``abatch`` has its prompts in memory and keeps the answers there. What the output costs is
counted by the thread's CPU clock around everything that it does, the table at the end included. On a machine that others use, the CPU a row is the figure to trust.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.environments import REPOSITORY, clean_environment, ensure
from tests.benchmarks.prepared import MODEL, Plan
from tests.benchmarks.server import Connection, whole_answer

LATENCY = 0.02
PLAN = Plan("reasoning", 60)
PROMPT = "Question {}: how many legs does a spider have, and why?"
WARM_ROWS = 200
KEY = "csk-benchmark"


class SlowConnection(Connection):
    """Answers after ``LATENCY`` seconds."""

    def answer(self, request_line: list[bytes], body: bytes) -> None:
        asyncio.get_running_loop().call_later(LATENCY, self.transport.write, whole_answer(PLAN))


async def serve() -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(SlowConnection, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


@contextmanager
def counted(kind: type, names: tuple[str, ...], spent: list[float]) -> Any:
    """While it lasts, the CPU seconds of these methods are added to ``spent``."""
    before = {name: getattr(kind, name) for name in names}

    def wrapped(method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return method(*args, **kwargs)
            finally:
                spent.append(time.thread_time() - began)

        return call

    for name, method in before.items():
        setattr(kind, name, wrapped(method))
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(kind, name, method)


async def ours(address: str, rows: int, concurrency: int) -> dict[str, Any]:
    """A bulk run over a file."""
    from langchain_cerebras_demo import ChatCerebrasDemo
    from langchain_cerebras_demo.bulk import bulk
    from langchain_cerebras_demo.bulk.output import Output
    from langchain_cerebras_demo.bulk.tables import AnswerTable, TableIndex

    model = ChatCerebrasDemo(base_url=f"{address}/v1", api_key=KEY, model=MODEL, max_tokens=100)
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "in.csv"), Path(folder, "out.csv")
        lines = (f'{number},"{PROMPT.format(number)}",{number * 0.5},a note that is kept\n' for number in range(rows))
        source.write_text("number,question,share,note\n" + "".join(lines))
        await bulk(model, [PROMPT.format(number) for number in range(WARM_ROWS)], concurrency=concurrency).arun()
        spent: list[float] = []
        writing = counted(Output, ("__init__", "write", "find_answer", "sync", "close"), spent)
        reading = counted(TableIndex, ("read",), spent)
        with writing, reading, counted(AnswerTable, ("__init__", "write"), spent):
            cpu, began = time.process_time(), time.perf_counter()
            progress = await bulk(model, source, template="{question}", output=output, concurrency=concurrency).arun()
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        answers = len(output.read_text().splitlines()) - 1
    await model.aclose()
    assert (progress.done, answers) == (rows, rows)
    return {"rows_per_second": rows / seconds, "cpu_ms_a_row": 1000 * cpu / rows, "output_share": sum(spent) / cpu}


async def theirs(address: str, rows: int, concurrency: int) -> dict[str, Any]:
    """``abatch`` over a list."""
    from langchain_cerebras import ChatCerebras

    model = ChatCerebras(base_url=f"{address}/v1", api_key=KEY, model=MODEL, max_tokens=100)
    config = {"max_concurrency": concurrency}
    await model.abatch([PROMPT.format(number) for number in range(WARM_ROWS)], config)
    prompts = [PROMPT.format(number) for number in range(rows)]
    cpu, began = time.process_time(), time.perf_counter()
    answers = await model.abatch(prompts, config)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert len(answers) == rows
    assert all(answer.content for answer in answers)
    return {"rows_per_second": rows / seconds, "cpu_ms_a_row": 1000 * cpu / rows}


SUBJECTS = {"ours": ours, "langchain-cerebras": theirs}


def measure(rows: int, concurrency: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """The figures of both, round by round."""
    pythons = ensure(("langchain-cerebras", "ours"))
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in SUBJECTS}
    module = ["-m", "tests.benchmarks.bulk"]
    with subprocess.Popen(
        [sys.executable, *module, "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=clean_environment(),
    ) as server:
        try:
            address = server.stdout.readline().strip()  # type: ignore[union-attr]  # it is a pipe
            for _ in range(rounds):
                for name in SUBJECTS:
                    facts = [
                        "--subject",
                        name,
                        "--address",
                        address,
                        "--rows",
                        str(rows),
                        "--concurrency",
                        str(concurrency),
                    ]
                    done = subprocess.run(
                        [str(pythons[name]), *module, *facts],
                        check=True,
                        capture_output=True,
                        text=True,
                        cwd=REPOSITORY,
                        env=clean_environment(),
                    )
                    found[name].append(json.loads(done.stdout))
        finally:
            server.kill()
    return found


def report(found: dict[str, list[dict[str, Any]]], concurrency: int) -> str:
    """The medians, and how the two compare."""
    medians = {
        name: {fact: statistics.median(one[fact] for one in samples) for fact in samples[0]}
        for name, samples in found.items()
    }
    ratios = [
        mine["rows_per_second"] / other["rows_per_second"]
        for mine, other in zip(found["ours"], found["langchain-cerebras"], strict=True)
    ]
    mine, other = medians["ours"], medians["langchain-cerebras"]
    lines = [
        f"{name:20} {facts['rows_per_second']:8.0f} rows/s {facts['cpu_ms_a_row']:8.2f} ms CPU a row"
        for name, facts in medians.items()
    ]
    faster = mine["rows_per_second"] / other["rows_per_second"]
    cheaper = other["cpu_ms_a_row"] / mine["cpu_ms_a_row"]
    spread = f"{min(ratios):.1f} to {max(ratios):.1f} by rounds"
    compared = f"{faster:.1f} times the rows a second ({spread}), a row at 1/{cheaper:.1f} of the CPU"
    said = f"{compared}; the output costs {mine['output_share']:.1%} of it"
    head = f"concurrency {concurrency}, {1000 * LATENCY:g} ms latency, medians of {len(ratios)} rounds"
    return "\n".join([head, *lines, said])


def main() -> None:
    """The server, one subject, or the whole measurement."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--subject", choices=SUBJECTS, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve())
    elif given.subject:
        print(json.dumps(asyncio.run(SUBJECTS[given.subject](given.address, given.rows, given.concurrency))))
    else:
        print(report(measure(given.rows, given.concurrency, given.rounds), given.concurrency))


if __name__ == "__main__":
    main()
