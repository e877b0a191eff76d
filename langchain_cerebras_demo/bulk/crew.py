"""A bounded number of workers: each takes the next item, asks, hands in the record, and takes the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from langchain_cerebras_demo.bulk.asking import Runnable, asked
from langchain_cerebras_demo.bulk.budget import Spending
from langchain_cerebras_demo.bulk.items import Item
from langchain_cerebras_demo.bulk.patience import said, why_stop
from langchain_cerebras_demo.bulk.problems import BulkOutputError, BulkStoppedError
from langchain_cerebras_demo.bulk.progress import Meter
from langchain_cerebras_demo.bulk.records import BulkRecord

# Rows that are read, and not handed out yet, for each worker: those that wait for a slow reader, or for their turn.
_READ_AHEAD = 2
_READ_AHEAD_IN_ORDER = 4


@dataclass(frozen=True)
class Orders:
    """How a crew works.

    Args:
        concurrency: workers.
        in_order: whether records come in the order of their items.
        give_up_after: failed rows one after the other that stop the run; ``None`` for no bound.
    """

    concurrency: int
    in_order: bool = False
    give_up_after: int | None = None


class Crew:
    """The workers of one run.

    Args:
        runnable: what is asked.
        items: the rows; they are pulled one at a time.
        orders: how they work.
        keep: called with each record in the order in which they are handed out; what it raises ends the run.
        meter: counts.
        spending: says whether another row may be asked.
    """

    def __init__(
        self,
        runnable: Runnable,
        items: AsyncGenerator[Item, None],
        orders: Orders,
        *,
        keep: Callable[[BulkRecord], None],
        meter: Meter,
        spending: Spending,
    ) -> None:
        self._runnable = runnable
        self._items = items
        self._orders = orders
        self._keep = keep
        self._meter = meter
        self._spending = spending
        self.stopped: BulkStoppedError | None = None
        self._broken: Exception | None = None
        self._failures_in_a_row = 0
        self._taken = self._handed_in = 0
        self._early: dict[int, BulkRecord] = {}  # of items whose predecessors are not in yet
        self._ready: asyncio.Queue[BulkRecord | None] = asyncio.Queue()
        read_ahead = _READ_AHEAD_IN_ORDER if orders.in_order else _READ_AHEAD
        self._room = asyncio.Semaphore(read_ahead * orders.concurrency)
        self._pulling = asyncio.Lock()
        self._workers: list[asyncio.Task[None]] = []

    async def records(self) -> AsyncGenerator[BulkRecord, None]:
        """The records as they are handed in, until all workers are home.

        Raises:
            BulkStoppedError: they came home before the items were over.
            Exception: what the items or ``keep`` raised.
        """
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._orders.concurrency)]
        closing = asyncio.create_task(self._close_when_all_are_home())
        try:
            while (record := await self._ready.get()) is not None:
                self._room.release()
                yield record
        finally:
            self.dismiss()
            await closing
        if self._broken is not None:
            raise self._broken
        if self.stopped is not None:
            raise self.stopped

    def stop(self, why: BulkStoppedError, grace: float | None = None) -> None:
        """No worker takes another item; what is under way is finished.

        Args:
            why: raised at the end.
            grace: seconds after which what is still under way is left; ``None`` for as long as it takes.
        """
        self.stopped = self.stopped or why
        if grace is not None:
            asyncio.get_running_loop().call_later(grace, self.dismiss)

    def dismiss(self) -> None:
        """All workers go home at once."""
        for worker in self._workers:
            worker.cancel()

    async def _close_when_all_are_home(self) -> None:
        await asyncio.gather(*self._workers, return_exceptions=True)
        try:
            for position in sorted(self._early):  # the run ends before their predecessors: they are paid for, and kept
                self._hand_out(self._early[position])
        except Exception as problem:  # noqa: BLE001 - as in a worker
            self._broken = self._broken or problem
        finally:
            self._ready.put_nowait(None)

    async def _work(self) -> None:
        try:
            while await self._work_once():
                pass
        except Exception as problem:  # noqa: BLE001 - raised where the records are read
            self._broken = self._broken or problem
            if isinstance(problem, BulkOutputError):  # nothing can be kept any more; else what is under way is finished
                self.dismiss()

    async def _work_once(self) -> bool:
        """Ask for one item; whether there may be another."""
        await self._room.acquire()
        async with self._pulling:
            item = await self._next_item()
            if item is None:
                self._room.release()
                return False
            position, self._taken = self._taken, self._taken + 1
            self._spending.begin()
            self._meter.in_flight += 1
        record, problem = BulkRecord(item.id), None
        try:
            record, problem = await asked(self._runnable, item)
        finally:  # also where it was cancelled
            self._meter.in_flight -= 1
            self._spending.end(record.total_tokens if record.attempts else 0, record.attempts)
            self._meter.requests, self._meter.tokens = self._spending.requests, self._spending.tokens
        why = self._judge(item, record, problem)
        if why is not None:
            self.stop(why)
        if why is not None and why.reason != "failing":
            self._room.release()  # the row was refused for no fault of its own: it is left for the next run
        else:
            self._hand_in(position, record)
        return True

    async def _next_item(self) -> Item | None:
        if self.stopped is not None or self._broken is not None:
            return None
        if not self._spending.may_ask():
            if self._meter.in_flight == 0 and await anext(self._items, None) is not None:
                self.stop(BulkStoppedError(f"the budget is spent: {self._spending}", reason="budget"))
            return None
        return await anext(self._items, None)

    def _judge(self, item: Item, record: BulkRecord, problem: Exception | None) -> BulkStoppedError | None:
        """Whether the run has to end, for what came of one row."""
        if problem is None:
            if record.is_good:
                self._failures_in_a_row = 0
            return None
        why = why_stop(record, problem)
        if why is not None:
            return why
        self._failures_in_a_row += 1
        if self._failures_in_a_row == self._orders.give_up_after:
            return BulkStoppedError(
                f"{self._failures_in_a_row} rows one after the other have failed, the last ({item.place}) with {said(record)}",
                reason="failing",
            )
        return None

    def _hand_in(self, position: int, record: BulkRecord) -> None:
        if not self._orders.in_order:
            self._hand_out(record)
            return
        self._early[position] = record
        while (following := self._early.pop(self._handed_in, None)) is not None:
            self._handed_in += 1
            self._hand_out(following)

    def _hand_out(self, record: BulkRecord) -> None:
        self._keep(record)
        self._meter.note(record)
        self._ready.put_nowait(record)
