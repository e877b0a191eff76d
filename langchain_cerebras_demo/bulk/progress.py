"""The progress of a run: rows, rates, errors, the limit in force."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from langchain_cerebras_demo.bulk.records import BulkRecord
from langchain_cerebras_demo.chat_models.bulk_support import spec_of
from langchain_cerebras_demo.policy import RateLimit

_SAMPLES = 30  # at most one per second, so rates are those of the last half minute


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated needs of a run. The tokens of prompts are estimated from their characters, and rather too high than too low.

    Args:
        rows: rows of the input.
        requests: requests for the rows that are left; equal ones count once.
        input_tokens: tokens of their prompts.
        output_tokens: tokens of their answers.
        cost_usd: US dollars at the catalogue's list price; ``None`` if the price is unknown.
        seconds: the time at the user's or the announced limits; ``None`` without any.
        basis: a description of how the length of the answers and the limits were determined.
    """

    rows: int
    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    seconds: float | None
    basis: str

    @property
    def total_tokens(self) -> int:
        """Tokens of prompts and answers."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run. Rates are those of the last half minute.

    Args:
        total: rows of the input; ``None`` if they cannot be counted in advance.
        done: rows answered by this run.
        failed: rows that failed in this run.
        skipped: rows answered by an earlier run.
        changed: rows that are sent again because their prompt has changed since an earlier run.
        duplicates: rows in ``done`` that share the answer of an equal row.
        cached: rows in ``done`` with an answer from the cache.
        in_flight: rows being answered now.
        errors: the number of failed rows by class of error.
        requests: requests sent.
        tokens: tokens of prompts and answers, as counted by the service for all requests, those of failed rows included.
        cost_usd: their cost in US dollars at the catalogue's list price; ``None`` if the price is unknown.
        seconds: the time since the run began.
        rows_per_second: finished rows per second, failed ones included.
        tokens_per_second: tokens of these rows per second.
        seconds_left: seconds until the end at this rate; ``None`` if unknown.
        limit: a description of the limits: the user's, and the announced one of which the smallest part is left; ``""`` if unknown.
        stopped: why the run ended before all rows were sent, one of ``STOP_REASONS``; ``""`` if it did not.
        message: a description of the reason.
        retry_after: seconds after which the run can be resumed; ``None`` if unknown.
        estimate: the result of ``BulkRun.estimate`` before the run; ``None`` if it was not called.
    """

    total: int | None = None
    done: int = 0
    failed: int = 0
    skipped: int = 0
    in_flight: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    requests: int = 0
    tokens: int = 0
    seconds: float = 0.0
    rows_per_second: float = 0.0
    tokens_per_second: float = 0.0
    seconds_left: float | None = None
    limit: str = ""
    stopped: str = ""
    message: str = ""
    retry_after: float | None = None
    changed: int = 0
    duplicates: int = 0
    cached: int = 0
    cost_usd: float | None = None
    estimate: Estimate | None = None

    def __repr__(self) -> str:
        shown = {each.name: getattr(self, each.name) for each in fields(self)}
        values = (f"{name}={round(value, 1) if isinstance(value, float) else value!r}" for name, value in shown.items())
        return f"Progress({', '.join(values)})"

    @property
    def left(self) -> int | None:
        """Rows that are not finished yet; ``None`` if they cannot be counted."""
        return None if self.total is None else max(0, self.total - self.done - self.failed - self.skipped)


class Meter:
    """A counter of the rows and requests of a run.

    Args:
        model: a ``ChatCerebrasDemo``, or a chain with one; its rate limits are shown.
    """

    def __init__(self, model: Any = None) -> None:
        self._model = model_within(model)
        self._spec = spec_of(self._model)
        self._began = time.monotonic()
        self.total: int | None = None
        self.done = self.failed = self.skipped = self.in_flight = self.requests = self.tokens = 0
        self.changed = self.duplicates = self.cached = 0
        self.usd = 0.0
        self.errors: Counter[str] = Counter()
        self._samples: deque[tuple[float, int, int]] = deque([(self._began, 0, 0)], maxlen=_SAMPLES)

    def note(self, record: BulkRecord) -> None:
        """Count a finished row."""
        if record.error is None:
            self.done += 1
            self.duplicates += record.reused == "duplicate"
            self.cached += record.reused == "cache"
        else:
            self.failed += 1
            self.errors[record.error["type"]] += 1
        now = time.monotonic()
        if now - self._samples[-1][0] >= 1.0:
            self._samples.append((now, self.done + self.failed, self.tokens))

    @property
    def has_price(self) -> bool:
        """Whether the model's list price is known."""
        return self._spec is not None and self._spec.price_usd_per_million_tokens is not None

    def cost_usd(self, record: BulkRecord) -> float:
        """Return the cost of an answer in US dollars at the list price; 0.0 if the price or the tokens are unknown."""
        usage = record.usage
        if usage is None or self._spec is None:
            return 0.0
        return self._spec.cost_usd(usage.get("input_tokens") or 0, usage.get("output_tokens") or 0) or 0.0

    def progress(self, **more: Any) -> Progress:
        """Return the progress so far.

        Args:
            **more: fields of ``Progress`` that are not counted here.
        """
        now, ended = time.monotonic(), self.done + self.failed
        since, rows, tokens = self._samples[0]
        seconds = max(now - since, 1e-9)
        rate = (ended - rows) / seconds
        left = None if self.total is None else max(0, self.total - ended - self.skipped)
        return Progress(
            total=self.total,
            done=self.done,
            failed=self.failed,
            skipped=self.skipped,
            in_flight=self.in_flight,
            errors=dict(self.errors),
            requests=self.requests,
            tokens=self.tokens,
            seconds=now - self._began,
            rows_per_second=rate,
            tokens_per_second=(self.tokens - tokens) / seconds,
            seconds_left=None if left is None or (left and not rate) else left / rate if left else 0.0,
            limit=_to_words(self._model),
            changed=self.changed,
            duplicates=self.duplicates,
            cached=self.cached,
            cost_usd=self.usd if self.has_price else None,
            **more,
        )


def model_within(model: Any) -> Any:
    """Return the first chat model with rate limits inside a binding, a chain or fallbacks; ``None`` if there is none."""
    for name in ("bound", "runnable"):  # first, because these have the attributes of the model inside
        inner = getattr(model, name, None)
        if inner is not None:
            return model_within(inner)
    if hasattr(model, "rate_limit"):
        return model
    found = map(model_within, getattr(model, "steps", None) or ())
    return next((model for model in found if model is not None), None)


def _to_words(model: Any) -> str:
    """Describe the user's limits, and the announced limit of which the smallest part is left."""
    given = RateLimit.from_value(getattr(model, "rate_limit", None)) or RateLimit()
    words = [f"{number:,.10g} {limit} (given)" for limit, number in given.numbers().items()]
    announced = getattr(getattr(model, "limits", None), "windows", ())
    known = [window for window in announced if window.limit and window.remaining is not None]
    if known:
        tightest = min(known, key=lambda window: window.remaining / window.limit)
        words.append(f"{tightest.limit:,} {tightest.name}, {tightest.remaining:,} left")
    return "; ".join(words)
