"""Asks for one row. Whatever goes wrong with it becomes its record."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from langchain_cerebras_demo.bulk.items import Item
from langchain_cerebras_demo.bulk.records import BulkRecord
from langchain_cerebras_demo.client.call import waiting_out_refusals
from langchain_cerebras_demo.errors import MAX_MESSAGE_CHARACTERS

# The client hides the key in everything that comes from the service; a user's own resolver or tool may show it still.
_KEY = re.compile(r"csk-[\w-]{4,}")
_RAW = frozenset({"raw", "parsed", "parsing_error"})


class Runnable(Protocol):
    """What can be asked: a chat model, or any LangChain runnable."""

    async def ainvoke(self, input: Any) -> Any:  # noqa: A002 - LangChain's own name
        """The answer."""


class Asked(NamedTuple):
    """A row's record, and the exception behind its error, for whoever decides what to do about it."""

    record: BulkRecord
    problem: Exception | None = None


async def ask(runnable: Runnable, item: Item) -> BulkRecord:
    """The record of one row: its answer, or its error.

    Args:
        runnable: a chat model, ``model.with_structured_output(schema, include_raw=True)``, or any chain. A str it gives is
            the content, a message is taken apart, anything else is ``parsed``.
        item: the row.

    Nothing is raised for a row; cancellation and ``KeyboardInterrupt`` pass through.
    """
    return (await asked(runnable, item)).record


async def asked(runnable: Runnable, item: Item) -> Asked:
    """As ``ask``, with the exception beside the record."""
    if item.problem:
        return Asked(BulkRecord(item.id, error={"type": "BulkInputError", "message": item.problem}))
    began = time.perf_counter()
    problem: Exception | None = None
    with waiting_out_refusals() as sends:
        try:
            answer = await runnable.ainvoke(item.prompt)
            record = to_record(item.id, answer, time.perf_counter() - began)
        except Exception as error:  # noqa: BLE001 - a row's failure is its record, whatever it is
            problem = error.with_traceback(None)
            record = to_failure(item.id, problem, time.perf_counter() - began)
    if sends.total:  # no model of another package, and no answer from a cache
        record = replace(record, attempts=sends.total, refusals=sends.refused)
    return Asked(record, problem)


def to_record(row_id: str | int, answer: Any, seconds: float) -> BulkRecord:
    """The record of an answer.

    Args:
        row_id: the row's id.
        answer: what the runnable gave.
        seconds: from asking to the answer.
    """
    if isinstance(answer, dict) and answer.keys() == _RAW:
        message, parsed, problem = answer["raw"], answer["parsed"], answer["parsing_error"]
    elif hasattr(answer, "response_metadata"):
        message, parsed, problem = answer, None, None
    elif isinstance(answer, str):
        return BulkRecord(row_id, content=answer, timing={"seconds": seconds}, attempts=1)
    else:
        return BulkRecord(row_id, parsed=answer, timing={"seconds": seconds}, attempts=1)
    metadata = message.response_metadata
    made, usage = metadata.get("calls") or [], message.usage_metadata
    is_cached = not made and (usage or {}).get("total_cost") == 0  # how LangChain marks what comes out of its cache
    calls = [{key: call[key] for key in ("name", "args", "id")} for call in message.tool_calls]
    return BulkRecord(
        row_id,
        content=message.content or message.additional_kwargs.get("refusal", ""),
        reasoning=message.additional_kwargs.get("reasoning_content"),
        tool_calls=calls or None,
        parsed=parsed,
        finish_reason=metadata.get("finish_reason"),
        usage=usage,
        timing={"seconds": seconds, **(made[-1].get("time_info", {}) if made else {})},
        attempts=sum(call["attempts"] for call in made) if made else int(not is_cached),
        error=to_error(problem) if problem is not None else _broken_call(message.invalid_tool_calls),
    )


def to_failure(row_id: str | int, problem: Exception, seconds: float) -> BulkRecord:
    """The record of a row that has no answer."""
    attempts = getattr(problem, "attempts", 0)  # an error that counts none was raised before anything was sent
    timing = {"seconds": seconds}
    return BulkRecord(row_id, timing=timing, attempts=attempts, error=to_error(problem))


def to_error(problem: BaseException) -> Mapping[str, str]:
    """``{"type", "message"}`` of an exception: bounded, and without anything that looks like a key of Cerebras."""
    message = _KEY.sub("**********", str(problem))
    return {"type": type(problem).__name__, "message": message[:MAX_MESSAGE_CHARACTERS]}


def _broken_call(calls: list[Any]) -> Mapping[str, str] | None:
    """A call whose arguments are no JSON is no answer that could be used."""
    if not calls:
        return None
    first = calls[0]
    return {
        "type": "InvalidToolCall",
        "message": f"the call of {first.get('name')!r} has arguments that are no JSON object: {first.get('error')}",
    }
