"""OpenTelemetry spans and metrics for every call, following the semantic conventions for generative AI.

``instrument()`` or ``CEREBRAS_DEMO_OTEL=1`` turns it on. The extra ``otel`` installs the API of OpenTelemetry; the application
provides the SDK and the exporter. No other module of the package imports OpenTelemetry, so it costs nothing when turned off.

The names are those of version 1.41 of the semantic conventions, the last one that includes generative AI; their status is
Development, so they may change. ``gen_ai.request.reasoning.level`` is from version 0.1 of semantic-conventions-genai, to which they
have moved. Names that begin with ``cerebras.`` are this package's own. ``docs/how-to/observability.md`` lists all names.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import orjson

from langchain_cerebras_demo._version import __version__
from langchain_cerebras_demo.client.observers import CallStart, add_observer, remove_observer
from langchain_cerebras_demo.records import CallRecord, FailedAttempt, Limit

try:
    from opentelemetry.context import Context, attach
    from opentelemetry.metrics import MeterProvider, get_meter
    from opentelemetry.trace import (
        Span,
        SpanKind,
        Status,
        StatusCode,
        TracerProvider,
        get_current_span,
        get_tracer,
        set_span_in_context,
    )
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    from opentelemetry.util.types import AttributeValue
except ImportError as error:
    raise ImportError(
        "OpenTelemetry is not installed: pip install 'langchain-cerebras-demo[otel]' (CEREBRAS_DEMO_OTEL=1 needs it, too)"
    ) from error

__all__ = ["instrument", "uninstrument"]

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"
SCOPE = "langchain_cerebras_demo"

# -- attributes of the conventions

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
OUTPUT_TYPE = "gen_ai.output.type"
CHOICE_COUNT = "gen_ai.request.choice.count"
STOP_SEQUENCES = "gen_ai.request.stop_sequences"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - a kind of token, not a secret
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
ERROR_TYPE = "error.type"
STATUS_CODE = "http.response.status_code"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"

PARAMETERS: Mapping[str, str] = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "reasoning_effort": "gen_ai.request.reasoning.level",
    "service_tier": "cerebras.request.service_tier",
}
"""Request parameters whose values become attributes unchanged."""

# -- this package's own attributes

ATTEMPTS = "cerebras.attempts"
QUEUED = "cerebras.wait.queue"
PACED = "cerebras.wait.limit"
BACKED_OFF = "cerebras.wait.retry"
REQUEST_ID = "cerebras.request_id"
RUN_ID = "cerebras.run_id"
LIMIT = "cerebras.limit"
RETRY_AFTER = "cerebras.retry_after"
COST = "cerebras.cost_usd"
WAIT = "cerebras.wait"
STAGE = "cerebras.stage"
FAILED_ATTEMPT = "cerebras.attempt.failed"

STAGES: Mapping[str, str] = {
    "queue_time": "queue",
    "prompt_time": "prompt",
    "completion_time": "completion",
    "total_time": "total",
}
"""The service's own times: their names in ``time_info`` and in attributes."""

CANCELLED = "cancelled"
"""``error.type`` of a call that was cancelled or whose stream was left early."""

# -- buckets that the conventions recommend

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)

SHORT_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""For the service's own times: a stage of a Cerebras answer may take only a millisecond."""

_installed: _Telemetry | None = None
_lock = threading.Lock()


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    capture_content: bool = False,
) -> None:
    """Create a span and metrics for each call that begins in this process from now on.

    Calling it again replaces the providers.

    Args:
        tracer_provider: the provider of spans. Default: the global one.
        meter_provider: the provider of metrics. Default: the global one.
        capture_content: whether spans contain the messages of the request and the text of the answer.
    """
    global _installed  # noqa: PLW0603 - one per process
    telemetry = _Telemetry(tracer_provider, meter_provider, capture_content=capture_content)
    with _lock:
        if _installed is not None:
            remove_observer(_installed)
        _installed = telemetry
        add_observer(_installed)


def uninstrument() -> None:
    """Undo ``instrument``. Running calls still end their spans."""
    global _installed  # noqa: PLW0603 - as above
    with _lock:
        if _installed is not None:
            remove_observer(_installed)
        _installed = None


def instrument_by_environment() -> None:
    """Call ``instrument()``, unless the application has already done so."""
    if _installed is None:
        instrument()


class _Telemetry:
    """The observer of the client's calls; see ``instrument`` for its arguments."""

    wants_chunk_times = True

    def __init__(
        self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None, *, capture_content: bool
    ) -> None:
        self.wants_messages = capture_content
        self._tracer = get_tracer(SCOPE, __version__, tracer_provider, SCHEMA_URL)
        meter = get_meter(SCOPE, __version__, meter_provider, SCHEMA_URL)

        def histogram(name: str, unit: str, what: str, buckets: Sequence[float]) -> Any:
            return meter.create_histogram(name, unit, what, explicit_bucket_boundaries_advisory=buckets)

        name = "gen_ai.client.operation"
        self._duration = histogram(f"{name}.duration", "s", "GenAI operation duration.", SECONDS)
        self._first_chunk = histogram(f"{name}.time_to_first_chunk", "s", "Time to receive the first chunk.", SECONDS)
        self._next_chunk = histogram(f"{name}.time_per_output_chunk", "s", "Time between two chunks.", SECONDS)
        self._tokens = histogram(
            "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.", TOKENS
        )
        self._stages = histogram("cerebras.server.duration", "s", "Times that the service reports.", SHORT_SECONDS)
        self._waits = histogram("cerebras.client.wait.duration", "s", "Time that calls waited before sending.", SECONDS)
        self._active = meter.create_up_down_counter("cerebras.client.active_calls", "{call}", "Calls in progress.")
        self._failures = meter.create_counter(
            "cerebras.client.failed_attempts", "{attempt}", "Failed attempts that were retried."
        )

    def started(self, call: CallStart) -> Callable[[CallRecord], None]:
        """Start a child span of the current one, and return a function that ends it."""
        common = _common(call.operation, call.model, call.address)
        span = self._tracer.start_span(
            f"{call.operation} {call.model}" if call.model else call.operation,
            context=_openinference_parent(call.run_id),
            kind=SpanKind.CLIENT,
            attributes=_of_request(common, call),
        )
        self._active.add(1, common)

        def end(record: CallRecord) -> None:
            try:
                if span.is_recording():
                    _finish(span, record)
                    if record.answer is not None and self.wants_messages:
                        span.set_attribute(OUTPUT_MESSAGES, _to_output_messages(record))
            finally:
                span.end()
                self._active.add(-1, common)
                self._measure(record)

        return end

    def _measure(self, record: CallRecord) -> None:
        """Record the metrics of a call."""
        error = error_type(record)
        of = record.operation, record.model, record.address, record.response_model
        common = _common(*of)
        failed = common if error is None else {**common, ERROR_TYPE: error}
        self._duration.record(record.seconds, failed)
        if record.ttft is not None:
            self._first_chunk.record(record.ttft, common)
            for seconds in record.chunk_times:
                self._next_chunk.record(seconds, common)
        if record.prompt_tokens is not None:
            self._tokens.record(record.prompt_tokens, _with(TOKEN_TYPE, "input", of))
        if record.completion_tokens is not None:
            self._tokens.record(record.completion_tokens, _with(TOKEN_TYPE, "output", of))
        if record.time_info:
            for name, stage in STAGES.items():
                if stage != "total" and name in record.time_info:
                    self._stages.record(record.time_info[name], _with(STAGE, stage, of))
        if record.queued:
            self._waits.record(record.queued, _with(WAIT, "queue", of))
        if record.paced:
            self._waits.record(record.paced, _with(WAIT, "limit", of))
        if record.backed_off:
            self._waits.record(record.backed_off, _with(WAIT, "retry", of))
        for failure in record.failures:
            self._failures.add(1, {**common, ERROR_TYPE: failure.error})


# -- parents


def _openinference_parent(run_id: str | None) -> Context | None:
    """Return OpenInference's span for the LangChain run that makes the call; ``None`` to use the current span.

    OpenInference creates spans for LangChain's runs without making them current, but returns them by the id of their run. If
    LangChain does not pass on the run's id (``stream``, ``astream``), this is the span of the surrounding chain or agent step.
    """
    module = sys.modules.get("openinference.instrumentation.langchain")
    if module is None:
        return None
    with contextlib.suppress(Exception):  # the interface may differ in other versions
        instrumentor = module.LangChainInstrumentor()
        if instrumentor.is_instrumented_by_opentelemetry:
            span = instrumentor.get_span(UUID(run_id)) if run_id else module.get_current_span()
            return None if span is None else set_span_in_context(span)
    return None


def current_trace() -> dict[str, str]:
    """Return the current span as W3C Trace Context headers, for another process; empty without a span."""
    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers


def continue_trace(headers: Mapping[str, str]) -> None:
    """Make the span of another process the current one until the end of this task, unless there is a current span."""
    if not get_current_span().get_span_context().is_valid:
        attach(TraceContextTextMapPropagator().extract(headers))


# -- a call as attributes


@lru_cache(maxsize=256)
def _common(operation: str, model: str, address: str, response_model: str | None = None) -> dict[str, AttributeValue]:
    """Return the attributes that a call's span and metrics have in common. The dict is shared: copy it before changing it."""
    found: dict[str, AttributeValue] = {OPERATION: operation, PROVIDER: "cerebras"}
    if model:
        found[REQUEST_MODEL] = model
    if response_model:
        found[RESPONSE_MODEL] = response_model
    if address == "local":
        found[PROVIDER] = "local"
    elif address:
        url = urlsplit(address)
        found[SERVER_ADDRESS] = url.hostname or ""
        found[SERVER_PORT] = url.port or (80 if url.scheme == "http" else 443)
    return found


@lru_cache(maxsize=1024)
def _with(name: str, value: str, of: tuple[str, str, str, str | None]) -> dict[str, AttributeValue]:
    """Return the common attributes of a call, with another one."""
    return {**_common(*of), name: value}


def _of_request(common: Mapping[str, AttributeValue], call: CallStart) -> dict[str, AttributeValue]:
    found = dict(common)
    if call.is_stream:
        found[REQUEST_STREAM] = True
    if call.run_id is not None:
        found[RUN_ID] = call.run_id
    if call.output_type is not None:
        found[OUTPUT_TYPE] = call.output_type
    for name, value in call.parameters.items():  # not validated yet
        attribute = PARAMETERS.get(name)
        if name == "stop":
            stops = (value,) if isinstance(value, str) else value
            if isinstance(stops, list | tuple) and all(isinstance(one, str) for one in stops):
                found[STOP_SEQUENCES] = tuple(stops)
        elif isinstance(value, str | int | float):
            if attribute is not None:
                found[attribute] = value
            elif name == "n" and value != 1:
                found[CHOICE_COUNT] = value
    if call.messages is not None:
        with contextlib.suppress(Exception):  # they are not validated yet
            found[INPUT_MESSAGES] = orjson.dumps([_to_message(one) for one in call.messages], default=str).decode()
    return found


_REMAINING = {limit: f"cerebras.limits.{limit.value.replace(' ', '_')}.remaining" for limit in Limit}


def _finish(span: Span, record: CallRecord) -> None:
    """Set the attributes, events and status of a call's span at its end."""
    found: dict[str, AttributeValue | None] = {
        RESPONSE_MODEL: record.response_model,
        RESPONSE_ID: record.response_id,
        FINISH_REASONS: record.finish_reasons or None,
        TIME_TO_FIRST_CHUNK: record.ttft,
        INPUT_TOKENS: record.prompt_tokens,
        OUTPUT_TOKENS: record.completion_tokens,
        CACHED_TOKENS: record.cached_tokens,
        REASONING_TOKENS: record.reasoning_tokens,
        ATTEMPTS: record.attempts,
        QUEUED: record.queued,
        PACED: record.paced,
        BACKED_OFF: record.backed_off,
        REQUEST_ID: record.request_id,
        LIMIT: record.limit.value if record.limit else None,
        RETRY_AFTER: record.retry_after,
        COST: record.estimated_cost_usd,
    }
    for name, seconds in (record.time_info or {}).items():
        if name in STAGES:
            found[f"cerebras.time.{STAGES[name]}"] = seconds
    for window in record.limits.windows if record.limits else ():
        found[_REMAINING[window.name]] = window.remaining
    error = error_type(record)
    if error is not None:
        found[ERROR_TYPE] = error
        if record.outcome == "failed":
            found[STATUS_CODE] = record.status_code
    span.set_attributes({name: value for name, value in found.items() if value is not None})
    for failure in record.failures:
        at = int((record.started_at + failure.at) * 1e9)
        span.add_event(FAILED_ATTEMPT, _of_failure(failure), timestamp=at)
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, error))


def _of_failure(failure: FailedAttempt) -> dict[str, AttributeValue]:
    found = {
        ERROR_TYPE: failure.error,
        STATUS_CODE: failure.status_code,
        LIMIT: failure.limit.value if failure.limit else None,
        REQUEST_ID: failure.request_id,
        BACKED_OFF: failure.waited,
    }
    return {name: value for name, value in found.items() if value is not None}


def error_type(record: CallRecord) -> str | None:
    """Return the class of the exception, or ``cancelled``; ``None`` for an answered call."""
    if record.outcome == "answered":
        return None
    return record.error or CANCELLED


# -- content, following the JSON schemas of the conventions


def _to_message(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if message.get("role") == "tool":
        parts = [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}]
        return {"role": "tool", "parts": parts}
    parts = [{"type": "reasoning", "content": message["reasoning"]}] if message.get("reasoning") else []
    if isinstance(content, str):
        parts.append({"type": "text", "content": content})
    else:
        parts += [_to_part(one) for one in content or ()]
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        parts.append({"type": "tool_call", "id": call.get("id"), **function})
    return {"role": message.get("role"), "parts": parts}


def _to_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") == "text":
        return {"type": "text", "content": part.get("text")}
    if part.get("type") == "image_url":
        uri = str((part.get("image_url") or {}).get("url"))
        kind, _, data = uri.removeprefix("data:").partition(";base64,")
        if uri.startswith("data:"):
            return {"type": "blob", "modality": "image", "mime_type": kind, "content": data}
        return {"type": "uri", "modality": "image", "uri": uri}
    return dict(part)


def _to_output_messages(record: CallRecord) -> str:
    reason = record.finish_reasons[0] if record.finish_reasons else "error"
    parts = [{"type": "text", "content": record.answer}] if record.answer else []
    return orjson.dumps([{"role": "assistant", "parts": parts, "finish_reason": reason}]).decode()
