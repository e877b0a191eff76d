"""Bulk runs: many prompts, sent within the account's limits, written as they are answered, and resumable.

    from langchain_cerebras_demo import run_bulk

    run_bulk(llm, "in.csv", template="Is {text} positive?", output="out.csv", resume=True).run()
    async for record in run_bulk(llm, rows): ...

``files`` and ``sources`` read rows, ``rows`` turns a row into a prompt, ``workers`` sends the prompts, ``reuse`` knows those that need not
be sent, ``records`` has the answers, ``output``, ``answered`` and ``journal`` keep them, ``tables`` makes tables of them, ``budget`` and
``estimate`` count what a run costs, and ``run`` ties everything together.
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
"""``bulk`` under the name that it has at the top of the package, where ``bulk`` is this module."""

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
