"""What an examination finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        topic: what was looked at.
        state: ``fine``, ``note`` (worth knowing, in nobody's way) or ``problem``.
        what: what was found; never a key.
        remedy: what to do; empty where nothing is to be done.
    """

    topic: str
    state: Literal["fine", "note", "problem"]
    what: str
    remedy: str = ""
