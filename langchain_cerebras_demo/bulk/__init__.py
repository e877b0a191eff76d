"""Bulk runs: many prompts, sent within the account's limits, written as they are answered, and resumable.

    from langchain_cerebras_demo import run_bulk

    run_bulk(llm, "in.jsonl", output="out.jsonl", resume=True).run()
    async for record in run_bulk(llm, rows): ...

``sources`` reads rows from files and iterables, ``rows`` turns a row into a prompt, ``workers`` sends the prompts and makes
``records`` of the answers, ``output`` and ``journal`` keep those, and ``run`` ties everything together.
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
