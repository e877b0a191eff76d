"""Observers of calls: the interface for metrics, traces and logs."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Literal, Protocol, TypeAlias

from langchain_cerebras_demo.records import CallRecord

__all__ = ["CallStart", "Observer", "add_observer", "remove_observer"]

_LOG = logging.getLogger("langchain_cerebras_demo")


@dataclass(frozen=True, slots=True)
class CallStart:
    """The beginning of a call.

    Args:
        model: the model id; empty for a list of models.
        operation: ``chat``, or ``list_models``.
        is_stream: whether a stream is requested.
        address: where the request goes: scheme, host and port; ``local`` for ``base_url="local"``.
        started_at: Unix seconds.
        run_id: as in ``CallRecord``.
        parameters: the request's sampling parameters (``temperature``, ``max_tokens``, ``stop``, …), without messages and tools.
        output_type: ``text`` or ``json``, depending on ``response_format``; ``None`` without it.
        messages: the messages in the API's form, only for an observer with ``wants_messages``; otherwise ``None``.
    """

    model: str
    operation: Literal["chat", "list_models"]
    is_stream: bool
    address: str
    started_at: float
    run_id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    output_type: Literal["text", "json"] | None = None
    messages: Sequence[Mapping[str, Any]] | None = field(default=None, repr=False, hash=False)


End: TypeAlias = Callable[[CallRecord], None]


class Observer(Protocol):
    """An object that is notified of the beginning and the end of each call.

    ``started`` and the function it returns are called in the same copy of the context (``contextvars``) of the caller, on the
    thread of the event loop that runs the call, so they must be quick. Their exceptions are logged once and ignored.

    With a true attribute ``wants_messages``, an observer also gets the messages and the text of the answer; with
    ``wants_chunk_times``, the times between the chunks of a stream.
    """

    def started(self, call: CallStart) -> End | None:
        """Observe the beginning of a call. The function it returns is called exactly once, with the record, at the end."""


class Listener:
    """A wrapper of an observer that logs its exceptions once and ignores them.

    Args:
        started: the observer's ``started``.
        name: the observer's name in the log.
        wants_messages: whether it gets messages and answers.
        wants_chunk_times: whether it gets the times between chunks.
    """

    __slots__ = ("_is_reported", "_name", "_started", "observer", "wants_chunk_times", "wants_messages")

    def __init__(
        self,
        started: Callable[[CallStart], End | None],
        name: str,
        *,
        wants_messages: bool = False,
        wants_chunk_times: bool = False,
        observer: object = None,
    ) -> None:
        self._started = started
        self._name = name
        self._is_reported = False
        self.wants_messages = wants_messages
        self.wants_chunk_times = wants_chunk_times
        self.observer = observer

    def started(self, call: CallStart) -> End | None:
        """See ``Observer.started``."""
        try:
            return self._started(call if self.wants_messages or call.messages is None else replace(call, messages=None))
        except Exception as problem:  # noqa: BLE001 - a broken metric must not cost an answer
            self._report(problem)
        return None

    def ended(self, end: End, record: CallRecord) -> None:
        """Pass the record to the observer."""
        try:
            end(record if self.wants_messages or record.answer is None else replace(record, answer=None))
        except Exception as problem:  # noqa: BLE001 - as above
            self._report(problem)

    def _report(self, problem: Exception) -> None:
        level = logging.DEBUG if self._is_reported else logging.WARNING
        self._is_reported = True
        _LOG.log(level, "%s raised %s and is ignored", self._name, type(problem).__name__)


def to_listeners(
    on_start: Callable[[CallStart], None] | None, on_call: Callable[[CallRecord], None] | None
) -> tuple[Listener, ...]:
    """Return listeners for a client's two functions."""

    def started(call: CallStart) -> None:  # ignores what `on_start` returns
        if on_start is not None:
            on_start(call)

    listeners = []
    if on_start is not None:
        listeners.append(Listener(started, "on_start"))
    if on_call is not None:
        listeners.append(Listener(lambda _: on_call, "on_call"))
    return tuple(listeners)


class Observation:
    """One call and its listeners.

    Args:
        listeners: the listeners to notify.
        call: the beginning of the call, including its messages.
    """

    __slots__ = ("_context", "_ends", "wants_answer", "wants_chunk_times")

    def __init__(self, listeners: Sequence[Listener], call: CallStart) -> None:
        self._context = copy_context()
        self._ends = [(listener, self._context.run(listener.started, call)) for listener in listeners]
        self.wants_answer = any(listener.wants_messages for listener in listeners)
        self.wants_chunk_times = any(listener.wants_chunk_times for listener in listeners)

    def end(self, record: CallRecord) -> None:
        """Notify the listeners of the end of the call."""
        for listener, end in self._ends:
            if end is not None:
                self._context.run(listener.ended, end, record)


_of_process: tuple[Listener, ...] = ()
_lock = threading.Lock()


def add_observer(observer: Observer) -> None:
    """Notify ``observer`` of each call that begins in this process from now on. Adding it twice has no effect."""
    global _of_process  # noqa: PLW0603 - the process's observers
    listener = Listener(
        observer.started,
        type(observer).__name__,
        wants_messages=bool(getattr(observer, "wants_messages", False)),
        wants_chunk_times=bool(getattr(observer, "wants_chunk_times", False)),
        observer=observer,
    )
    with _lock:
        if all(other.observer is not observer for other in _of_process):
            _of_process = (*_of_process, listener)


def remove_observer(observer: Observer) -> None:
    """Stop notifying ``observer`` of new calls; it still gets the end of those that have begun."""
    global _of_process  # noqa: PLW0603 - as above
    with _lock:
        _of_process = tuple(listener for listener in _of_process if listener.observer is not observer)


def process_listeners() -> tuple[Listener, ...]:
    """Return the listeners of all calls of this process."""
    return _of_process


SWITCH = "CEREBRAS_DEMO_OTEL"
"""Set it to ``1`` to trace this process with OpenTelemetry."""

_is_switched_on = False


def observe_by_environment() -> None:
    """Add the OpenTelemetry observer, once, if ``CEREBRAS_DEMO_OTEL=1`` is set. Each new client calls this.

    The module is imported by name, so that it is only loaded on request and this package does not depend on it.

    Raises:
        ImportError: OpenTelemetry is not installed.
    """
    global _is_switched_on  # noqa: PLW0603 - as above
    if not _is_switched_on and os.environ.get(SWITCH) == "1":
        import_module("langchain_cerebras_demo.telemetry").instrument_by_environment()
        _is_switched_on = True
