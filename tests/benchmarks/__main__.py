"""All figures, tables and plots by one command, from nothing: it needs Python and pip alone.

    python -m tests.benchmarks            everything, into docs/benchmarks/
    python -m tests.benchmarks --quick    less than two minutes, into the cache folder; what CI runs with --guard

Not pyperf: it times one function in one interpreter, and here is CPU time of whole processes in five environments, in
turn, with a check of every delivery.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import environments, report
from tests.benchmarks.cases import CASES, QUICK_SUBJECTS, SUBJECTS, Case

REPOSITORY = environments.REPOSITORY
PUBLISHED = REPOSITORY / "docs" / "benchmarks"
LONGEST_REPETITION = 300  # seconds of silence after which a client counts as hanging


class Process:
    """A server or a client: lines in, lines of JSON out; it ends when its input does."""

    def __init__(self, python: Path, module: str, *arguments: str, **environment: str) -> None:
        command = [str(python), "-m", f"tests.benchmarks.{module}", *arguments]
        self._process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environments.clean_environment(**environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self) -> dict[str, Any]:
        """The next answer."""
        assert self._process.stdout is not None
        watch = threading.Timer(LONGEST_REPETITION, self._process.kill)
        watch.start()
        line = self._process.stdout.readline()
        watch.cancel()
        if not line:
            return {"ready": False, "why": "the client ended", "fault": "the client ended"}
        found: dict[str, Any] = json.loads(line)
        return found

    def repeat(self) -> dict[str, Any]:
        """One more repetition's answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("again\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return {"fault": "the client ended"}
        return self.read()

    def close(self) -> None:
        """Lets it end; kills it where it does not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextlib.contextmanager
def serving(python: Path) -> Iterator[dict[str, Any]]:
    """The replay server's addresses, while it runs."""
    with tempfile.TemporaryDirectory() as folder:
        server = Process(python, "server", folder)
        try:
            yield server.read()
        finally:
            server.close()


def measure(name: str, case: Case, rounds: int, subjects: Sequence[str], server: dict[str, Any]) -> dict[str, Any]:
    """A case's samples of each subject. The subjects take turns, so that a noisy minute hits all of them."""
    pythons = environments.ensure(tuple({SUBJECTS[subject].environment for subject in subjects}))
    address = server["https" if case.over_tls else "http"]
    clients = {
        subject: Process(
            pythons[SUBJECTS[subject].environment],
            "worker",
            subject,
            name,
            address,
            **({"SSL_CERT_FILE": server["authority"]} if case.over_tls else {}),
        )
        for subject in subjects
    }
    try:
        # All start together: that is not measured.
        results = {subject: {**client.read(), "samples": []} for subject, client in clients.items()}
        for _ in range(rounds):
            for subject, client in clients.items():
                samples = results[subject]["samples"]
                if results[subject]["ready"] and not any(sample["fault"] for sample in samples):
                    samples.append(client.repeat())
    finally:
        for client in clients.values():
            client.close()
    return results


def measure_all(chosen: dict[str, Case], *, quick: bool) -> dict[str, Any]:
    """The samples of all cases, with what they were made on."""
    begin = time.time()
    wanted = QUICK_SUBJECTS if quick else tuple(SUBJECTS)
    pythons = environments.ensure(tuple({SUBJECTS[subject].environment for subject in (*wanted, "raw")}))
    found: dict[str, Any] = {}
    with serving(pythons["ours"]) as server:
        for name, case in chosen.items():
            since = time.time()
            subjects = [subject for subject in wanted if subject in case.subjects]
            rounds = case.quick_rounds if quick else case.rounds
            found[name] = measure(name, case, rounds or case.rounds, subjects, server)
            print(f"{case.title:<48} {time.time() - since:6.1f} s", file=sys.stderr, flush=True)
    return {
        "quick": quick,
        "seconds": round(time.time() - begin),
        **report.surroundings(pythons["ours"]),
        "cases": found,
    }


def main() -> int:
    """The exit status: 1 where ``--guard`` found a ratio worse than half of the published one."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer cases, repetitions and peers")
    parser.add_argument("--only", action="append", metavar="CASE", choices=CASES, help=f"of {', '.join(CASES)}")
    parser.add_argument("--out", type=Path, help="where figures, table and plots go")
    parser.add_argument(
        "--guard", action="store_true", help="fail where a ratio is worse than half of the published one"
    )
    given = parser.parse_args()
    if given.guard and not (PUBLISHED / "results.json").is_file():
        parser.error("nothing is published yet that a guard could hold figures against: make a full run first")
    chosen = {
        name: case
        for name, case in CASES.items()
        if (name in given.only if given.only else case.quick_rounds or not given.quick)
    }
    out = given.out or (environments.cache_folder() / "quick" if given.quick or given.only else PUBLISHED)
    results = measure_all(chosen, quick=given.quick)
    summary = report.summarize(results)
    report.write(summary, out)
    if out == PUBLISHED:
        report.publish(summary, REPOSITORY / "README.md")
    print(report.to_markdown(summary))
    print(f"written to {out}")
    if not given.guard:
        return 0
    published = json.loads((PUBLISHED / "results.json").read_text(encoding="utf-8"))
    complaints = report.guard(summary, published)
    print("\n".join(complaints) or "the guard has nothing to say against it")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
