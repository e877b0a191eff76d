"""What ``cerebras-demo bulk`` shows: a bar or lines while it runs, sentences at the end, an exit code."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from langchain_cerebras_demo.bulk import BulkRun, Progress
from langchain_cerebras_demo.cli.guard import EXIT_FAILED, EXIT_INTERRUPTED
from langchain_cerebras_demo.cli.notes import note
from langchain_cerebras_demo.cli.terminal import is_terminal

EXIT_SOME_FAILED = 3

_BAR_SECONDS = 0.25
_LINE_SECONDS = 5.0


async def watch(run: BulkRun, model: Any) -> Progress:
    """The run to its end, with its progress shown."""
    running = asyncio.ensure_future(run.arun(signals=True))
    try:
        with shown() as (show, seconds), without_waits():
            while not running.done():
                await asyncio.wait({running}, timeout=seconds)
                show(run.progress)
        return running.result()
    finally:
        running.cancel()
        await model.aclose()


@contextmanager
def shown() -> Iterator[tuple[Callable[[Progress], None], float]]:
    """What shows the progress, and after how many seconds again: a bar on a terminal, else a line every few seconds."""
    if not is_terminal(sys.stderr):
        yield _Lines().show, _BAR_SECONDS
        return
    columns = (BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task("reading the input", total=None)

        def show(progress: Progress) -> None:
            ended = progress.done + progress.failed + progress.skipped
            bar.update(task, completed=ended, total=progress.total, description=describe(progress), refresh=True)

        yield show, _BAR_SECONDS


@contextmanager
def without_waits() -> Iterator[None]:
    """Inside, the log does not say of every row that it waited for a limit: in a long run most do."""
    logger = logging.getLogger("langchain_cerebras_demo")

    def is_wanted(record: logging.LogRecord) -> bool:
        return record.levelno != logging.INFO or "for the rate limit" not in str(record.msg)

    logger.addFilter(is_wanted)
    try:
        yield
    finally:
        logger.removeFilter(is_wanted)


class _Lines:
    """A plain line every few seconds."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def show(self, progress: Progress) -> None:
        if time.monotonic() - self._said_at >= _LINE_SECONDS:
            self._said_at = time.monotonic()
            note(describe(progress))


def describe(progress: Progress) -> str:
    """One line on a run under way: rows, rates, errors by kind, the time left, the limit in force."""
    ended = progress.done + progress.failed + progress.skipped
    of_all = f"{ended:,} rows" if progress.total is None else f"{ended:,} of {progress.total:,} rows"
    facts = [
        of_all,
        f"{progress.rows_per_second:,.1f} rows/s",
        f"{progress.tokens_per_second:,.0f} tokens/s",
        _errors(progress),
        f"{_span(progress.seconds_left)} left" if progress.seconds_left is not None else "",
        f"limit: {progress.limit}" if progress.limit else "",
        f"{progress.message}, {progress.in_flight} under way" if progress.stopped else "",
    ]
    return ", ".join(filter(None, facts))


def summary(progress: Progress, run: BulkRun) -> list[str]:
    """What is said at the end."""
    before = f"{progress.skipped:,} were done before, " if progress.skipped else ""
    failed = f"{progress.failed:,} failed ({_errors(progress)})" if progress.failed else "none failed"
    pace = (progress.done + progress.failed) / max(progress.seconds, 1e-9)
    spent = f"{progress.requests:,} requests, {progress.tokens:,} tokens, {_span(progress.seconds)}, {pace:,.1f} rows/s"
    rows = f"{before}{progress.done:,} rows answered, {failed}; {spent}"
    sentences = ["the input has no rows" if progress.total == 0 else rows]
    if progress.failed:
        sentences.append(f"the failed rows stand in {run.failures_path}; --resume asks them again")
    if progress.stopped:
        back = progress.retry_after
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + back)) if back is not None else ""
        left = "rows are left" if progress.left is None else f"{progress.left:,} rows are left"
        come_back = f", from {when} on (in {_span(back or 0.0)})" if when else ""
        sentences.append(f"stopped: {progress.message}. {left}: --resume goes on{come_back}")
    return sentences


def exit_code(progress: Progress) -> int:
    """The command's exit code."""
    if progress.stopped:
        return EXIT_INTERRUPTED if progress.stopped == "interrupted" else EXIT_FAILED
    return EXIT_SOME_FAILED if progress.failed else 0


def _errors(progress: Progress) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in progress.errors.items())


def _span(seconds: float) -> str:
    """``0:07``, ``12:34`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
