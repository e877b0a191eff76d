"""Bulk runs: many prompts, sent within the account's limits, written as they are answered, and resumable.

    from langchain_cerebras_demo import run_bulk

    run_bulk(llm, "in.csv", template="Is {text} positive?", output="out.csv", resume=True).run()
    async for record in run_bulk(llm, rows): ...

``files`` and ``sources`` read rows, ``rows`` turns a row into a prompt, ``workers`` sends the prompts, ``reuse`` finds answers that are
already known, ``records`` defines the result of a row, ``output``, ``answered`` and ``journal`` store the results, ``tables`` and
``columns`` make tables of them, ``budget`` and ``estimate`` calculate costs, and ``run`` connects all of these.
"""

from __future__ import annotations

from langchain_cerebras_demo.bulk.budget import Budget
from langchain_cerebras_demo.bulk.errors import BulkError, BulkInputError, BulkOutputError, BulkStoppedError
from langchain_cerebras_demo.bulk.progress import Estimate, Progress
from langchain_cerebras_demo.bulk.records import BulkRecord
from langchain_cerebras_demo.bulk.rows import Item
from langchain_cerebras_demo.bulk.run import BulkRun, bulk
from langchain_cerebras_demo.bulk.workers import Runnable, ask

run_bulk = bulk
"""``bulk`` under its name in the top-level package, where ``bulk`` is this module."""

__all__ = [
    "Budget",
    "BulkError",
    "BulkInputError",
    "BulkOutputError",
    "BulkRecord",
    "BulkRun",
    "BulkStoppedError",
    "Estimate",
    "Item",
    "Progress",
    "Runnable",
    "ask",
    "bulk",
    "run_bulk",
]
