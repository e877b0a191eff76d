"""What each source of a key has to say, for people who wonder where theirs comes from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["used", "has none", "failed", "not asked"]


@dataclass(frozen=True)
class SourceReport:
    """One source of a chain. It never holds a character of a key.

    Args:
        source: its name.
        state: ``used`` (it gives the key), ``has none``, ``failed``, or ``not asked`` (an earlier one gave the key).
        found: a fixed mark where it gave a key, else empty.
        why: what was found or why nothing was.
        remedy: what to do, where it has none; empty where nothing is to be done.
        details: where it looked and what it saw, as (where, what).
    """

    source: str
    state: State
    found: str = ""
    why: str = ""
    remedy: str = ""
    details: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "details": [{"where": where, "what": what} for where, what in self.details]}
