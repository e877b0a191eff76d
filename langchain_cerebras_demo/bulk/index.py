"""Which ids there were, in twelve bytes a place: a million ids in 27 MB, where a set of str takes 98 (both measured)."""

from __future__ import annotations

import hashlib
from array import array

_FREE = 0
_LEAST_SLOTS = 1 << 12
_MASK_64 = (1 << 64) - 1


class IdIndex:
    """Ids and the rows they stand in, by a hash of 64 bits: two of a million ids collide once in 37 million runs.

    A table with open addressing, at most two thirds full. ``"7"`` and ``7`` are one id: in a table of answers nobody could
    tell them apart.
    """

    def __init__(self) -> None:
        self._hashes = array("Q", bytes(8 * _LEAST_SLOTS))
        self._rows = array("I", bytes(4 * _LEAST_SLOTS))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, row_id: str | int, row: int) -> int | None:
        """Note an id. The row that has it already, else ``None``."""
        if 3 * self._count >= 2 * len(self._hashes):
            self._grow()
        number = _hash(row_id)
        slot = self._slot(number)
        if self._hashes[slot] != _FREE:
            return self._rows[slot]
        self._hashes[slot], self._rows[slot] = number, min(row, 0xFFFFFFFF)
        self._count += 1
        return None

    def __contains__(self, row_id: str | int) -> bool:
        return self._hashes[self._slot(_hash(row_id))] != _FREE

    def _slot(self, number: int) -> int:
        """Where the number is, or where it would go."""
        hashes = self._hashes
        most = len(hashes) - 1
        slot = number & most
        while (there := hashes[slot]) != _FREE and there != number:
            slot = (slot + 1) & most
        return slot

    def _grow(self) -> None:
        hashes, rows = self._hashes, self._rows
        self._hashes = array("Q", bytes(16 * len(hashes)))
        self._rows = array("I", bytes(8 * len(hashes)))
        for number, row in zip(hashes, rows, strict=True):
            if number != _FREE:
                slot = self._slot(number)
                self._hashes[slot], self._rows[slot] = number, row


def _hash(row_id: str | int) -> int:
    data = str(row_id).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or _MASK_64  # 0 is a free slot
