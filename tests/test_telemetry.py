"""OpenTelemetry: each call is one span in its place and its metrics, by the conventions; nothing of it holds a key or a prompt."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import aclosing

import pytest

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed: the dependency group `test`")

from langchain_core.messages import HumanMessage
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from langchain_cerebras_demo import (
    APITimeoutError,
    ChatCerebrasDemo,
    InvalidRequestError,
    MissingKeyError,
    RateLimitError,
    StreamInterruptedError,
    Timeout,
    telemetry,
)
from langchain_cerebras_demo.bulk import bulk
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.keys import StaticKey
from langchain_cerebras_demo.testing import CutAfter, Gate, Reply, ScriptedCall, Silence, Slow, Status
from langchain_cerebras_demo.wire.request import ChatRequest
from tests.support.otel import Collector, instrumented
from tests.support.processes import run_python

PROMPT, ANSWER = "the words of the prompt", "the words of the answer"
LONG = Reply(text=" ".join(f"word{number}" for number in range(60)))
LIMITED = Status(429, headers={"retry-after": "0.01", "inference-id": "req-2"})


@pytest.fixture
def exported():
    with instrumented() as exported:
        yield exported


@pytest.fixture
def model(server):
    return ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, max_retries=0)


def common(server):
    """What every span and metric has."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "cerebras",
        "gen_ai.request.model": "gpt-oss-120b",
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }


def sum_of(points, **attributes):
    """The sum of a histogram's points with these attributes, and how many values they are of; dots are written as `__`."""
    wanted = {name.replace("__", "."): value for name, value in attributes.items()}
    chosen = [point for point in points if wanted.items() <= dict(point.attributes).items()]
    return sum(point.sum for point in chosen), sum(point.count for point in chosen)


# -- what a span has


def test_a_span_has_all_that_the_conventions_name(exported, server):
    """And what Cerebras alone tells: its own times, its name for the request and what is left of the limits."""
    server.script(Reply(text='{"a": 1}', reasoning="thinking", headers={"inference-id": "req-1"}))
    model = ChatCerebrasDemo(
        base_url=server.base_url,
        api_key=server.key,
        temperature=0.5,
        top_p=0.9,
        max_tokens=100,
        seed=7,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        reasoning_effort="low",
        service_tier="auto",
        response_format={"type": "json_object"},
    )
    answer = model.invoke(PROMPT, stop=["END"])
    usage = answer.usage_metadata
    span = exported.span()
    assert (span.name, span.kind, span.parent) == ("chat gpt-oss-120b", SpanKind.CLIENT, None)
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope.name == "langchain_cerebras_demo"
    assert span.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.41.0"
    attributes = dict(span.attributes)
    times = {name: attributes.pop(name) for name in list(attributes) if name.startswith("cerebras.time.")}
    left = {name: attributes.pop(name) for name in list(attributes) if name.startswith("cerebras.limits.")}
    waits = {name: attributes.pop(name) for name in list(attributes) if name.startswith("cerebras.wait.")}
    assert attributes == {
        **common(server),
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.seed": 7,
        "gen_ai.request.frequency_penalty": 0.1,
        "gen_ai.request.presence_penalty": 0.2,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.output.type": "json",
        "gen_ai.response.model": "gpt-oss-120b",
        "gen_ai.response.id": answer.response_metadata["id"],
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": usage["input_tokens"],
        "gen_ai.usage.output_tokens": usage["output_tokens"],
        "gen_ai.usage.cache_read.input_tokens": usage["input_token_details"]["cache_read"],
        "gen_ai.usage.reasoning.output_tokens": usage["output_token_details"]["reasoning"],
        "cerebras.request.service_tier": "auto",
        "cerebras.attempts": 1,
        "cerebras.request_id": "req-1",
        "cerebras.run_id": attributes["cerebras.run_id"],
        "cerebras.cost_usd": attributes["cerebras.cost_usd"],
    }
    assert re.fullmatch(r"[0-9a-f-]{36}", attributes["cerebras.run_id"])
    assert attributes["cerebras.cost_usd"] > 0
    assert set(times) == {f"cerebras.time.{stage}" for stage in ("queue", "prompt", "completion", "total")}
    assert left["cerebras.limits.requests_per_day.remaining"] == model.limits["requests per day"].remaining
    assert left["cerebras.limits.tokens_per_minute.remaining"] == model.limits["tokens per minute"].remaining
    assert set(waits) == {"cerebras.wait.queue", "cerebras.wait.limit", "cerebras.wait.retry"}


async def test_a_stream_has_the_time_to_its_first_chunk(exported, server, model):
    """And its metrics: the first chunk once, each later one with the time since the one before."""
    server.script(Slow(0.05, Reply(text="one two three four five")))
    async with aclosing(model.astream(PROMPT)) as chunks:
        assert [chunk async for chunk in chunks]
    attributes = exported.span().attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.output_tokens"] > 0
    points = exported.points()
    first, count = sum_of(points["gen_ai.client.operation.time_to_first_chunk"])
    assert count == 1
    assert first == attributes["gen_ai.response.time_to_first_chunk"] > 0
    duration, _ = sum_of(points["gen_ai.client.operation.duration"])
    between, count = sum_of(points["gen_ai.client.operation.time_per_output_chunk"])
    assert count >= 1
    assert 0 < between < duration


def test_several_answers_have_as_many_finish_reasons(exported, model):
    """In the order of the answers; the number that was asked for is an attribute if it is not one."""
    model.generate([[HumanMessage(PROMPT)]], n=2)
    attributes = exported.span().attributes
    assert attributes["gen_ai.request.choice.count"] == 2
    assert len(attributes["gen_ai.response.finish_reasons"]) == 2


# -- failures


async def failure(model, kind, exported, *, streamed=False, **arguments):
    with pytest.raises(kind):
        if streamed:
            async with aclosing(model.astream(PROMPT, **arguments)) as chunks:
                async for _ in chunks:
                    pass
        else:
            await model.ainvoke(PROMPT, **arguments)
    span = exported.span()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == span.attributes["error.type"]
    duration = exported.points()["gen_ai.client.operation.duration"]
    assert sum_of(duration, error__type=span.attributes["error.type"])[1] == 1
    return span


async def test_a_stream_that_is_cut_off_is_an_error(exported, server, model):
    """With the name of the exception, and the time to the first chunk that it had."""
    server.script(CutAfter(events=3, reply=LONG))
    span = await failure(model, StreamInterruptedError, exported, streamed=True)
    assert span.attributes["error.type"] == "StreamInterruptedError"
    assert span.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert "gen_ai.response.finish_reasons" not in span.attributes


async def test_each_attempt_that_failed_is_an_event_with_its_reason(exported, server):
    """At the time when it failed; the call itself is answered."""
    server.script(LIMITED, Status(500), Reply(text=ANSWER))
    await ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, max_retries=2).ainvoke(PROMPT)
    span = exported.span()
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["cerebras.attempts"] == 3
    first, second = span.events
    assert {first.name, second.name} == {"cerebras.attempt.failed"}
    assert span.start_time <= first.timestamp < second.timestamp < span.end_time
    assert first.attributes["error.type"] == "RateLimitError"
    assert first.attributes["http.response.status_code"] == 429
    assert first.attributes["cerebras.limit"]
    assert first.attributes["cerebras.request_id"]
    assert first.attributes["cerebras.wait.retry"] > 0
    assert second.attributes["error.type"] == "InternalServerError"
    assert second.attributes["http.response.status_code"] == 500
    counted = {
        point.attributes["error.type"]: point.value for point in exported.points()["cerebras.client.failed_attempts"]
    }
    assert counted == {"RateLimitError": 1, "InternalServerError": 1}


async def test_a_refusal_has_its_status_its_limit_and_when_to_come_back(exported, server, model):
    """All of them are attributes of the span; the metric has the class alone."""
    server.script(Status(429, headers={"retry-after": "7"}))
    span = await failure(model, RateLimitError, exported)
    assert span.attributes["error.type"] == "RateLimitError"
    assert span.attributes["http.response.status_code"] == 429
    assert span.attributes["cerebras.retry_after"] == 7
    assert span.attributes["cerebras.limit"]


async def test_a_time_out_is_an_error(exported, server):
    """Without a status: nothing was answered."""
    server.script(Silence(before_headers=True))
    model = ChatCerebrasDemo(
        base_url=server.base_url, api_key=server.key, max_retries=0, timeout=Timeout(first_event=0.05)
    )
    span = await failure(model, APITimeoutError, exported)
    assert span.attributes["error.type"] == "APITimeoutError"
    assert "http.response.status_code" not in span.attributes


async def test_a_missing_key_is_an_error_of_a_call_that_sent_nothing(exported):
    """The address is the one that it would have gone to."""
    model = ChatCerebrasDemo(base_url="https://api.cerebras.ai/v1")
    span = await failure(model, MissingKeyError, exported)
    assert span.attributes["error.type"] == "MissingKeyError"
    assert span.attributes["cerebras.attempts"] == 0
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("api.cerebras.ai", 443)


@pytest.mark.parametrize(
    "refused", [{"temperature": "hot"}, {"stop": 5}, {"stop": [1]}, {"n": [2]}, {"seed": object()}, {"no_such": 1}]
)
async def test_a_request_that_is_refused_before_sending_is_an_error(exported, model, refused):
    """Whatever its parameters hold, which nobody has checked when the span begins."""
    span = await failure(model, (InvalidRequestError, TypeError), exported, **refused)
    assert span.attributes["error.type"].startswith("InvalidRequest")
    assert span.attributes["cerebras.attempts"] == 0


def test_a_list_of_models_is_a_span_of_its_own_name(exported, server, model):
    """It asks no model."""
    model.list_models()
    (span,) = exported.spans()
    wanted = {**common(server), "gen_ai.operation.name": "list_models"}
    del wanted["gen_ai.request.model"]
    assert span.name == "list_models"
    assert wanted.items() <= dict(span.attributes).items()
    assert "gen_ai.request.model" not in span.attributes


@pytest.mark.parametrize("way", ["cancelled", "left early"])
async def test_a_call_that_was_cancelled_is_an_error(exported, server, model, way):
    """Also a stream that nobody read to its end; meanwhile it counts as active."""
    gate = Gate(after=3, reply=LONG)
    server.script(gate)
    if way == "cancelled":
        task = asyncio.create_task(model.ainvoke(PROMPT))
        assert await asyncio.to_thread(gate.wait_reached)
        (active,) = exported.points()["cerebras.client.active_calls"]
        assert active.value == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with aclosing(model.astream(PROMPT)) as chunks:
            await anext(chunks)
    span = exported.span()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "cancelled"
    (active,) = exported.points()["cerebras.client.active_calls"]
    assert active.value == 0


# -- metrics


def test_the_metrics_of_an_answer(exported, server, model):
    """Their names, units, buckets and attributes are those of the conventions, and their values those of the span."""
    answer = model.invoke(PROMPT)
    points, span = exported.points(), exported.span()
    (duration,) = points["gen_ai.client.operation.duration"]
    assert dict(duration.attributes) == {**common(server), "gen_ai.response.model": "gpt-oss-120b"}
    assert duration.explicit_bounds == (
        0.01,
        0.02,
        0.04,
        0.08,
        0.16,
        0.32,
        0.64,
        1.28,
        2.56,
        5.12,
        10.24,
        20.48,
        40.96,
        81.92,
    )
    assert duration.sum == pytest.approx((span.end_time - span.start_time) / 1e9, abs=0.5)
    tokens = points["gen_ai.client.token.usage"]
    assert sum_of(tokens, gen_ai__token__type="input") == (answer.usage_metadata["input_tokens"], 1)
    assert sum_of(tokens, gen_ai__token__type="output") == (answer.usage_metadata["output_tokens"], 1)
    assert tokens[0].explicit_bounds[:3] == (1, 4, 16)
    assert tokens[0].explicit_bounds[-1] == 4**13
    stages = {point.attributes["cerebras.stage"]: point.sum for point in points["cerebras.server.duration"]}
    assert stages == {stage: span.attributes[f"cerebras.time.{stage}"] for stage in ("queue", "prompt", "completion")}
    assert not points.keys() & {
        "gen_ai.client.operation.time_to_first_chunk",  # of streams alone
        "gen_ai.client.operation.time_per_output_chunk",
        "cerebras.client.wait.duration",  # of calls that waited
        "cerebras.client.failed_attempts",
    }


async def test_waits_are_metrics_by_what_was_waited_for(exported, server):
    """For a place, and between attempts."""
    server.script(LIMITED, Reply(text=ANSWER), Reply(text=ANSWER))
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, max_concurrency=1, rate_limit=None)
    await asyncio.gather(model.ainvoke("a"), model.ainvoke("b"))
    waits = exported.points()["cerebras.client.wait.duration"]
    spans = exported.spans("chat ")
    for kind in ("queue", "retry"):
        wanted = [
            span.attributes[f"cerebras.wait.{kind}"] for span in spans if span.attributes[f"cerebras.wait.{kind}"]
        ]
        assert sum_of(waits, cerebras__wait=kind) == (pytest.approx(sum(wanted)), len(wanted))
        assert wanted


# -- parents and children


def parents(exported, name):
    """Of each call, whether its parent is the span of this name."""
    (parent,) = exported.spans(name)
    return [
        span.parent is not None and span.parent.span_id == parent.context.span_id for span in exported.spans("chat ")
    ]


async def test_a_span_is_a_child_of_the_current_one(exported, model):
    """In sync and async calls, streams and batches, wherever threads and tasks run them."""
    with exported.tracer.start_as_current_span("step"):
        model.invoke("a")
        list(model.stream("b"))
        model.batch(["c", "d"])
        await model.ainvoke("e")
        async with aclosing(model.astream("f")) as chunks:
            assert [chunk async for chunk in chunks]
        await model.abatch(["g", "h"])
        assert [record async for record in bulk(model, ["i", "j", "k"], concurrency=2)]
    assert parents(exported, "step") == [True] * 11


async def test_two_steps_at_once_each_have_their_own_calls(exported, model):
    """Also where their streams are read in turn."""

    async def step(name):
        with exported.tracer.start_as_current_span(name):
            async with aclosing(model.astream(name)) as chunks:
                async for _ in chunks:
                    await asyncio.sleep(0)

    await asyncio.gather(step("one"), step("two"))
    spans = exported.spans("chat ")
    assert len({span.parent.span_id for span in spans}) == 2
    assert sorted(parents(exported, "one")) == sorted(parents(exported, "two")) == [False, True]


async def test_an_agent_with_two_tools(exported, server, model):
    """Its calls of the model are children of its span, also those that a tool makes below a span of its own."""
    agents = pytest.importorskip("langchain.agents")
    server.script(
        Reply(tool_calls=[ScriptedCall("look", {"city": "Rome"}), ScriptedCall("summarize", {"text": "long"})]),
        Reply(text="short"),
        Reply(text=ANSWER),
    )

    def look(city: str) -> str:
        """Look at a city."""
        return f"sunny in {city}"

    async def summarize(text: str) -> str:
        """Summarize a text."""
        with exported.tracer.start_as_current_span("execute_tool summarize"):
            return (await model.ainvoke(text)).text

    with exported.tracer.start_as_current_span("invoke_agent"):
        await agents.create_agent(model, [look, summarize]).ainvoke({"messages": [("human", PROMPT)]})
    assert parents(exported, "invoke_agent") == [True, False, True]
    assert parents(exported, "execute_tool summarize") == [False, True, False]
    first = exported.spans("chat ")[0]
    assert first.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert len({span.context.trace_id for span in exported.spans()}) == 1


# -- content and secrets


async def test_no_prompt_no_answer_and_no_key_is_in_what_is_exported(exported, server, model):
    """Of answers, streams and failures, whatever they repeat."""
    server.script(Reply(text=ANSWER), Reply(text=ANSWER), Status(400, {"message": f"{PROMPT} {server.key}"}))
    await model.ainvoke([("system", PROMPT), ("human", PROMPT)], stop=["x"])
    async with aclosing(model.astream(PROMPT)) as chunks:
        assert [chunk async for chunk in chunks]
    with pytest.raises(Exception, match="words of the prompt"):
        await model.ainvoke(PROMPT)
    told = "".join(span.to_json() for span in exported.spans()) + repr(exported.points())
    assert len(exported.spans("chat ")) == 3
    for secret in (PROMPT, ANSWER, server.key):
        assert secret not in told


async def test_content_is_captured_if_it_is_asked_for(server, model):
    """As JSON, by the schemas of the conventions; still no key."""
    server.script(Reply(text=ANSWER), CutAfter(events=4, reply=LONG))
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "text", "text": PROMPT},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        ]},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"city": "Rome"}'}},
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]  # fmt: skip
    with instrumented(capture_content=True) as exported:
        await model.bind(model="qwen-3.8-27b").ainvoke(messages)
        with pytest.raises(StreamInterruptedError):
            async with aclosing(model.astream(PROMPT)) as chunks:
                assert [chunk async for chunk in chunks]
        whole, cut = exported.spans("chat ")
        assert server.key not in whole.to_json() + cut.to_json()
    system, user, assistant, tool = json.loads(whole.attributes["gen_ai.input.messages"])
    assert system == {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]}
    image = {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBORw0KGgo="}
    assert user == {"role": "user", "parts": [{"type": "text", "content": PROMPT}, image]}
    call = {"type": "tool_call", "id": "c1", "name": "look", "arguments": '{"city": "Rome"}'}
    assert assistant["role"] == "assistant"
    assert assistant["parts"][-1] == call
    assert tool == {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "sunny"}]}
    (said,) = json.loads(whole.attributes["gen_ai.output.messages"])
    assert said == {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}
    (said,) = json.loads(cut.attributes["gen_ai.output.messages"])
    assert said["finish_reason"] == "error"
    assert said["parts"][0]["content"].startswith("word0")


# -- a collector


async def test_a_collector_receives_spans_and_metrics_over_http(server):
    """OTLP, as its own messages say; with no key in it."""
    with Collector.running() as collector:
        spans = TracerProvider(shutdown_on_exit=False)
        spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{collector.url}/v1/traces")))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{collector.url}/v1/metrics"))
        metrics = MeterProvider([reader], shutdown_on_exit=False)
        telemetry.instrument(tracer_provider=spans, meter_provider=metrics)
        try:
            server.script(Reply(text=ANSWER), LIMITED)
            model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, max_retries=0)
            await model.ainvoke(PROMPT)
            with pytest.raises(RateLimitError):
                await model.ainvoke(PROMPT)
        finally:
            telemetry.uninstrument()
            spans.shutdown()
            metrics.shutdown()
    traces = ExportTraceServiceRequest()
    traces.ParseFromString(b"".join(body for path, body in collector.bodies if path == "/v1/traces"))
    sent = [span for one in traces.resource_spans for scope in one.scope_spans for span in scope.spans]
    assert [span.name for span in sent] == ["chat gpt-oss-120b"] * 2
    assert [span.status.code for span in sent] == [0, 2]
    figures = ExportMetricsServiceRequest()
    figures.ParseFromString(b"".join(body for path, body in collector.bodies if path == "/v1/metrics"))
    names = {metric.name for one in figures.resource_metrics for scope in one.scope_metrics for metric in scope.metrics}
    assert names >= {"gen_ai.client.operation.duration", "gen_ai.client.token.usage", "cerebras.server.duration"}
    assert not [body for _, body in collector.bodies if server.key.encode() in body or PROMPT.encode() in body]


# -- on and off


async def test_the_last_instrument_counts_and_uninstrument_ends_it(server, model):
    """A call makes one span, however often it was switched on, and none afterwards."""
    with instrumented() as first:
        with instrumented() as second:
            await model.ainvoke(PROMPT)
            assert (len(first.spans()), len(second.spans())) == (0, 1)
        await model.ainvoke(PROMPT)
        assert (len(first.spans()), len(second.spans())) == (0, 1)


def test_the_embedded_model_is_not_taken_for_cerebras():
    """Its provider is `local`, and it has no address."""
    assert telemetry._common("chat", "smollm2-135m", "local") == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "local",
        "gen_ai.request.model": "smollm2-135m",
    }


SWITCH = """
import os, sys
os.environ.update(CEREBRAS_BASE_URL=sys.argv[1], CEREBRAS_API_KEY=sys.argv[2])
from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.client import observers

name = "langchain_cerebras_demo.telemetry"
ChatCerebrasDemo().invoke("hi")
assert name not in sys.modules
os.environ["CEREBRAS_DEMO_OTEL"] = "1"
from opentelemetry import trace
from langchain_core.messages import HumanMessage
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
model = ChatCerebrasDemo()
assert name not in sys.modules
model.invoke("hi")
assert name in sys.modules
trace.set_tracer_provider(provider)  # also after it was switched on
ChatCerebrasDemo().invoke("hi")
print([span.name for span in exporter.get_finished_spans()])
"""


def test_the_variable_switches_it_on_when_a_client_is_made(server):
    """`CEREBRAS_DEMO_OTEL=1`, read when a model is first used; without it nothing of it is imported."""
    ended = run_python(SWITCH, server.base_url, server.key, flags=(), forked=True)
    assert (ended.stderr, ended.stdout) == ("", "['chat gpt-oss-120b']\n")


@pytest.mark.parametrize("content", ["half a pair: \ud800", 2**70])
async def test_content_that_cannot_be_sent_costs_no_span(server, content):
    """The request is refused; its span says so."""
    request = ChatRequest("gpt-oss-120b", [{"role": "user", "content": content}])
    client = Client(base_url=server.base_url, keys=StaticKey(server.key))
    with instrumented(capture_content=True) as exported:
        with pytest.raises(InvalidRequestError):
            await client.complete(request)
        assert exported.span().attributes["error.type"].startswith("InvalidRequest")
        (active,) = exported.points()["cerebras.client.active_calls"]
        assert active.value == 0


async def test_a_span_ends_even_if_its_attributes_fail(exported, model, monkeypatch):
    """And the call is measured."""
    monkeypatch.setattr(telemetry, "_finish", lambda *_: 1 / 0)
    await model.ainvoke("hi")
    assert exported.span()
    points = exported.points()
    assert len(points["gen_ai.client.operation.duration"]) == 1
    assert [point.value for point in points["cerebras.client.active_calls"]] == [0]
