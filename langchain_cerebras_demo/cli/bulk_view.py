"""The output of ``cerebras-demo bulk``: a bar or lines while it runs, a summary at the end, the exit code."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from langchain_cerebras_demo.bulk import BulkRecord, BulkRun, Estimate, Progress
from langchain_cerebras_demo.cli import remedies
from langchain_cerebras_demo.cli.failures import EXIT_FAILED, EXIT_INTERRUPTED, hide_secrets
from langchain_cerebras_demo.cli.terminal import count, is_terminal, note
from langchain_cerebras_demo.policy.abilities import ESCAPE

termios: Any = None
with suppress(ImportError):  # Windows has none
    termios = importlib.import_module("termios")

EXIT_SOME_FAILED = 3

_UNREAD = "BulkInputError"  # the class of error of a row that could not be read or made into a prompt

_BAR_SECONDS = 0.25
_LINE_SECONDS = 5.0
_ROWS_READ = 1000


async def watch(run: BulkRun, model: Any) -> Progress:
    """Run to the end, showing the progress."""
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
    """Return a function that shows the progress, and the seconds between two calls. It shows a bar on a terminal, otherwise lines."""
    if not is_terminal(sys.stderr):
        yield _Lines().show, _BAR_SECONDS
        return
    columns = (BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
    bar_kind = Bar(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
    with without_echoed_controls(), bar_kind as bar:
        task = bar.add_task("reading the input", total=None)

        def show(progress: Progress) -> None:
            ended = progress.done + progress.failed + progress.skipped
            bar.update(task, completed=ended, total=progress.total, description=describe(progress), refresh=True)

        yield show, _BAR_SECONDS


@contextmanager
def without_echoed_controls() -> Iterator[None]:
    """Keep the terminal from writing ``^C`` into the bar, which would then be drawn on another line."""
    if termios is None or not is_terminal(sys.stdin) or not _is_in_front():
        yield
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    local_flags = 3  # their index in termios' list
    now = list(before)
    now[local_flags] &= ~termios.ECHOCTL
    termios.tcsetattr(terminal, termios.TCSANOW, now)
    try:
        yield
    finally:
        if _is_in_front():
            termios.tcsetattr(terminal, termios.TCSANOW, before)


def _is_in_front() -> bool:
    """Return whether this process is in the foreground: the system stops a background one that changes the terminal."""
    return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()


@contextmanager
def without_waits() -> Iterator[None]:
    """Drop log lines about waits for a rate limit: in a long run, most rows wait."""
    logger = logging.getLogger("langchain_cerebras_demo")

    def is_wanted(record: logging.LogRecord) -> bool:
        return record.levelno != logging.INFO or "for the rate limit" not in str(record.msg)

    logger.addFilter(is_wanted)
    try:
        yield
    finally:
        logger.removeFilter(is_wanted)


class _Lines:
    """Writes a line every few seconds, and one when the run begins to stop."""

    def __init__(self) -> None:
        self._written_at = time.monotonic()
        self._is_stopping = False

    def show(self, progress: Progress) -> None:
        if progress.stopped == "interrupted" and progress.in_flight and not self._is_stopping:
            self._is_stopping = True
            rows = f"{count(progress.in_flight, 'row')} in flight"
            note(f"stopping: waiting a few seconds for {rows}; press Ctrl-C again to end the run at once")
        if time.monotonic() - self._written_at >= _LINE_SECONDS:
            self._written_at = time.monotonic()
            note(describe(progress))


def describe(progress: Progress) -> str:
    """Return the progress in one line: rows, rates, errors by class, the time left, the limit in force."""
    ended = progress.done + progress.failed + progress.skipped
    of_all = f"{ended:,} rows" if progress.total is None else f"{ended:,} of {progress.total:,} rows"
    facts = [
        "stopping, press Ctrl-C again to end at once"
        if progress.stopped == "interrupted"
        else progress.message.rstrip("."),
        of_all,
        f"{progress.in_flight:,} in flight" if progress.in_flight else "",
        f"{progress.rows_per_second:,.1f} rows/s",
        f"{progress.tokens_per_second:,.0f} tokens/s",
        _errors(progress),
        f"{_span(progress.seconds_left)} left" if progress.seconds_left is not None else "",
        f"limit: {progress.limit}" if progress.limit else "",
    ]
    return ", ".join(filter(None, facts))


def summary(progress: Progress, run: BulkRun, output: str) -> list[str]:
    """Return the sentences that are shown at the end."""
    if progress.total and progress.skipped == progress.total and not progress.stopped:
        return [f"all {progress.total:,} rows were answered before; nothing was sent"]
    before = f"{progress.skipped:,} answered before, " if progress.skipped else ""
    reused = [
        _shared(progress.duplicates),
        f"{progress.cached:,} from the cache" if progress.cached else "",
        f"{progress.changed:,} whose prompt had changed" if progress.changed else "",
    ]
    how = f" ({', '.join(filter(None, reused))})" if any(reused) else ""
    failed = f"{progress.failed:,} failed ({_errors(progress)})" if progress.failed else "none failed"
    pace = (progress.done + progress.failed) / max(progress.seconds, 1e-9)
    spent = f"{count(progress.requests, 'request')}, {count(progress.tokens, 'token')}, {_span(progress.seconds)}, {pace:,.1f} rows/s"
    rows = f"{before}{count(progress.done, 'row')} answered{how}, {failed}; {spent}"
    sentences = ["the input has no rows" if progress.total == 0 else rows]
    if progress.done and progress.requests and progress.cost_usd is not None:
        sentences.append(_cost(progress.cost_usd, progress.estimate))
    if progress.done:
        sentences.append(f"written to {output}")
    if progress.failed:
        sentences += _failures(progress, run)
    if progress.stopped:
        back = progress.retry_after
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + back)) if back is not None else ""
        left = "rows are left" if progress.left is None else f"{count(progress.left, 'row')} {_are(progress.left)} left"
        when = f" after {when} (in {_span(back or 0.0)})" if when else ""
        why = progress.message.replace(f" {ESCAPE}", "").rstrip(".")  # a remedy that exists only in Python
        if remedy := remedies.in_message(why):
            why = f"{why}. {remedy.rstrip('.')}"
        stopped = why if why.startswith("stopped ") else f"stopped: {why}"
        stopped = f"{stopped}. {left}: continue with --resume{when}"
        sentences.insert(0 if progress.stopped == "refused" else len(sentences), stopped)
    return sentences


def _shared(rows: int) -> str:
    return f"{rows:,} of them share{'s' if rows == 1 else ''} the answer of an equal row" if rows else ""


def describe_estimate(estimate: Estimate) -> str:
    """Return an estimate in one sentence."""
    tokens = f"{estimate.input_tokens:,} tokens of prompts and {estimate.output_tokens:,} of answers"
    cost = f"${estimate.cost_usd:,.4f} at list prices" if estimate.cost_usd is not None else "price unknown"
    time_ = f"at least {_span(estimate.seconds)}" if estimate.seconds is not None else "time unknown"
    rows = f"{count(estimate.rows, 'row')}, {count(estimate.requests, 'request')} to send"
    return f"estimate: {rows}, {tokens}, {cost}, {time_} ({estimate.basis})"


def _cost(usd: float, estimate: Estimate | None) -> str:
    """Return the cost of the run, and the estimate to compare."""
    if estimate is None or estimate.cost_usd is None:
        return f"${usd:,.4f} at list prices"
    return f"${usd:,.4f} at list prices; the estimate was ${estimate.cost_usd:,.4f} and {count(estimate.total_tokens, 'token')}"


def _failures(progress: Progress, run: BulkRun) -> list[str]:
    """Return where the failed rows are, how to send them again, and the most frequent reason."""
    if run.failures_path is None:
        return []
    if progress.done or progress.skipped:  # the journal refuses another model once there are answers
        how = "--resume sends them again with the same settings; another model (-m) needs another OUTPUT"
    else:
        how = "--resume sends them again, also with another model (-m), since there are no answers yet"
    unread = progress.errors.get(_UNREAD, 0)
    if unread == progress.failed:
        first = _errors_in(run.failures_path).most_common(1)[0][0]
        first = first.removeprefix(f"{_UNREAD}: ")
        rows = f"{count(unread, 'row')} could not be read ({first})"
        return [f"{rows}: correct the input and use --resume; these rows are in {run.failures_path}"]
    sentences = [f"the failed rows are in {run.failures_path}; {how}"]
    if progress.stopped != "failing":  # then the message contains the reason
        sentences.append(commonest(run.failures_path))
    return sentences


def commonest(failures: Path) -> str:
    """Return a sentence with the most frequent error of the failed rows; only the first thousand rows are read.

    Args:
        failures: the file of the failed rows; it has at least one.
    """
    messages = _errors_in(failures)
    message, number = messages.most_common(1)[0]
    return f"the most frequent reason ({number:,} of {messages.total():,}): {hide_secrets(message)}"


def _errors_in(failures: Path) -> Counter[str]:
    """Return the errors of the failed rows and how often each occurred; only the first thousand rows are read."""
    with failures.open("rb") as file:
        records = [BulkRecord.from_json(line) for line in itertools.islice(file, _ROWS_READ)]
    return Counter(record.error_text for record in records)


def exit_code(progress: Progress) -> int:
    """Return the command's exit code."""
    if progress.stopped:
        return EXIT_INTERRUPTED if progress.stopped == "interrupted" else EXIT_FAILED
    if progress.failed:
        return EXIT_SOME_FAILED if progress.done or progress.skipped else EXIT_FAILED
    return 0


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _errors(progress: Progress) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in progress.errors.items())


def _span(seconds: float) -> str:
    """Return ``0:07``, ``12:34`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
