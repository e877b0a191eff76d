"""Many prompts: asked within the account's limits, written as they come, taken up again after whatever ended the run.

    from langchain_cerebras_demo.bulk import bulk

    bulk(llm, "in.jsonl", output="out.jsonl", resume=True).run()
    async for record in bulk(llm, rows): ...

Reading from the bottom: ``sources`` and ``tables`` make rows of files and iterables, ``prompts`` makes items of rows, ``asking`` and
``patience`` make a record of an item, ``output`` and ``journal`` keep it, ``crew`` is the bounded number of workers that do so, ``run``
puts it together.
"""

from __future__ import annotations

from langchain_cerebras_demo.bulk.asking import Runnable, ask
from langchain_cerebras_demo.bulk.budget import Budget
from langchain_cerebras_demo.bulk.items import Item
from langchain_cerebras_demo.bulk.problems import BulkError, BulkInputError, BulkOutputError, BulkStoppedError
from langchain_cerebras_demo.bulk.progress import Progress
from langchain_cerebras_demo.bulk.records import BulkRecord
from langchain_cerebras_demo.bulk.run import BulkRun, bulk

__all__ = [
    "Budget",
    "BulkError",
    "BulkInputError",
    "BulkOutputError",
    "BulkRecord",
    "BulkRun",
    "BulkStoppedError",
    "Item",
    "Progress",
    "Runnable",
    "ask",
    "bulk",
]
