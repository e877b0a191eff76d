"""What tracers receive: LangSmith, OpenInference and OpenLLMetry learn of usage, model, parameters and ending, and of no key.

LangSmith's own client sends to a stand-in on loopback. The two others need packages of their own (``nox -s tracers``), which
instrument a whole process, so each of them is asked in one.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from langchain_cerebras_demo.testing import LoopbackCerebras
from tests.support.processes import run_python

# What all of them are asked to trace, with the address and the key of a loopback Cerebras as arguments.
CALLS = """
import sys

from langchain_cerebras_demo import ChatCerebrasDemo

base_url, key = sys.argv[1:3]
model = ChatCerebrasDemo(base_url=base_url, api_key=key, temperature=0.5, max_tokens=50, max_retries=0, name="traced")
model.invoke("hello", stop=["."])
list(model.stream("hello"))
model.bind_tools([{"type": "function", "function": {"name": "look", "parameters": {}}}], tool_choice="any").invoke("look")
try:
    model.bind(model="no-such-model").invoke("hello")
except Exception:
    pass
"""

LANGSMITH = """
import os
import sys

os.environ.update(LANGSMITH_TRACING="true", LANGSMITH_ENDPOINT=sys.argv[3], LANGSMITH_API_KEY="ls-made-up")
{calls}
from langchain_core.tracers.langchain import wait_for_all_tracers

wait_for_all_tracers()
"""

SPANS = """
import json

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from {package} import {instrumentor}

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
{instrumentor}().instrument(tracer_provider=provider)
{calls}
spans = exporter.get_finished_spans()
print(json.dumps([json.loads(span.to_json()) for span in spans], default=str))
"""


@pytest.fixture(scope="module")
def loopback():
    with LoopbackCerebras() as running:
        yield running


def run(code, *arguments):
    """Without -W error: what the tracers themselves warn of is theirs."""
    ended = run_python(code, *arguments, flags=())
    assert ended.returncode == 0, ended.stderr
    return ended


# -- LangSmith


class StandIn(ThreadingHTTPServer):
    """Takes runs as LangSmith does, as JSON; ``bodies`` is all that was sent."""

    def __init__(self):
        self.bodies = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def runs(self):
        """Every run with all that was told of it, by its id."""
        runs = {}
        for path, body in self.bodies:
            told = json.loads(body)
            for part in [*told.get("post", ()), *told.get("patch", ())] if path.endswith("/batch") else [told]:
                known = runs.setdefault(part["id"], {})
                known.update({key: value for key, value in part.items() if value is not None})
        return list(runs.values())


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        limits = {
            "use_multipart_endpoint": False,
            "scale_up_qsize_trigger": 1000,
            "scale_up_nthreads_limit": 16,
            "scale_down_nempty_trigger": 4,
            "size_limit": 100,
            "size_limit_bytes": 20_971_520,
        }
        self._answer({"batch_ingest_config": limits})

    def do_POST(self):
        length = int(self.headers["content-length"])
        self.server.bodies.append((self.path, self.rfile.read(length)))
        self._answer({})

    do_PATCH = do_POST  # noqa: N815 - the name that http.server looks for

    def _answer(self, told):
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def stand_in():
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def langsmith(loopback):
    with stand_in() as server:
        run(LANGSMITH.format(calls=CALLS), loopback.base_url, loopback.key, server.url)
        yield server


def test_langsmith_receives_usage_model_parameters_and_finish_reason(langsmith):
    """Of a whole answer, of a stream, and of one with a call."""
    runs = [one for one in langsmith.runs() if one["run_type"] == "llm" and not one.get("error")]
    assert len(runs) == 3
    for one in runs:
        metadata, parameters = one["extra"]["metadata"], one["extra"]["invocation_params"]
        assert (metadata["ls_provider"], metadata["ls_model_name"]) == ("cerebras", "gpt-oss-120b")
        assert (metadata["ls_temperature"], metadata["ls_max_tokens"]) == (0.5, 50)
        assert (parameters["model"], parameters["temperature"], parameters["max_tokens"]) == ("gpt-oss-120b", 0.5, 50)
        assert metadata["usage_metadata"]["total_tokens"] > 0
        ((generation,),) = one["outputs"]["generations"]
        info, message = generation["generation_info"], generation["message"]["kwargs"]
        assert info["finish_reason"] == message["response_metadata"]["finish_reason"]
        assert info["finish_reason"] in {"stop", "tool_calls", "length"}
        assert info["id"].startswith("chatcmpl-")
        assert message["usage_metadata"]["total_tokens"] == metadata["usage_metadata"]["total_tokens"]
    assert runs[0]["extra"]["metadata"]["ls_stop"] == ["."]


def test_langsmith_receives_the_failure_of_a_call(langsmith):
    """With the service's words."""
    (failed,) = [one for one in langsmith.runs() if one.get("error")]
    assert "NotFoundError" in failed["error"]
    assert "no-such-model" in failed["error"]


def test_langsmith_receives_no_key(langsmith, loopback):
    """In nothing that was sent."""
    assert langsmith.bodies
    assert not [body for _, body in langsmith.bodies if loopback.key.encode() in body]


# -- OpenTelemetry


def spans_of(package, instrumentor, loopback):
    ended = run(SPANS.format(package=package, instrumentor=instrumentor, calls=CALLS), loopback.base_url, loopback.key)
    assert loopback.key not in ended.stdout + ended.stderr
    spans = [span["attributes"] | {"status": span["status"]["status_code"]} for span in json.loads(ended.stdout)]
    answered = [span for span in spans if span["status"] != "ERROR"]
    assert (len(spans), len(answered)) == (4, 3)
    return answered


def needs(package):
    try:
        is_there = importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of the packages above it
        is_there = False
    return pytest.mark.skipif(not is_there, reason=f"{package} is not installed: run nox -s tracers")


@pytest.mark.upstream
@needs("openinference.instrumentation.langchain")
def test_openinference_has_model_provider_tokens_finish_reason_and_id(loopback):
    """Streamed or not; it writes the answer's id with the rest of the output."""
    for span in spans_of("openinference.instrumentation.langchain", "LangChainInstrumentor", loopback):
        assert (span["llm.provider"], span["llm.model_name"]) == ("cerebras", "gpt-oss-120b")
        assert span["llm.token_count.prompt"] + span["llm.token_count.completion"] == span["llm.token_count.total"] > 0
        assert span["llm.finish_reason"] in {"stop", "tool_calls", "length"}
        assert json.loads(span["llm.invocation_parameters"])["temperature"] == 0.5
        ((generation,),) = json.loads(span["output.value"])["generations"]
        assert generation["generation_info"]["id"].startswith("chatcmpl-")


@pytest.mark.upstream
@needs("opentelemetry.instrumentation.langchain")
def test_openllmetry_has_model_provider_tokens_finish_reason_and_id(loopback):
    """Its own name for the provider is "langchain" for every class that it does not know, and it finds no id in streams."""
    whole, streamed, called = spans_of("opentelemetry.instrumentation.langchain", "LangchainInstrumentor", loopback)
    for span in (whole, streamed, called):
        assert span["traceloop.association.properties.ls_provider"] == "cerebras"
        assert (span["gen_ai.request.model"], span["gen_ai.response.model"]) == ("gpt-oss-120b", "gpt-oss-120b")
        assert (
            span["gen_ai.usage.input_tokens"] + span["gen_ai.usage.output_tokens"] == span["gen_ai.usage.total_tokens"]
        )
        assert len(span["gen_ai.response.finish_reasons"]) == 1
        assert (span["gen_ai.request.temperature"], span["gen_ai.request.max_tokens"]) == (0.5, 50)
    for span in (whole, called):
        assert span["gen_ai.response.id"].startswith("chatcmpl-")


# -- our own spans beside theirs

BESIDE = """
import asyncio
import json
import sys

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from {package} import {instrumentor}
from langchain_cerebras_demo.telemetry import instrument

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
{instrumentor}().instrument(tracer_provider=provider)
instrument(tracer_provider=provider)

from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_cerebras_demo import ChatCerebrasDemo

model = ChatCerebrasDemo(base_url=sys.argv[1], api_key=sys.argv[2])
chain = RunnableLambda(lambda question: question) | model

async def later():
    await chain.ainvoke("hello")
    assert [chunk async for chunk in chain.astream("hello")]
    await create_agent(model, []).ainvoke({{"messages": [("human", "hello")]}})

chain.invoke("hello")
list(chain.stream("hello"))
asyncio.run(later())
spans = exporter.get_finished_spans()
names = {{span.context.span_id: span.name for span in spans}}
print(json.dumps([names.get(span.parent and span.parent.span_id) for span in spans if span.name == "chat gpt-oss-120b"]))
"""


def parents_beside(package, instrumentor, loopback):
    ended = run(BESIDE.format(package=package, instrumentor=instrumentor), loopback.base_url, loopback.key)
    return json.loads(ended.stdout)


@pytest.mark.upstream
@needs("openinference.instrumentation.langchain")
def test_our_spans_are_children_of_openinferences(loopback):
    """Of the model's run, or of the chain's where LangChain does not tell the run: it is not passed on to streams."""
    parents = parents_beside("openinference.instrumentation.langchain", "LangChainInstrumentor", loopback)
    model, chain = "ChatCerebrasDemo", "RunnableSequence"
    assert parents == [model, chain, model, chain, model]


@pytest.mark.upstream
@needs("opentelemetry.instrumentation.langchain")
def test_our_spans_are_children_of_openllmetrys(loopback):
    """Of whatever it has made the current one: a chain, a task of it, or an agent's step."""
    parents = parents_beside("opentelemetry.instrumentation.langchain", "LangchainInstrumentor", loopback)
    assert len(parents) == 5
    assert None not in parents
    assert parents[-1] == "execute_task model"
