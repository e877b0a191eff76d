"""A bulk run, which sends rows and returns records. Its output can always be resumed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing, closing, nullcontext
from pathlib import Path
from typing import Any, NoReturn

from langchain_cerebras_demo.bulk import exact_json
from langchain_cerebras_demo.bulk.budget import Budget, Spending
from langchain_cerebras_demo.bulk.errors import BulkOutputError, BulkStoppedError
from langchain_cerebras_demo.bulk.estimate import estimate_run
from langchain_cerebras_demo.bulk.journal import fingerprint
from langchain_cerebras_demo.bulk.output import SYNC_SECONDS, Output, check_place, failures_path, records_path
from langchain_cerebras_demo.bulk.progress import Estimate, Meter, Progress, model_within
from langchain_cerebras_demo.bulk.records import BulkRecord, Stored
from langchain_cerebras_demo.bulk.reuse import MemoryStore, Reuse
from langchain_cerebras_demo.bulk.rows import Prompts
from langchain_cerebras_demo.bulk.sources import Source
from langchain_cerebras_demo.bulk.tables import AnswerTable, write_table
from langchain_cerebras_demo.bulk.workers import BulkOptions, WorkerPool, deadline_passed
from langchain_cerebras_demo.chat_models.bulk_support import AnswerCache, without_runs
from langchain_cerebras_demo.net.portal import portal

GRACE_SECONDS = 5.0
"""The time that rows in flight have to finish after a signal."""

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
    budget: Budget | str | dict[str, Any] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    give_up_after: int | None = GIVE_UP_AFTER,
    keep_input: bool = True,
    dedupe: bool = True,
    cache: Any = None,
    format: str | None = None,  # noqa: A002 - the word that users look for
) -> BulkRun:
    """Run many prompts: call ``.run()``, or iterate with ``async for``.

    Args:
        model: a ``ChatCerebrasDemo``, or any LangChain runnable. Its rate limits and its ``max_concurrency`` apply.
        records: a path (``.csv``, ``.tsv``, ``.jsonl``, ``.json``, ``.txt``, ``.parquet``, also with ``.gz``), a pandas, Polars or
            Arrow table, or an iterable or async iterable of texts, messages or dicts. A dict has a ``prompt`` or ``messages``, or
            the columns of the template; ``id`` is optional, and otherwise derived from the row's number and content.
        output: a table (``.csv``, ``.tsv``, ``.json``, ``.parquet``) of the input's columns and the answers, in the order of the
            rows, or a ``.jsonl`` file of records in the order of their arrival. Failed rows are in ``<output>.failures.jsonl``.
            ``None`` writes no file.
        concurrency: rows in flight at once.
        ordered: whether records are returned in the order of the rows, and a ``.jsonl`` output is put in that order when the run
            ends, as tables always are. While the run lasts, it is in the order of arrival.
        template: a str with ``{column}``, or a LangChain prompt template. A row that is a text has the column ``text``.
        system: the system prompt of conversations that have none.
        schema: the schema of the answers, as for ``with_structured_output``; the value is in ``parsed``, and its fields are columns
            of the table.
        resume: whether to continue an existing output; without one, a new output is begun.
        budget: what this run may spend: ``"2M tokens"``, ``"500 requests"``, ``"$5"``, ``"by 07:00"``, several of these with commas,
            or a ``Budget``.
        on_progress: called with the progress, at most five times a second and at the end; its exceptions end the run.
        give_up_after: consecutive failures that stop the run; ``None`` for no bound.
        keep_input: whether records and tables include the columns of the input.
        dedupe: whether rows with equal prompts are sent once and share the answer. Use ``False`` to sample several answers.
        cache: a LangChain cache for answers across runs; ``None`` for none. Only answers without an error are stored.
        format: the format of the input file, in place of its suffix: ``"csv"``, ``"jsonl"``, ...

    Raises:
        ValueError: an invalid argument; the message names it.
    """
    workers: Any = concurrency
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise ValueError(f"concurrency={concurrency!r}: use an integer of at least 1")
    return BulkRun(
        model,
        records,
        output=output,
        options=BulkOptions(concurrency, ordered, give_up_after),
        prompts=Prompts(template, system, keep_input=keep_input),
        schema=schema,
        settings=fingerprint(model, template, system, schema),
        resume=resume,
        budget=Budget.from_value(budget),
        on_progress=on_progress,
        dedupe=dedupe,
        cache=cache,
        kind=format,
    )


class BulkRun:
    """One run, made by ``bulk``: iterate over it, or call ``run`` or ``arun``. It can be used once."""

    def __init__(
        self,
        model: Any,
        records: Any,
        *,
        output: str | os.PathLike[str] | None,
        options: BulkOptions,
        prompts: Prompts,
        schema: Any,
        settings: dict[str, Any],
        resume: bool,
        budget: Budget,
        on_progress: Callable[[Progress], None] | None,
        dedupe: bool = True,
        cache: Any = None,
        kind: str | None = None,
    ) -> None:
        if resume and output is None:
            raise ValueError("resume=True needs an output: pass output=, the file to continue")
        self._runnable = without_runs(model if schema is None else _with_schema(model, schema))
        self._model = model
        self._schema = schema
        self._output_path = None if output is None else Path(output)
        self._options = options
        self._settings = settings
        self._resume = resume
        self._budget = budget
        self._on_progress = on_progress
        self._dedupe = dedupe
        self._cache = None if cache is None else AnswerCache(cache, _to_key(settings))
        self._meter = Meter(model)
        if budget.usd is not None and not self._meter.has_price:
            raise ValueError(
                f"budget.usd={budget.usd:g}: the catalogue has no price for the model; use tokens or requests"
            )
        self._source = Source(records, prompts, self._meter, self._check_stop, kind)
        self._reported_at = 0.0
        self._workers: WorkerPool | None = None
        self._output: Output | None = None
        self._is_temporary = False
        self._estimate: Estimate | None = None
        self._stopped: BulkStoppedError | None = None
        self._signals: list[int] = []
        self._was_used = False

    @property
    def progress(self) -> Progress:
        """The progress so far."""
        why, estimate = self._stopped, self._estimate
        if why is None:
            return self._meter.progress(estimate=estimate)
        return self._meter.progress(
            estimate=estimate, stopped=why.reason, message=str(why), retry_after=why.retry_after
        )

    @property
    def failures_path(self) -> Path | None:
        """The file of the failed rows; it exists once a row has failed."""
        return None if self._output_path is None or self._is_temporary else failures_path(self._output_path)

    def estimate(self) -> Estimate:
        """Estimate the requests, tokens, dollars and time of the run, without sending anything. This reads the rows once more.

        The progress then includes the estimate.

        Raises:
            BulkInputError: the input cannot be used, or its rows can be read only once.
        """
        path = self._output_path if self._resume else None
        schema = self._settings.get("schema")
        self._estimate = estimate_run(
            self._model,
            self._source.items_again(),
            records=None if path is None else records_path(path),
            schema=schema if isinstance(schema, dict) else None,
            dedupe=self._dedupe,
            concurrency=self._options.concurrency,
        )
        return self._estimate

    def to_table(self) -> Any:
        """Return the answers so far as a ``pyarrow.Table`` (extra ``parquet``), in the order of the rows, failed ones included.

        The columns of the input come first, then those of the answers. Convert it by ``.to_pandas()`` or ``polars.from_arrow(...)``.
        This may be called during and after the run.

        Raises:
            BulkError: the run has not begun, was iterated over without an output, or pyarrow is missing.
        """
        if self._output is None:
            raise BulkOutputError(
                "there are no answers for a table: call run() or arun() first, or pass output= to iterate"
            )
        with closing(self._table(self._output)) as table:
            return table.to_arrow()

    def stop(self, message: str = "stopped") -> None:
        """Start no further row; rows in flight have a few seconds to finish. Call it on the run's own event loop."""
        self._stopped = self._stopped or BulkStoppedError(message, reason="interrupted")
        if self._workers is not None:
            self._workers.stop(self._stopped, GRACE_SECONDS)

    def __aiter__(self) -> AsyncGenerator[BulkRecord, None]:
        """Iterate over the records, in the order of arrival or of the rows. Leaving early cancels the rows in flight.

        Raises:
            BulkInputError: the input is invalid; nothing was sent, unless it is an iterable with a duplicate id.
            BulkOutputError: the output cannot be used or written.
            BulkStoppedError: the run ended before all rows were sent; all records were returned.
        """
        if self._was_used:
            raise RuntimeError("a bulk run can be used only once: create another one")
        self._was_used = True
        return self._iterate()

    def __iter__(self) -> NoReturn:
        """Raise an error: records are iterated over with ``async for``.

        Raises:
            TypeError: always; it says what to use.
        """
        raise TypeError("a bulk run cannot be iterated over with `for`: use `async for`, or `.run()` in a script")

    def __repr__(self) -> str:
        state = "started" if self._was_used else "not started: .run(), await .arun() or async for"
        return f"<BulkRun of {self._source.label}, {state}>"

    async def arun(self, *, signals: bool = False) -> Progress:
        """Run to the end, or until the run is stopped; ``stopped`` of the progress then says why.

        Args:
            signals: whether SIGINT and SIGTERM stop the run: the first one finishes the rows in flight, the second one
                cancels them. On the main thread only.

        Raises:
            BulkInputError, BulkOutputError: as when iterating.
        """
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        if self._output_path is None and not self._was_used:  # keep the records for to_table
            folder = tempfile.mkdtemp(prefix="cerebras-bulk-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._output_path, self._is_temporary = Path(folder, "records.jsonl"), True

        def on_signal(number: int) -> None:
            self._signals.append(number)
            loop.call_soon_threadsafe(self._stop_by_signal, me)

        try:
            with trap_signals(on_signal) if signals else nullcontext():
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
        """Run synchronously, also in notebooks; see ``arun``.

        A signal that stopped the run takes effect at the end: Ctrl-C raises ``KeyboardInterrupt``.

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
            if close is not None:  # the loop ends here, and its connections with it
                await close()

    def _stop_by_signal(self, running: asyncio.Task[Any] | None) -> None:
        first = signal.Signals(self._signals[0])
        name = "Ctrl-C" if first == signal.SIGINT else first.name
        if len(self._signals) == 1:
            self.stop(f"stopped by {name}")
        elif self._workers is not None:
            if len(self._signals) == 2 and self._stopped is not None and (rows := self._meter.in_flight):
                were = "row in flight was" if rows == 1 else "rows in flight were"
                self._stopped.args = (f"{self._stopped}; {rows:,} {were} given up",)
            self._workers.cancel()
        if self._workers is None and running is not None:
            running.cancel()

    async def _iterate(self) -> AsyncGenerator[BulkRecord, None]:
        async with AsyncExitStack() as stack:
            if self._output_path is not None:  # before the input is read, which may take a while
                await asyncio.to_thread(check_place, self._output_path, self._source.path)
            rows = await self._source.open(stack)
            output = self._output = await self._open_output(stack)
            done = output.done if output is not None else None
            items = await stack.enter_async_context(aclosing(self._source.items(rows, done)))
            store = output or stack.enter_context(closing(MemoryStore()))
            spending = Spending(self._budget)
            self._workers = WorkerPool(
                self._runnable,
                items,
                self._options,
                keep=store.write if output is not None or self._dedupe else Stored,
                meter=self._meter,
                spending=spending,
                reuse=Reuse(store if self._dedupe else None, self._cache, self._schema),
            )
            if self._stopped is not None:
                self._workers.stop(self._stopped)
            if spending.seconds_left is not None:
                stack.callback(self._stop_at_deadline(spending.seconds_left).cancel)
            try:
                async with aclosing(self._workers.records()) as records:
                    async for record in records:
                        self._report()
                        yield record
            except BulkStoppedError as why:
                self._stopped = why
                await self._write_table(output)
                raise
            except GeneratorExit:
                await self._write_table(output)
                raise
            else:
                await self._write_table(output)
            finally:
                self._report(is_over=True)

    def _table(self, output: Output, *, is_over: bool = False) -> AnswerTable:
        return output.table(self._source.types(), is_whole_input=self._source.is_read, is_over=is_over)

    async def _write_table(self, output: Output | None) -> None:
        meter = self._meter
        has_rows = meter.done or meter.failed or meter.skipped
        if output is not None and output.is_table and (has_rows or self._stopped is None):
            await asyncio.to_thread(lambda: write_table(self._table(output, is_over=True), output.path))

    def _stop_at_deadline(self, seconds: float) -> asyncio.TimerHandle:
        """Stop at the deadline; return the timer."""
        why, workers = deadline_passed(), self._workers

        def stop() -> None:
            self._stopped = self._stopped or why
            if workers is not None:
                workers.stop(why, GRACE_SECONDS)

        if seconds <= 0:
            stop()
        return asyncio.get_running_loop().call_later(max(0.0, seconds), stop)

    def _check_stop(self) -> None:
        if self._stopped is not None:
            raise self._stopped

    async def _open_output(self, stack: AsyncExitStack) -> Output | None:
        if self._output_path is None:
            return None
        opening = asyncio.ensure_future(
            asyncio.to_thread(
                Output,
                self._output_path,
                self._settings,
                resume=self._resume,
                source=self._source.path,
                ordered=self._options.ordered,
            )
        )
        try:
            output = await asyncio.shield(opening)
        except asyncio.CancelledError:  # the thread continues, and its output must not stay locked
            opening.add_done_callback(lambda done: None if done.exception() else done.result().close())
            raise
        stack.push_async_callback(self._close, output)
        is_over = asyncio.Event()
        syncing = asyncio.create_task(_sync_regularly(output, is_over, self.stop))

        async def end() -> None:
            is_over.set()
            await syncing

        stack.push_async_callback(end)
        return output

    async def _close(self, output: Output) -> None:
        await asyncio.shield(asyncio.to_thread(output.close, self._ending()))  # syncs, and may rewrite the records

    def _ending(self) -> dict[str, Any]:
        progress = self.progress
        left = f"{progress.left} left" if progress.left else ""
        return {
            "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "how": progress.stopped or left or "finished",
            "done": progress.done,
            "failed": progress.failed,
            "skipped": progress.skipped,
            "requests": progress.requests,
            "tokens": progress.tokens,
            "cost_usd": progress.cost_usd,
        }

    def _report(self, *, is_over: bool = False) -> None:
        if self._on_progress is not None:
            now = time.monotonic()
            if is_over or now - self._reported_at >= _PROGRESS_SECONDS:
                self._reported_at = now
                self._on_progress(self.progress)


@contextlib.contextmanager
def trap_signals(on_signal: Callable[[int], None]) -> Iterator[None]:
    """Call ``on_signal`` with the number of each SIGINT and SIGTERM instead of ending. This has no effect outside the main thread.

    It uses ``signal.signal``, not the loop's ``add_signal_handler``, which Windows does not have, so ``on_signal`` must wake the
    loop by ``call_soon_threadsafe``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, lambda received, _frame: on_signal(received))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


async def _sync_regularly(output: Output, is_over: asyncio.Event, stop: Callable[[str], None]) -> None:
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


def _with_schema(model: Any, schema: Any) -> Any:
    make = getattr(model, "with_structured_output", None)
    if make is None:
        raise ValueError(
            f"schema= needs a chat model, and this is a {type(model).__name__}: put "
            "model.with_structured_output(schema) into the chain instead"
        )
    return make(schema, include_raw=True)


def _to_key(settings: dict[str, Any]) -> str:
    """Return the settings that a cached answer depends on besides its prompt, which includes template and system prompt."""
    return exact_json.dumps({name: settings[name] for name in ("model", "schema")}).decode()
