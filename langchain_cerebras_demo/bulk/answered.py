"""An index of the answers in an output: by id, for resuming, and by prompt, so that equal requests are sent once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from langchain_cerebras_demo.bulk.rows import to_id_key

_CACHE_KIB = 32 * 1024  # the rest is in a temporary file
_PROMPTS_A_WRITE = 10_000
_HEX_DIGITS_OF_A_NUMBER = 15  # fits SQLite's 64 bits
_FILTER_BYTES = 2**20  # after a million prompts, one lookup in nine of a new prompt reaches the database


class Known(NamedTuple):
    """An answered row.

    Args:
        prompt_hash: the hash of the prompt that was answered; ``""`` if the record has none.
        offset: the position of its line in the records.
    """

    prompt_hash: str
    offset: int


class Answered:
    """The answered rows of an output, in bounded memory: a SQLite database that the system deletes when it is closed.

    ``"7"`` and ``7`` are the same id. Threads may use it one at a time. It must be closed.

    Attributes:
        has_rows: whether it has an answered row.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute(
            "CREATE TABLE ids (id BLOB PRIMARY KEY, hash TEXT, start INTEGER, row INTEGER) WITHOUT ROWID"
        )
        self._database.execute("CREATE TABLE prompts (hash INTEGER PRIMARY KEY, start INTEGER)")
        self._new_prompts: dict[str, int] = {}  # written in batches, which takes a fifth of the time
        self._filter = bytearray(_FILTER_BYTES)  # a bit for each prompt: most are new, and this is faster than SQLite
        self.has_rows = False
        self._database.execute("BEGIN")  # never committed, because the file is temporary

    def add_row(self, row_id: str | int, prompt_hash: str, offset: int) -> bool:
        """Add an answered row, or replace it; return whether it is new."""
        self.has_rows = True
        key = to_id_key(row_id)
        is_new = self._database.execute("SELECT 1 FROM ids WHERE id = ?", (key,)).fetchone() is None
        self._database.execute("INSERT OR REPLACE INTO ids VALUES (?, ?, ?, NULL)", (key, prompt_hash, offset))
        return is_new

    def add_prompt(self, prompt_hash: str, offset: int) -> None:
        """Add the position of the answer to a prompt."""
        bits = hash(prompt_hash)
        self._filter[bits % _FILTER_BYTES] |= 1 << (bits >> 32 & 7)
        self._new_prompts[prompt_hash] = offset
        if len(self._new_prompts) == _PROMPTS_A_WRITE:
            numbered = ((_to_number(one), start) for one, start in self._new_prompts.items())
            self._database.executemany("INSERT OR REPLACE INTO prompts VALUES (?, ?)", numbered)
            self._new_prompts.clear()

    def find_row(self, row_id: str | int) -> Known | None:
        """Return an answered row; ``None`` if it has no answer."""
        if not self.has_rows:  # a new output
            return None
        found = self._database.execute("SELECT hash, start FROM ids WHERE id = ?", (to_id_key(row_id),)).fetchone()
        return None if found is None else Known(*found)

    def find_prompt(self, prompt_hash: str) -> int | None:
        """Return the position of the answer to a prompt; ``None`` if there is none. Very rarely, the prompt there is another one."""
        bits = hash(prompt_hash)
        if not self._filter[bits % _FILTER_BYTES] & 1 << (bits >> 32 & 7):
            return None
        new = self._new_prompts.get(prompt_hash)
        if new is not None:
            return new
        found = self._database.execute("SELECT start FROM prompts WHERE hash = ?", (_to_number(prompt_hash),))
        row = found.fetchone()
        return None if row is None else row[0]

    def offsets(self) -> Iterator[int]:
        """Yield the positions of the answers to all rows, in the order of the stored numbers."""
        return (start for (start,) in self._database.execute("SELECT start FROM ids ORDER BY row, start"))

    def note_number(self, row_id: str | int, number: int | None) -> None:
        """Store the number of an answered row in the input of this run."""
        self._database.execute("UPDATE ids SET row = ? WHERE id = ?", (number, to_id_key(row_id)))

    def number_of(self, row_id: str | int) -> int | None:
        """Return the stored number; ``None`` if this run has not read the row."""
        found = self._database.execute("SELECT row FROM ids WHERE id = ?", (to_id_key(row_id),)).fetchone()
        return None if found is None else found[0]

    def __contains__(self, row_id: str | int) -> bool:
        return self.find_row(row_id) is not None

    def close(self) -> None:
        """Release the memory and the file."""
        self._database.close()


def _to_number(prompt_hash: str) -> int:
    try:
        return int(prompt_hash[:_HEX_DIGITS_OF_A_NUMBER], 16)
    except ValueError:
        return -1  # not a hash of this package
