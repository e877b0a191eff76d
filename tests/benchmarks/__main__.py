"""All figures, tables and plots with one command, which needs only Python and pip.

    python -m tests.benchmarks            all cases and the newest peers; writes docs/benchmarks/ and the README's table
    python -m tests.benchmarks --quick    less than two minutes, into the cache folder; CI runs it with --guard

This is not pyperf, which times one function in one interpreter: here, whole processes in six environments take turns, their CPU
time is measured, and every answer is checked.
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
LONGEST_REPETITION = 300  # seconds without an answer after which a client is killed


class Process:
    """A server or a client: it reads lines, writes lines of JSON, and ends when its input ends."""

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
        """Return the next answer."""
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
        """Have one more repetition made; return its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("again\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return {"fault": "the client ended"}
        return self.read()

    def close(self) -> None:
        """Let the process end; kill it if it does not."""
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
    """Run the replay server; yield its addresses."""
    with tempfile.TemporaryDirectory() as folder:
        server = Process(python, "server", folder)
        try:
            yield server.read()
        finally:
            server.close()


def measure(name: str, case: Case, rounds: int, subjects: Sequence[str], server: dict[str, Any]) -> dict[str, Any]:
    """Return the samples of a case for each subject. The subjects take turns, so that a noisy minute affects all of them."""
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
        # All start together; starting is not measured.
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


def measure_all(chosen: dict[str, Case], *, quick: bool, is_whole: bool) -> dict[str, Any]:
    """Return the samples of all cases, and the machine and versions they were made with."""
    begin = time.time()
    wanted = QUICK_SUBJECTS if quick else tuple(SUBJECTS)
    names = tuple({SUBJECTS[subject].environment for subject in (*wanted, "raw")})
    pythons = environments.ensure(names, newest=is_whole)
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
    """Return the exit status: 1 if ``--guard`` found a ratio that is more than twice as bad as the published one."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer cases, repetitions and peers")
    parser.add_argument("--only", action="append", metavar="CASE", choices=CASES, help=f"one of {', '.join(CASES)}")
    parser.add_argument("--out", type=Path, help="the folder for figures, tables and plots")
    parser.add_argument(
        "--guard", action="store_true", help="fail if a ratio is more than twice as bad as the published one"
    )
    given = parser.parse_args()
    if given.guard and not (PUBLISHED / "results.json").is_file():
        parser.error("there are no published figures to compare with: make a full run first")
    chosen = {
        name: case
        for name, case in CASES.items()
        if (name in given.only if given.only else case.quick_rounds or not given.quick)
    }
    is_whole = not given.quick and not given.only
    out = given.out or (PUBLISHED if is_whole else environments.cache_folder() / "quick")
    results = measure_all(chosen, quick=given.quick, is_whole=is_whole)
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
    print("\n".join(complaints) or "no ratio is more than twice as bad as the published one")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
