"""Reuse of answers: of an equal row of the same output, or from a cache."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol

from langchain_cerebras_demo.bulk.errors import BulkError
from langchain_cerebras_demo.bulk.records import BulkRecord, Stored
from langchain_cerebras_demo.bulk.rows import Item, prompt_text
from langchain_cerebras_demo.client.call import Sends

_CACHE_KIB = 16 * 1024


class Outcome(NamedTuple):
    """A row's record, the exception that caused its error, and the requests that were sent for it (``None`` without any)."""

    record: BulkRecord
    problem: Exception | None = None
    sends: Sends | None = None


class Store(Protocol):
    """A store of the answers of a run by their prompts."""

    def write(self, records: Sequence[BulkRecord]) -> Stored:
        """Store records."""

    def find_answer(self, prompt_hash: str) -> BulkRecord | None:
        """Return the record of an answered row with an equal prompt; ``None`` if there is none."""


class Cache(Protocol):
    """A cache of answers across runs: texts by the text of their prompts."""

    async def find(self, prompt: str) -> str | None:
        """Return the answer to a prompt; ``None`` if there is none."""

    async def add(self, prompt: str, answer: str) -> None:
        """Store an answer."""


class MemoryStore:
    """The answers of a run without an output, in bounded memory: the rest is in a temporary file. It must be closed."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("CREATE TABLE answers (hash TEXT PRIMARY KEY, record BLOB) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def write(self, records: Sequence[BulkRecord]) -> Stored:
        """Store the records of rows that were sent and answered. A value of the user's own that cannot be converted to JSON is a problem."""
        stored: list[BulkRecord] = []
        answers: list[tuple[str, bytes]] = []
        problem: Exception | None = None
        for record in records:
            if record.is_good and record.prompt_hash and record.reused is None:
                try:
                    answers.append((record.prompt_hash, replace(record, input=None).to_json()))
                except Exception as error:  # noqa: BLE001 - of any kind; the caller raises it
                    problem = error
                    continue
            stored.append(record)
        self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", answers)
        return Stored(stored, problem)

    def find_answer(self, prompt_hash: str) -> BulkRecord | None:
        """See ``Store.find_answer``."""
        found = self._database.execute("SELECT record FROM answers WHERE hash = ?", (prompt_hash,)).fetchone()
        return None if found is None else BulkRecord.from_json(found[0])

    def close(self) -> None:
        """Release the memory and the file."""
        self._database.close()


class Reuse:
    """Sends rows whose answers are not known.

    Args:
        store: the answers of this run; ``None`` to send equal rows again.
        cache: the answers of other runs; ``None`` for no cache.
        schema: the schema of the answers, to convert stored JSON into its instances.

    Attributes:
        problem: the error of a cache that could not store an answer.
    """

    def __init__(self, store: Store | None, cache: Cache | None = None, schema: Any = None) -> None:
        self.problem: BulkError | None = None
        self._store = store
        self._cache = cache
        self._to_instance = _to_instances_of(schema)
        # By prompt: rows in flight, and answers that are not stored yet.
        self._open: dict[str, asyncio.Future[Outcome | None]] = {}

    def is_known(self, item: Item) -> bool:
        """Return whether an equal row has been answered."""
        if self._store is None:
            return False
        held = self._open.get(item.prompt_hash)
        return (held is not None and held.done()) or self._store.find_answer(item.prompt_hash) is not None

    async def ask(self, item: Item, send: Callable[[Item], Awaitable[Outcome]]) -> Outcome:
        """Return the answer to a row: a known one, or the result of ``send``.

        A row that is equal to one in flight waits for it, and shares its answer or its error. An answer is held until the caller
        has stored it and calls ``forget``.

        Raises:
            BulkError: the cache cannot be read.
        """
        key = item.prompt_hash
        if self._store is None or not key:
            return await self._ask_cache(item, send)
        while (first := self._open.get(key)) is not None:
            shared = await asyncio.shield(first)
            if shared is not None:  # otherwise the first row was cancelled
                return Outcome(_for(item, shared.record, "duplicate"), shared.problem)
        known = self._store.find_answer(key)
        if known is not None:
            return Outcome(_for(item, self._revive(known), "duplicate"))
        outcome: Outcome | None = None
        mine = self._open[key] = asyncio.get_running_loop().create_future()
        try:
            outcome = await self._ask_cache(item, send)
        finally:
            mine.set_result(outcome)
            if outcome is None or not outcome.record.is_good:
                del self._open[key]
        return outcome

    def forget(self, record: BulkRecord) -> None:
        """Stop holding the answer of a row: the store has it now."""
        held = self._open.get(record.prompt_hash or "")
        if held is not None and held.done():
            del self._open[record.prompt_hash or ""]

    async def _ask_cache(self, item: Item, send: Callable[[Item], Awaitable[Outcome]]) -> Outcome:
        if self._cache is None or not item.prompt_hash:
            return await send(item)
        prompt = prompt_text(item.prompt)
        try:
            text = await self._cache.find(prompt)
        except Exception as error:
            raise BulkError(f"the cache cannot be read: {type(error).__name__}: {error}") from error
        if text is not None:
            try:
                return Outcome(_for(item, self._revive(BulkRecord.from_json(text)), "cache"))
            except (ValueError, TypeError):
                pass  # not stored by this package
        outcome = await send(item)
        if outcome.record.is_good:
            try:
                await self._cache.add(prompt, replace(outcome.record, input=None, row=None).to_json().decode())
            except Exception as error:  # noqa: BLE001 - raised by the caller, which stores the answer all the same
                self.problem = BulkError(f"the cache cannot be written: {type(error).__name__}: {error}")
        return outcome

    def _revive(self, record: BulkRecord) -> BulkRecord:
        return record if record.parsed is None else replace(record, parsed=self._to_instance(record.parsed))


def _for(item: Item, record: BulkRecord, how: Literal["duplicate", "cache"]) -> BulkRecord:
    return replace(record.reuse(how), **item.facts)


def _to_instances_of(schema: Any) -> Callable[[Any], Any]:
    """Return a function that converts JSON to instances of the schema. If its values are JSON, they are not converted."""
    if not isinstance(schema, type) or isinstance(schema, Mapping):
        return lambda value: value
    from pydantic import TypeAdapter  # noqa: PLC0415 - only here

    try:
        adapter = TypeAdapter(schema)
    except Exception:  # noqa: BLE001 - a class that pydantic does not know
        return lambda value: value

    def to_instance(value: Any) -> Any:
        try:
            return adapter.validate_python(value)
        except ValueError:
            return value

    return to_instance
