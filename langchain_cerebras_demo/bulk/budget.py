"""The budget of a run, and the part of it that is spent."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

_COUNT = re.compile(r"([\d_,]*\.?\d+)\s*([kmb]?)\s*(tokens?|requests?)", re.IGNORECASE)
_MONEY = re.compile(r"\$\s*([\d_,]*\.?\d+)|([\d_,]*\.?\d+)\s*(?:usd|dollars?)", re.IGNORECASE)
_DEADLINE = re.compile(r"(?:by\s+)?(\d{1,2}:\d{2}|\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}\S*)", re.IGNORECASE)
_TIMES = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}
_EXAMPLES = '"2M tokens", "500 requests", "$5", "by 07:00", several of these with commas, or a Budget'


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a run may spend; ``None`` for no bound.

    Args:
        tokens: tokens of prompts and answers together, as counted by the service, those of failed rows included.
        requests: requests sent, failed ones included.
        usd: US dollars at the catalogue's list prices.
        deadline: the time after which no row is sent: ``"07:00"`` or ``"by 07:00"`` for the next 7 a.m. local time, a ``datetime``
            (without a time zone: local time), or a ``timedelta`` from the beginning of the run.

    Raises:
        ValueError: a bound is not a positive number, or the deadline is not a time; the message names it.
    """

    tokens: float | None = None
    requests: float | None = None
    usd: float | None = None
    deadline: str | datetime | timedelta | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "requests", "usd"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
                raise ValueError(f"budget.{name}={value!r}: use a positive number, or None for no bound")
        self.ends_at(datetime.now().astimezone())

    def ends_at(self, now: datetime) -> float | None:
        """Return the deadline of a run that begins now, in Unix seconds; ``None`` if there is none.

        Raises:
            ValueError: the deadline is not a time.
        """
        given = self.deadline
        if given is None:
            return None
        if isinstance(given, timedelta):
            if given <= timedelta(0):
                raise ValueError(f"budget.deadline={given!r}: use a positive timedelta")
            return (now + given).timestamp()
        if isinstance(given, datetime):
            return given.timestamp()
        try:
            found = _DEADLINE.fullmatch(given)
            text = found[1] if found else given
            if re.fullmatch(r"\d{1,2}:\d{2}", text):
                hour, minute = map(int, text.split(":"))
                # Local time without a zone, because an offset would be wrong after the clocks change.
                today = now.astimezone().replace(tzinfo=None)
                then = today.replace(hour=hour, minute=minute, second=0, microsecond=0)
                return (then if then > today else then + timedelta(days=1)).timestamp()
            return datetime.fromisoformat(text).timestamp()
        except (TypeError, ValueError):
            raise ValueError(
                f'budget.deadline={given!r}: use "07:00", "2026-01-31 07:00", a datetime or a timedelta'
            ) from None

    @classmethod
    def from_value(cls, value: Any) -> Budget:
        """Return the budget for a ``Budget``, a text such as ``"2M tokens, $5, by 07:00"``, or a mapping; ``None`` is no bound.

        Raises:
            ValueError: it is anything else.
        """
        if value is None:
            return cls()
        if isinstance(value, Budget):
            return value
        if isinstance(value, str):
            bounds: dict[str, Any] = {}
            for part in value.replace(" and ", ";").replace(", ", ";").split(";"):
                bounds |= _from_text(part.strip(), value)
            return cls(**bounds)
        if isinstance(value, Mapping) and value.keys() <= {bound.name for bound in fields(cls)}:
            return cls(**value)
        raise ValueError(f"budget={value!r}: use {_EXAMPLES}")


def _from_text(part: str, whole: str) -> dict[str, Any]:
    if found := _COUNT.fullmatch(part):
        number, unit, name = found.groups()
        return {f"{name.lower().removesuffix('s')}s": _to_number(number) * _TIMES[unit.lower()]}
    if found := _MONEY.fullmatch(part):
        return {"usd": _to_number(found[1] or found[2])}
    if found := _DEADLINE.fullmatch(part):
        return {"deadline": found[1]}
    raise ValueError(f"budget={whole!r}: use {_EXAMPLES}")


def _to_number(text: str) -> float:
    return float(re.sub("[_,]", "", text))


class Spending:
    """The spent part of a budget, and whether it allows another row.

    A row in flight counts as the mean of the finished ones, so the budget can only be exceeded by what the last rows need beyond
    that mean. Before the first answer the tokens of a row are unknown, and each worker may start a row. Rows without a request do
    not count: those whose answers are reused, and those that cannot be sent.

    Args:
        budget: the bounds.
        clock: returns Unix seconds.
    """

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.time) -> None:
        self.budget = budget
        self.tokens = 0
        self.requests = 0
        self.usd = 0.0
        self.ends_at = budget.ends_at(datetime.fromtimestamp(clock()).astimezone())
        self._clock = clock
        self._in_flight = 0
        self._finished = 0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline; ``None`` if there is none."""
        return None if self.ends_at is None else self.ends_at - self._clock()

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.seconds_left is not None and self.seconds_left <= 0

    def may_ask(self) -> bool:
        """Return whether one more row fits, counting those in flight."""
        if self.is_late:
            return False
        rows = self._in_flight + 1
        return (
            _fits(self.tokens, rows * self._mean(self.tokens), self.budget.tokens)
            and _fits(self.requests, rows * max(1.0, self._mean(self.requests)), self.budget.requests)
            and _fits(self.usd, rows * self._mean(self.usd), self.budget.usd)
        )

    def begin(self) -> None:
        """Count a row in flight."""
        self._in_flight += 1

    def end(self, tokens: int, requests: int, usd: float = 0.0) -> None:
        """Count a finished row.

        Args:
            tokens: tokens that it used.
            requests: requests that were sent for it.
            usd: US dollars that it cost.
        """
        self._in_flight -= 1
        self._finished += requests > 0
        self.tokens += tokens
        self.requests += requests
        self.usd += usd

    def __str__(self) -> str:
        """Return the spent and the total amount of each bound."""
        spent = (("tokens", self.tokens, self.budget.tokens), ("requests", self.requests, self.budget.requests))
        figures = [f"{used:,} of {bound:,.0f} {name}" for name, used, bound in spent if bound is not None]
        if self.budget.usd is not None:
            figures.append(f"${self.usd:,.4f} of ${self.budget.usd:,.4g}")
        return ", ".join(figures)

    def _mean(self, spent: float) -> float:
        return spent / self._finished if self._finished else 0.0


def _fits(spent: float, more: float, bound: float | None) -> bool:
    return bound is None or (spent < bound and spent + more <= bound)
