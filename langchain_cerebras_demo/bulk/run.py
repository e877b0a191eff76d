"""A bulk run: rows in, records out, and whatever ends it leaves something that can be gone on with."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import AsyncExitStack, aclosing, nullcontext
from pathlib import Path
from typing import Any

from langchain_cerebras_demo.bulk.budget import Budget, Spending
from langchain_cerebras_demo.bulk.crew import Crew, Orders
from langchain_cerebras_demo.bulk.feed import Feed
from langchain_cerebras_demo.bulk.fingerprint import fingerprint
from langchain_cerebras_demo.bulk.output import SYNC_SECONDS, Output, check_place
from langchain_cerebras_demo.bulk.problems import BulkOutputError, BulkStoppedError
from langchain_cerebras_demo.bulk.progress import Meter, Progress, model_within
from langchain_cerebras_demo.bulk.prompts import Prompts
from langchain_cerebras_demo.bulk.records import BulkRecord
from langchain_cerebras_demo.bulk.signals import heard
from langchain_cerebras_demo.chat_models.bulk_support import without_runs
from langchain_cerebras_demo.net.portal import portal

GRACE_SECONDS = 5.0
"""How long what is under way may take after a signal."""

GIVE_UP_AFTER = 200

_PROGRESS_SECONDS = 0.2


def bulk(
    model: Any,
    records: str | os.PathLike[str] | Iterable[Any] | AsyncIterable[Any],
    *,
    output: str | os.PathLike[str] | None = None,
    concurrency: int = 64,
    ordered: bool = False,
    template: Any = None,
    system: str | None = None,
    schema: Any = None,
    resume: bool = False,
    budget: Budget | str | dict[str, float] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    give_up_after: int | None = GIVE_UP_AFTER,
) -> BulkRun:
    """Many rows to be asked: ``async for record in`` it, or ``.run()`` it with an output.

    Args:
        model: a ``ChatCerebrasDemo``, or any LangChain runnable. Its rate limits and its ``max_concurrency`` hold.
        records: a path (``.jsonl``, ``.csv``, ``.tsv``, ``.parquet``), or an iterable, async too, of texts, messages or dicts. A
            dict has a ``prompt`` or ``messages``, or the columns of the template; ``id`` is optional: a row without one is known by
            its number and its content.
        output: a JSONL file for the answers; failed rows go to ``<output>.failures.jsonl``. ``None`` keeps nothing.
        concurrency: rows asked at once.
        ordered: whether records come in the order of the rows. After a resume, rows that had failed come later.
        template: a str with ``{column}``, or a LangChain prompt template.
        system: said first in every conversation that has no system message.
        schema: what the answers are to be, as for ``with_structured_output``; the value is ``parsed``.
        resume: whether to go on with an output that is there; where none is, it begins.
        budget: what this run may spend: ``"2M tokens"``, ``"500 requests"``, or a ``Budget``.
        on_progress: called with the progress, at most five times a second and at the end; what it raises ends the run.
        give_up_after: failed rows one after the other that stop the run; ``None`` for no bound.

    Raises:
        ValueError: an argument that is none; the message names it.
    """
    return BulkRun(
        model,
        records,
        output=output,
        orders=Orders(_checked_count("concurrency", concurrency), ordered, give_up_after),
        prompts=Prompts(template, system),
        schema=schema,
        settings=fingerprint(model, template, system, schema),
        resume=resume,
        budget=Budget.from_value(budget),
        on_progress=on_progress,
    )


class BulkRun:
    """One run, made by ``bulk``: iterate over it, or let ``run`` or ``arun`` do so. It can be used once."""

    def __init__(
        self,
        model: Any,
        records: Any,
        *,
        output: str | os.PathLike[str] | None,
        orders: Orders,
        prompts: Prompts,
        schema: Any,
        settings: dict[str, Any],
        resume: bool,
        budget: Budget,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        if resume and output is None:
            raise ValueError("resume=True without an output: give output=, the file to go on with")
        self._runnable = without_runs(model if schema is None else _with_schema(model, schema))
        self._model = model
        self._output_path = None if output is None else Path(output)
        self._orders = orders
        self._settings = settings
        self._resume = resume
        self._budget = budget
        self._on_progress = on_progress
        self._meter = Meter(model)
        self._feed = Feed(records, prompts, self._meter, self._go_on)
        self._told_at = 0.0
        self._crew: Crew | None = None
        self._stopped: BulkStoppedError | None = None
        self._signals: list[int] = []
        self._was_used = False

    @property
    def progress(self) -> Progress:
        """The run as it stands."""
        why = self._stopped
        if why is None:
            return self._meter.progress()
        return self._meter.progress(stopped=why.reason, message=str(why), retry_after=why.retry_after)

    @property
    def failures_path(self) -> Path | None:
        """Where failed rows stand; the file is there when one has failed."""
        path = self._output_path
        return None if path is None else path.with_name(f"{path.name}.failures.jsonl")

    def stop(self, message: str = "stopped") -> None:
        """No other row is asked; what is under way has a few seconds. To be called on the run's own loop."""
        self._stopped = self._stopped or BulkStoppedError(message, reason="interrupted")
        if self._crew is not None:
            self._crew.stop(self._stopped, GRACE_SECONDS)

    def __aiter__(self) -> AsyncGenerator[BulkRecord, None]:
        """The records, as they come or in order. Leaving early leaves what is under way.

        Raises:
            BulkInputError: the input cannot be used; nothing was sent, but where an iterable's id came a second time.
            BulkOutputError: the output cannot be used or written.
            BulkStoppedError: the run ended before its input; all records that there are have been handed out.
        """
        if self._was_used:
            raise RuntimeError("a bulk run can be used once: make another one")
        self._was_used = True
        return self._iterate()

    async def arun(self, *, signals: bool = False) -> Progress:
        """Run to the end, or until it is stopped: the progress then says why.

        Args:
            signals: whether SIGINT and SIGTERM stop it, the first with what is under way finished, the second at once. On the main
                thread alone.

        Raises:
            BulkInputError, BulkOutputError: as when iterating.
        """
        loop, me = asyncio.get_running_loop(), asyncio.current_task()

        def on_signal(number: int) -> None:
            self._signals.append(number)
            loop.call_soon_threadsafe(self._heard, me)

        try:
            with heard(on_signal) if signals else nullcontext():
                async with aclosing(self.__aiter__()) as records:
                    async for _ in records:
                        pass
        except BulkStoppedError as why:
            self._stopped = why
        except asyncio.CancelledError:
            if not self._signals:
                raise
        return self.progress

    def run(self) -> Progress:
        """As ``arun``, for callers without a loop; in a notebook too.

        A signal that stopped it is raised again at the end: ``KeyboardInterrupt`` for Ctrl-C.

        Raises:
            BulkInputError, BulkOutputError: as when iterating.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self._run_alone())
        else:
            portal.run(self.arun)
        if self._signals:
            signal.raise_signal(self._signals[0])
        return self.progress

    async def _run_alone(self) -> None:
        try:
            await self.arun(signals=True)
        finally:
            close = getattr(model_within(self._model), "aclose", None)
            if close is not None:  # the loop ends here, and with it the use of its connections
                await close()

    def _heard(self, running: asyncio.Task[Any] | None) -> None:
        name = signal.Signals(self._signals[0]).name
        if len(self._signals) == 1:
            self.stop(f"stopped by {name}")
        elif self._crew is not None:
            self._crew.dismiss()
        if self._crew is None and running is not None:
            running.cancel()

    async def _iterate(self) -> AsyncGenerator[BulkRecord, None]:
        async with AsyncExitStack() as stack:
            if self._output_path is not None:  # before the input is read, which takes its time
                check_place(self._output_path, self._feed.path)
            rows = await self._feed.open(stack)
            output = await self._open_output(stack)
            items = await stack.enter_async_context(aclosing(self._feed.items(rows, output.done if output else None)))
            spending = Spending(self._budget)
            crew = Crew(
                self._runnable,
                items,
                self._orders,
                keep=output.write if output is not None else _keep_nothing,
                meter=self._meter,
                spending=spending,
            )
            self._crew = crew
            if self._stopped is not None:
                crew.stop(self._stopped)
            try:
                async with aclosing(crew.records()) as records:
                    async for record in records:
                        self._tell()
                        yield record
            except BulkStoppedError as why:
                self._stopped = why
                raise
            finally:
                self._tell(is_over=True)

    def _go_on(self) -> None:
        if self._stopped is not None:
            raise self._stopped

    async def _open_output(self, stack: AsyncExitStack) -> Output | None:
        if self._output_path is None:
            return None
        opening = asyncio.ensure_future(
            asyncio.to_thread(Output, self._output_path, self._settings, resume=self._resume, source=self._feed.path)
        )
        try:
            output = await asyncio.shield(opening)
        except asyncio.CancelledError:  # the thread goes on: what it opens must not stay locked
            opening.add_done_callback(lambda done: None if done.exception() else done.result().close())
            raise
        stack.callback(lambda: output.close(self._ending()))
        is_over = asyncio.Event()
        syncing = asyncio.create_task(_sync_now_and_then(output, is_over, self.stop))

        async def end() -> None:
            is_over.set()
            await syncing

        stack.push_async_callback(end)
        return output

    def _ending(self) -> dict[str, Any]:
        stands = self.progress
        left = "" if stands.left in {None, 0} else f"{stands.left} left"
        return {
            "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "how": stands.stopped or left or "finished",
            "done": stands.done,
            "failed": stands.failed,
            "skipped": stands.skipped,
            "requests": stands.requests,
            "tokens": stands.tokens,
        }

    def _tell(self, *, is_over: bool = False) -> None:
        if self._on_progress is not None:
            now = time.monotonic()
            if is_over or now - self._told_at >= _PROGRESS_SECONDS:
                self._told_at = now
                self._on_progress(self.progress)


async def _sync_now_and_then(output: Output, is_over: asyncio.Event, stop: Callable[[str], None]) -> None:
    while True:
        try:
            await asyncio.wait_for(is_over.wait(), SYNC_SECONDS)
        except asyncio.TimeoutError:
            try:
                await asyncio.to_thread(output.sync)
            except BulkOutputError as problem:
                stop(str(problem))
                raise
        else:
            return


def _keep_nothing(_record: BulkRecord) -> None:
    """Where there is no output, whoever iterates has the records."""


def _with_schema(model: Any, schema: Any) -> Any:
    make = getattr(model, "with_structured_output", None)
    if make is None:
        raise ValueError(
            f"schema= goes with a chat model, and this is a {type(model).__name__}: put "
            "model.with_structured_output(schema) into the chain instead"
        )
    return make(schema, include_raw=True)


def _checked_count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r}: give a whole number from 1 on")
    return value
