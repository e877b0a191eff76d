"""What a run may spend, and what it has spent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

_TEXT = re.compile(r"([\d_,]*\.?\d+)\s*([kmb]?)\s*(tokens|requests)", re.IGNORECASE)
_TIMES = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a run may spend; ``None`` where there is no bound.

    Args:
        tokens: of prompts and answers together, as the service counts them.
        requests: sends, those that failed among them.

    Raises:
        ValueError: a bound that is no positive number; the message names it.
    """

    tokens: float | None = None
    requests: float | None = None

    def __post_init__(self) -> None:
        for bound in fields(self):
            value = getattr(self, bound.name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
                raise ValueError(f"budget.{bound.name}={value!r}: give a positive number, or None for no bound")

    @classmethod
    def from_value(cls, value: Any) -> Budget:
        """A budget from what users give: one, ``"2M tokens"``, ``"500 requests, 1.5M tokens"``, a mapping; ``None`` is no bound.

        Raises:
            ValueError: anything else.
        """
        if value is None:
            return cls()
        if isinstance(value, Budget):
            return value
        if isinstance(value, str):
            parts = [
                _TEXT.fullmatch(part.strip()) for part in value.replace(" and ", ";").replace(", ", ";").split(";")
            ]
            if all(parts):
                found = [part.groups() for part in parts if part]
                return cls(
                    **{
                        kind.lower(): float(re.sub("[_,]", "", number)) * _TIMES[unit.lower()]
                        for number, unit, kind in found
                    }
                )
        elif isinstance(value, Mapping) and value.keys() <= {"tokens", "requests"}:
            return cls(**value)
        raise ValueError(f'budget={value!r}: give "2M tokens", "500 requests", both with a comma, or a Budget')


class Spending:
    """What has been spent of a budget, and whether another row may be asked.

    A row under way counts as the mean of those that are over: the budget is passed by what the last rows need more than that. Before
    the first answer nothing is known of the tokens: as many rows as are asked at once may go.

    Args:
        budget: the bounds.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.tokens = 0
        self.requests = 0
        self._under_way = 0
        self._over = 0

    def may_ask(self) -> bool:
        """Whether one more row fits, all those under way counted."""
        rows = self._under_way + 1
        return _fits(self.tokens, rows * self._mean(self.tokens), self.budget.tokens) and _fits(
            self.requests, rows * max(1.0, self._mean(self.requests)), self.budget.requests
        )

    def begin(self) -> None:
        """A row is asked."""
        self._under_way += 1

    def end(self, tokens: int, requests: int) -> None:
        """A row is over.

        Args:
            tokens: that it used.
            requests: that were sent for it.
        """
        self._under_way -= 1
        self._over += 1
        self.tokens += tokens
        self.requests += requests

    def __str__(self) -> str:
        """Which bound is reached, with its figures."""
        spent = (("tokens", self.tokens, self.budget.tokens), ("requests", self.requests, self.budget.requests))
        return ", ".join(f"{used:,} of {bound:,.0f} {name}" for name, used, bound in spent if bound is not None)

    def _mean(self, spent: int) -> float:
        return spent / self._over if self._over else 0.0


def _fits(spent: float, more: float, bound: float | None) -> bool:
    return bound is None or (spent < bound and spent + more <= bound)
