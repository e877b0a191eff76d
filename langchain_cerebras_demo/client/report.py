"""The report of a running call, from which its record is made."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import TracebackType
from typing import Any, Literal, Protocol

from typing_extensions import Self

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.client.attempt import now
from langchain_cerebras_demo.client.observers import CallStart, Listener, Observation, process_listeners
from langchain_cerebras_demo.client.slots import Slot
from langchain_cerebras_demo.errors import APIError, RateLimitError
from langchain_cerebras_demo.records import CallRecord, FailedAttempt, RateLimitSnapshot
from langchain_cerebras_demo.wire.completion import Event, Finish, Identity, Timing, Usage
from langchain_cerebras_demo.wire.request import ChatRequest

_log = logging.getLogger("langchain_cerebras_demo")

_SAMPLING = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "max_tokens",
        "max_completion_tokens",
        "min_tokens",
        "stop",
        "seed",
        "n",
        "frequency_penalty",
        "presence_penalty",
        "reasoning_effort",
        "reasoning_format",
        "service_tier",
    }
)
"""The parameters that observers get. None of them contains a part of the prompt."""

Operation = Literal["chat", "list_models"]
Outcome = Literal["answered", "failed", "cancelled"]


class HasText(Protocol):
    """An object that collects the text of an answer."""

    @property
    def text(self) -> str:
        """The text of the first choice received so far."""


class Report:
    """The report of one call: a context manager that makes the call's record at the end.

    The record is only made if it is used: by an observer, the debug log, or the answer's metadata.

    Attributes:
        model: the model id.
        asked_at: the loop's time at which the user made the call.
        sends: the number of requests sent.
        paced, backed_off, sent_at, first_at, chunks: see ``CallRecord``.
        slot: the slot that the call waits for or holds; ``None`` before that.
        reading: the collector of the answer's text.
    """

    def __init__(
        self, operation: Operation, address: str, listeners: tuple[Listener, ...], run_id: object = None
    ) -> None:
        self.model = ""
        self.asked_at = self.sent_at = self.paced = self.backed_off = 0.0
        self.first_at: float | None = None
        self.sends = self.chunks = 0
        self._chunk_times: list[float] | None = None  # the arrival times of chunks, if an observer wants them
        self.slot: Slot | None = None
        self.reading: HasText | None = None
        self._operation: Operation = operation
        self._address = address
        self._listeners = listeners
        self._run_id = run_id
        self._is_stream = False
        self._started_at = 0.0
        self._observation: Observation | None = None
        self._is_finished = False
        self._status_code: int | None = None
        self._request_id: str | None = None
        self._limits: RateLimitSnapshot | None = None
        self._usage: Usage | None = None
        self._ending: Sequence[Event] = ()
        self._failures: tuple[FailedAttempt, ...] = ()
        self._failed_at: float | None = None  # when the attempt failed that will be retried

    # -- its beginning and its end

    def begin(self, model: str, request: ChatRequest | None = None, *, is_stream: bool = False) -> Self:
        """Start the report and notify the observers."""
        self.model, self._is_stream = model, is_stream
        self.asked_at, self._started_at = _clock(), time.time()
        if listeners := self._listeners + process_listeners():
            parameters = {**request.parameters, **request.extra} if request else {}
            call = CallStart(
                model,
                self._operation,
                is_stream,
                self._address,
                self._started_at,
                None if self._run_id is None else str(self._run_id),
                {name: value for name, value in parameters.items() if name in _SAMPLING and value is not None},
                _output_type(parameters.get("response_format")),
                request.messages if request and any(listener.wants_messages for listener in listeners) else None,
            )
            self._observation = Observation(listeners, call)
            self._chunk_times = [] if is_stream and self._observation.wants_chunk_times else None
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, problem: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.end(problem)

    def end(self, problem: BaseException | None) -> None:
        """End the call with this exception or ``None``, and make the record unless it exists.

        An ``APIError`` gets the number of requests, also if the key's source raised it.
        """
        if isinstance(problem, APIError):
            problem.attempts = self.sends
        if problem is None:
            self._finish("answered")
        elif isinstance(problem, Exception):
            self._finish("failed", problem)
        else:  # a closed generator, a cancelled task, Ctrl-C
            self._finish("cancelled")

    def __del__(self) -> None:
        """End a call whose generator was dropped after its loop was closed."""
        if self._observation is not None and not self._is_finished:
            with contextlib.suppress(Exception):
                self._finish("cancelled")

    # -- during the call

    @property
    def queued(self) -> float:
        """The seconds waited for a slot."""
        return self.slot.waited if self.slot else 0.0

    @property
    def waited(self) -> float:
        """The seconds waited so far: for a slot, for limits and between attempts."""
        return self.queued + self.paced + self.backed_off

    def sent(self) -> None:
        """Record that a request is sent."""
        self.sent_at = now()
        self.sends += 1
        self._status_code = self._request_id = None
        self._close_failure()

    def arrived(self) -> None:
        """Record that a part of the answer has arrived."""
        self.chunks += 1
        if self._chunk_times is not None:
            self._chunk_times.append(now())

    def answered_with(self, status_code: int, limits: RateLimitSnapshot, request_id: str | None) -> None:
        """Record the status, the limits and the request id of an answer."""
        self._status_code, self._request_id = status_code, request_id
        self._limits = limits or self._limits

    def failed(self, problem: APIError) -> None:
        """Record why an attempt failed. The error has been redacted before."""
        self._status_code = getattr(problem, "status_code", None) or self._status_code
        self._request_id = problem.request_id or self._request_id
        self._limits = getattr(problem, "limits", None) or self._limits
        self._usage = problem.usage or self._usage

    def repeats(self, problem: APIError, wait: float) -> None:
        """Record and log that the failed attempt will be retried in ``wait`` seconds."""
        limit = problem.limit if isinstance(problem, RateLimitError) else None
        at = now()
        kind = type(problem).__name__
        failed = FailedAttempt(kind, self._status_code, limit, 0.0, self._request_id, at - self.asked_at)
        self._failures, self._failed_at = (*self._failures, failed), at
        if _log.isEnabledFor(logging.INFO):
            facts = [failed.error, str(failed.status_code or ""), str(limit or "")]
            _log.info(
                "attempt %d of a call to %s failed (%s): retrying in %.1f s",
                self.sends,
                self.model or self._address,
                ", ".join(filter(None, facts)),
                wait,
                extra={
                    "cerebras_event": "retry",
                    "cerebras_model": self.model,
                    "cerebras_attempt": self.sends,
                    "cerebras_error": failed.error,
                    "cerebras_status_code": failed.status_code,
                    "cerebras_limit": limit and limit.value,
                    "cerebras_wait": wait,
                    "cerebras_request_id": failed.request_id,
                    "cerebras_run_id": None if self._run_id is None else str(self._run_id),
                },
            )

    def completed(self, events: Sequence[Event], usage: Usage | None) -> CallRecord:
        """Return the record of an answered call, and notify the observers; later events do not change it.

        Args:
            events: the last events, which say how the answer ended.
            usage: the token counts.
        """
        self._ending, self._usage = events, usage
        return self._finish("answered") or self._record("answered")

    # -- its record

    def _finish(self, outcome: Outcome, problem: BaseException | None = None) -> CallRecord | None:
        if self._is_finished:
            return None
        self._is_finished = True
        observation = self._observation
        if observation is None and not _log.isEnabledFor(logging.DEBUG):
            return None
        record = self._record(outcome, problem)
        _log.debug("%s", record)
        if observation is not None:
            passed = record
            if observation.wants_answer and self.reading is not None:
                passed = replace(record, answer=self.reading.text)
            observation.end(passed)
        return record

    def _record(self, outcome: Outcome, problem: BaseException | None = None) -> CallRecord:
        at, usage, spec = _clock(), self._usage, catalog.find_spec(self.model)
        self._close_failure(at)
        first = self.first_at if self._is_stream else None
        tokens = usage.completion_tokens if usage else None
        identity = next((event for event in self._ending if isinstance(event, Identity)), None)
        return CallRecord(
            model=self.model,
            outcome=outcome,
            error=None if problem is None else type(problem).__name__,
            attempts=self.sends,
            seconds=at - self.asked_at,
            paced=self.paced,
            backed_off=self.backed_off,
            ttft=None if first is None else first - self.sent_at,
            tokens_per_second=tokens / (at - first) if tokens and first is not None and at > first else None,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=tokens,
            time_info=next((event.time_info for event in self._ending if isinstance(event, Timing)), None),
            estimated_cost_usd=spec.cost_usd(usage.prompt_tokens, usage.completion_tokens) if spec and usage else None,
            request_id=self._request_id,
            limits=self._limits,
            operation=self._operation,
            is_stream=self._is_stream,
            address=self._address,
            started_at=self._started_at,
            run_id=None if self._run_id is None else str(self._run_id),
            queued=self.queued,
            streamed=None if first is None else at - first,
            chunks=self.chunks,
            chunk_times=tuple(after - before for before, after in pairwise(self._chunk_times or ())),
            status_code=self._status_code,
            limit=problem.limit if isinstance(problem, RateLimitError) else None,
            retry_after=getattr(problem, "retry_after", None),
            cached_tokens=usage.cached_tokens if usage else None,
            reasoning_tokens=usage.reasoning_tokens if usage else None,
            finish_reasons=tuple(event.reason for event in self._ending if isinstance(event, Finish) and event.reason),
            response_model=identity.model if identity else None,
            response_id=identity.id if identity else None,
            failures=self._failures,
        )

    def _close_failure(self, at: float | None = None) -> None:
        """Record how long the call waited since the last attempt failed."""
        if self._failed_at is not None:
            *others, last = self._failures
            waited = (self.sent_at if at is None else at) - self._failed_at
            self._failures, self._failed_at = (*others, replace(last, waited=waited)), None


def _output_type(response_format: Any) -> Literal["text", "json"] | None:
    kind = response_format.get("type") if isinstance(response_format, Mapping) else None
    return None if kind is None else "text" if kind == "text" else "json"


def _clock() -> float:
    """Return the running loop's time; without a loop, that of the clock that event loops use."""
    try:
        return now()
    except RuntimeError:
        return time.monotonic()
