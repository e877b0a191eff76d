"""What OpenTelemetry costs: ``python -m tests.benchmarks.telemetry`` prints microseconds of CPU a call.

Three figures, each the best of some rounds: another program on the machine must not count.

- A call without telemetry, over a transport without a network, and what it adds: over providers that do nothing, and with the SDK.
- The SDK alone: the spans and metrics that the same records become, made by calls of the SDK that were written down before.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from typing import Any

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import NoOpTracerProvider

from langchain_cerebras_demo import telemetry
from langchain_cerebras_demo.client import Client
from langchain_cerebras_demo.client.observers import CallStart
from langchain_cerebras_demo.keys import StaticKey
from langchain_cerebras_demo.records import AnnouncedLimit, CallRecord, Limit, RateLimitSnapshot
from langchain_cerebras_demo.wire.request import ChatRequest
from tests.support.scripted import ScriptedResponse, json_answer

ROUNDS, CALLS = 60, 200
MOST_OVER_NOTHING, MOST_OVER_THE_SDK = 30.0, 1.3

ADDRESS = "https://api.cerebras.ai:443"
HEADERS = {
    "content-type": "application/json",
    "x-request-id": "a1b2c3",
    "x-ratelimit-limit-requests-day": "100000",
    "x-ratelimit-remaining-requests-day": "99999",
    "x-ratelimit-limit-tokens-minute": "1000000",
    "x-ratelimit-remaining-tokens-minute": "999000",
}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-oss-120b",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello!"}}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
    "time_info": {"queue_time": 0.001, "prompt_time": 0.002, "completion_time": 0.01, "total_time": 0.013},
}
START = CallStart(
    "gpt-oss-120b", "chat", False, ADDRESS, time.time(), parameters={"temperature": 0.5, "max_tokens": 100}
)
RECORD = CallRecord(
    model="gpt-oss-120b",
    outcome="answered",
    seconds=0.02,
    prompt_tokens=20,
    completion_tokens=10,
    cached_tokens=0,
    reasoning_tokens=0,
    time_info=ANSWER["time_info"],
    estimated_cost_usd=0.00001,
    request_id="a1b2c3",
    address=ADDRESS,
    started_at=START.started_at,
    finish_reasons=("stop",),
    response_model="gpt-oss-120b",
    response_id="chatcmpl-1",
    limits=RateLimitSnapshot(
        (
            AnnouncedLimit(Limit.REQUESTS_PER_DAY, 100_000, 99_999),
            AnnouncedLimit(Limit.TOKENS_PER_MINUTE, 10**6, 999_000),
        )
    ),
)


class Transport:
    """Gives the same answer to every request."""

    async def send(self, request: Any) -> ScriptedResponse:
        return json_answer(ANSWER, **HEADERS)


async def calls(kinds: dict[str, dict[str, Any] | None]) -> dict[str, float]:
    """Microseconds of CPU of one call, for each kind of telemetry; the kinds take turns, so that each has the quiet moments."""
    client = Client(base_url=ADDRESS + "/v1", keys=StaticKey("csk-0123456789"), transport=Transport(), rate_limit=None)
    request = ChatRequest("gpt-oss-120b", [{"role": "user", "content": "Hi!"}], {"temperature": 0.5, "max_tokens": 100})
    best = dict.fromkeys(kinds, float("inf"))
    for _ in range(ROUNDS):
        for kind, providers in kinds.items():
            if providers is not None:
                telemetry.instrument(**providers)
            gc.collect()
            began = time.process_time()
            for _ in range(CALLS):
                await client.complete(request)
            best[kind] = min(best[kind], (time.process_time() - began) / CALLS * 1e6)
            telemetry.uninstrument()
    return best


def microseconds(*actions: Callable[[], object]) -> list[float]:
    """Microseconds of CPU of each action; they take turns, as above."""
    best = [float("inf")] * len(actions)
    for _ in range(ROUNDS):
        for number, action in enumerate(actions):
            gc.collect()
            began = time.process_time()
            for _ in range(CALLS):
                action()
            best[number] = min(best[number], (time.process_time() - began) / CALLS * 1e6)
    return best


class Noting:
    """Stands for a part of the SDK: makes its calls, and writes them down."""

    def __init__(self, part: Any, notes: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]) -> None:
        self._part, self._notes = part, notes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._notes.append((method, arguments, named))
            return method(*arguments, **named)

        return call


def sdk() -> dict[str, Any]:
    """Providers of the SDK whose spans go nowhere and whose metrics are added up."""
    tracer_provider = TracerProvider(shutdown_on_exit=False)
    tracer_provider.add_span_processor(SpanProcessor())
    return {
        "tracer_provider": tracer_provider,
        "meter_provider": MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False),
    }


def ours_and_bare() -> list[float]:
    """Microseconds of a record that becomes a span and metrics: by our observer, and by the same calls of the SDK alone."""
    observer = telemetry._Telemetry(**sdk(), capture_content=False)
    metrics: list[Any] = []
    noted = telemetry._Telemetry(**sdk(), capture_content=False)
    tracer, spans = noted._tracer, []
    for name in ("_duration", "_first_chunk", "_next_chunk", "_tokens", "_stages", "_waits", "_active", "_failures"):
        setattr(noted, name, Noting(getattr(noted, name), metrics))

    class Tracer:
        def start_span(self, name: str, **arguments: Any) -> Any:
            spans.append((name, arguments))
            return tracer.start_span(name, **arguments)

    noted._tracer = Tracer()
    end = noted.started(START)
    ((name, arguments),) = spans
    beginning = dict(arguments["attributes"])
    span = tracer.start_span(name, **arguments)
    telemetry._finish(span, RECORD)
    rest = {key: value for key, value in span.attributes.items() if key not in beginning}
    span.end()
    end(RECORD)

    def bare() -> None:
        span = tracer.start_span(name, **arguments)
        span.set_attributes(rest)
        span.end()
        for method, positional, named in metrics:
            method(*positional, **named)

    return microseconds(lambda: observer.started(START)(RECORD), bare)


def main() -> None:
    """Measure and print."""
    nothing = {"tracer_provider": NoOpTracerProvider(), "meter_provider": NoOpMeterProvider()}
    kinds = {"off": None, "providers that do nothing": nothing, "the SDK": sdk(), "switched off again": None}
    found = asyncio.run(calls(kinds))
    off = found.pop("off")
    print(f"a call without telemetry: {off:.1f} us")
    for kind, most in found.items():
        print(f"{kind}: {most - off:+.1f} us")
    ours, bare = ours_and_bare()
    print(f"a record becomes a span and metrics: {ours:.1f} us, {ours / bare:.2f} times the SDK alone ({bare:.1f} us)")
    if found["providers that do nothing"] - off > MOST_OVER_NOTHING or ours > bare * MOST_OVER_THE_SDK:
        sys.exit(f"more than it may cost: {MOST_OVER_NOTHING} us over nothing, {MOST_OVER_THE_SDK} times the SDK alone")


if __name__ == "__main__":
    main()
