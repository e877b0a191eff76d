"""One client process: one case of one subject.

    python -m tests.benchmarks.worker SUBJECT CASE ADDRESS

It warms up and writes ``{"ready": ...}``. For every line on its standard input it makes one repetition and writes one line of
JSON: the CPU time (user and system, all threads of the process), the wall time, and what was wrong with the answers. Answers are
checked after the clock has stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import subprocess
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.benchmarks.cases import CASES, SUBJECTS, Case
from tests.benchmarks.plain_subjects import SUBJECT_CLASSES
from tests.benchmarks.prepared import Expected, Plan, expected
from tests.benchmarks.subjects import Delivery, NotThereError, Subject

_TIMED = """\
import time
from tests.benchmarks.worker import answer_once
wall, cpu = time.perf_counter(), time.process_time()
{}
print(time.process_time() - cpu, time.perf_counter() - wall)
"""

# What their actions deliver is one text, however many pieces it was sent in.
_WHOLE = frozenset({"invoke", "ainvoke", "abatch", "structured", "adding"})


def fault(case: Case, wanted: Expected, subject: Subject, got: Delivery) -> str | None:
    """Return what is wrong with a delivery: its text, its usage or its number of chunks; ``None`` if nothing is."""
    is_whole = case.action in _WHOLE
    for what in ("text", "reasoning", "arguments"):
        sent, came = getattr(wanted, what), [piece for piece in getattr(got, what) if piece]
        if (letters := len("".join(came))) != len("".join(sent)):
            return f"{letters} of {len(''.join(sent))} characters of {what}"
        if "".join(came) != "".join(sent):
            return f"another {what}"
        if not is_whole and (len(came) > len(sent) if subject.merges_deltas else len(came) != len(sent)):
            return f"{len(came)} chunks of {what} instead of {len(sent)}"
    if got.seen_by_handler is not None and "".join(got.seen_by_handler) != "".join(wanted.text):
        return "the handler did not see the whole text"
    if subject.reports_usage and case.action != "structured" and got.tokens != case.plan.deltas:
        return f"usage of {got.tokens} tokens instead of {case.plan.deltas}"
    return None


@dataclass
class Client:
    """A case of a subject, ready to be repeated."""

    name: str
    subject: Subject
    case: Case
    loop: asyncio.AbstractEventLoop

    def __post_init__(self) -> None:
        self.wanted = expected(self.case.plan)
        self.kept: list[Any] = []  # models and streams whose memory is measured, and what a repetition needs

    def warm_up(self) -> None:
        """Do the action once, so that the connection is open and late imports are done. Not measured."""
        action = {
            "abatch": "ainvoke",
            "memory_rest": "ainvoke",
            "memory_stream": "open",
            "memory_left": "astream",
        }.get(self.case.action, self.case.action)
        if action in {"import", "first_call"}:
            self.started()
        elif action == "adding":
            self.kept += self.loop.run_until_complete(self.subject.chunks_to_add())
        elif action == "bind_tools":
            self.kept += self.subject.make_tools(self.case.tools)
            if self.case.strict_dicts:
                self.kept = to_dicts(self.kept)
            self.bound()
        elif action in {"stream", "invoke"}:
            getattr(self.subject, action)()
        elif action in {"constructor", "memory_model"}:
            self.kept.append(self.subject.build())
        else:
            self.kept.append(self.loop.run_until_complete(getattr(self.subject, action)()))

    def repeat(self) -> dict[str, Any]:
        """Make one repetition. If the library raises an exception, that is the fault."""
        try:
            return self.measured()
        except Exception as error:  # noqa: BLE001 - any library's
            return {"fault": f"{type(error).__name__}: {error}"[:200]}

    def measured(self) -> dict[str, Any]:
        """Return the figures of one repetition."""
        action = self.case.action
        if action in {"import", "first_call"}:
            return self.started()
        if action == "memory_rest":
            return {"bytes": resident_bytes(), "fault": None}
        if action in {"memory_model", "memory_stream"}:
            return self.remembered()
        if action == "memory_left":
            return self.left_behind()
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        made = {"constructor": self.constructed, "bind_tools": self.bound, "adding": self.added}.get(action, self.asked)
        deliveries = made()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return {"cpu": cpu, "wall": wall, "fault": self.first_fault(deliveries)}

    def asked(self) -> list[Delivery]:
        if self.case.action in {"stream", "invoke"}:
            return [getattr(self.subject, self.case.action)() for _ in range(self.case.calls)]
        return self.loop.run_until_complete(self.asked_in_loop())

    async def asked_in_loop(self) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for _ in range(self.case.calls):
            if self.case.action == "abatch":
                deliveries += await self.subject.abatch(self.case.streams)
            elif self.case.streams == 1:
                deliveries.append(await getattr(self.subject, self.case.action)())
            else:
                call = getattr(self.subject, self.case.action)
                deliveries += await asyncio.gather(*(call() for _ in range(self.case.streams)))
        return deliveries

    def constructed(self) -> list[Delivery]:
        for _ in range(self.case.calls):
            self.subject.build()
        return []

    def bound(self) -> list[Delivery]:
        for _ in range(self.case.calls):
            self.subject.bind_tools(self.kept, strict=True if self.case.strict_dicts else None)
        return []

    def added(self) -> list[Delivery]:
        return [self.subject.add(self.kept)]

    def first_fault(self, deliveries: Sequence[Delivery]) -> str | None:
        faults = (fault(self.case, self.wanted, self.subject, got) for got in deliveries)
        return next((found for found in faults if found), None)

    def started(self) -> dict[str, Any]:
        """Start a new interpreter, which measures its own import, or also its first answer."""
        statement = self.subject.import_statement
        if self.case.action == "first_call":
            statement = f"answer_once(*{(self.name, self.subject.address, self.case.plan.path)!r})"
        script = _TIMED.format(statement)
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        cpu, wall = map(float, done.stdout.split())
        return {"cpu": cpu, "wall": wall, "fault": None}

    def remembered(self) -> dict[str, Any]:
        """Return how much the process has grown by the models or streams that it opened."""
        gc.collect()
        before = resident_bytes()
        wrong = None
        if self.case.action == "memory_model":
            self.kept.append([self.subject.build() for _ in range(self.case.calls)])
        else:
            wrong = self.loop.run_until_complete(self.open_streams())
        gc.collect()
        return {"bytes": resident_bytes() - before, "fault": wrong}

    def left_behind(self) -> dict[str, Any]:
        """Return the memory that is still held when a stream is over and only its text is kept."""
        gc.collect()
        tracemalloc.start()
        got = self.loop.run_until_complete(self.subject.astream())
        wrong = fault(self.case, self.wanted, self.subject, got)
        del got
        gc.collect()
        left, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return {"bytes": left, "fault": wrong}

    async def open_streams(self) -> str | None:
        opened = await asyncio.gather(*(self.subject.open() for _ in range(self.case.streams)))
        self.kept.append(opened)
        begin = self.wanted.text[0]
        return None if all(first.startswith(begin) for first, _ in opened) else "another first piece"


def resident_bytes() -> int:
    """Return the memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        raise NotThereError("no /proc to read the memory from") from None
    return pages * os.sysconf("SC_PAGE_SIZE")


def make_client(name: str, case: Case, address: str) -> Client:
    """Return a client that has warmed up.

    Raises:
        NotThereError: The subject cannot do what the case asks for.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    subject = SUBJECT_CLASSES[name](address + case.plan.path, case.plan)
    client = Client(name, subject, case, loop)
    if subject.needs_model and case.action not in {"import", "first_call", "decode"}:
        subject.model = subject.build()
    client.warm_up()
    return client


def answer_once(name: str, address: str, path: str) -> None:
    """Import a library, make its model and wait for one whole answer, as a short script does."""
    subject = SUBJECT_CLASSES[name](address, Plan.from_path(path))
    if subject.needs_model:
        subject.model = subject.build()
    asyncio.run(subject.ainvoke())


def to_dicts(tools: list[Any]) -> list[Any]:
    """Return LangChain tools as dicts in OpenAI's form."""
    from langchain_core.utils.function_calling import convert_to_openai_tool

    return [convert_to_openai_tool(tool) for tool in tools]


def versions(name: str) -> dict[str, str]:
    """Return the versions of the packages that are measured."""
    return {package: metadata.version(package) for package in SUBJECTS[name].packages}


def raise_file_limit() -> None:
    """Allow a thousand sockets, for a thousand streams."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192) if most > 0 else 8192, most))


def main(name: str, case: Case, address: str, say: Callable[[dict[str, Any]], None]) -> Client | None:
    """Make a repetition for each line of standard input. Return the client, which keeps open what it has opened."""
    raise_file_limit()
    warnings.showwarning = lambda *_, **__: None  # not by a filter: LangChain sets its own when it is imported
    try:
        client = make_client(name, case, address)
    except NotThereError as missing:
        say({"ready": False, "why": str(missing)})
        return None
    except Exception as error:  # noqa: BLE001 - any library's
        say({"ready": False, "why": f"{type(error).__name__}: {error}"[:200], "fault": True})
        return None
    say({"ready": True, "versions": versions(name)})
    for _ in sys.stdin:
        say(client.repeat())
    return client


if __name__ == "__main__":
    kept = main(sys.argv[1], CASES[sys.argv[2]], sys.argv[3], lambda line: print(json.dumps(line), flush=True))
    os._exit(0)  # closing what is open is not measured
