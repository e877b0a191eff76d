"""The budget of a run, and what has been spent of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

_TEXT = re.compile(r"([\d_,]*\.?\d+)\s*([kmb]?)\s*(tokens|requests)", re.IGNORECASE)
_TIMES = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a run may spend; ``None`` for no bound.

    Args:
        tokens: tokens of prompts and answers together, as counted by the service.
        requests: requests sent, failed ones included.

    Raises:
        ValueError: a bound is not a positive number; the message names it.
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
        """Return the budget for a ``Budget``, ``"2M tokens"``, ``"500 requests, 1.5M tokens"`` or a mapping; ``None`` is no bound.

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
    """What has been spent of a budget, and whether it allows another row.

    A row in flight counts as the mean of the finished ones: the budget is exceeded by what the last rows need beyond that. Before
    the first answer the tokens of a row are unknown, and as many rows as there are workers may start.

    Args:
        budget: the bounds.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.tokens = 0
        self.requests = 0
        self._in_flight = 0
        self._finished = 0

    def may_ask(self) -> bool:
        """Return whether one more row fits, counting those in flight."""
        rows = self._in_flight + 1
        return _fits(self.tokens, rows * self._mean(self.tokens), self.budget.tokens) and _fits(
            self.requests, rows * max(1.0, self._mean(self.requests)), self.budget.requests
        )

    def begin(self) -> None:
        """Count a row in flight."""
        self._in_flight += 1

    def end(self, tokens: int, requests: int) -> None:
        """Count a finished row.

        Args:
            tokens: tokens that it used.
            requests: requests that were sent for it.
        """
        self._in_flight -= 1
        self._finished += 1
        self.tokens += tokens
        self.requests += requests

    def __str__(self) -> str:
        """Return the figures of each bound."""
        spent = (("tokens", self.tokens, self.budget.tokens), ("requests", self.requests, self.budget.requests))
        return ", ".join(f"{used:,} of {bound:,.0f} {name}" for name, used, bound in spent if bound is not None)

    def _mean(self, spent: int) -> float:
        return spent / self._finished if self._finished else 0.0


def _fits(spent: float, more: float, bound: float | None) -> bool:
    return bound is None or (spent < bound and spent + more <= bound)
