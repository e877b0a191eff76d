"""OpenTelemetry's SDK for tests: what was exported, in memory, and a collector on loopback."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_cerebras_demo.telemetry import instrument, uninstrument

__all__ = ["Collector", "Exported", "instrumented"]


class Exported:
    """What a test's calls have exported."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meter_provider = MeterProvider([self._metrics], shutdown_on_exit=False)
        self.tracer = self.tracer_provider.get_tracer("test")

    def spans(self, prefix: str = "") -> list[ReadableSpan]:
        """The spans that have ended and whose name begins so, in the order of their ends."""
        return [span for span in self._spans.get_finished_spans() if span.name.startswith(prefix)]

    def span(self) -> ReadableSpan:
        """The only call's."""
        (found,) = self.spans("chat ")
        return found

    def points(self) -> dict[str, list[Any]]:
        """The data points of each metric, by its name."""
        data = self._metrics.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics}

    def close(self) -> None:
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()


@contextmanager
def instrumented(*, capture_content: bool = False) -> Iterator[Exported]:
    """Every call within is exported."""
    exported = Exported()
    instrument(
        tracer_provider=exported.tracer_provider,
        meter_provider=exported.meter_provider,
        capture_content=capture_content,
    )
    try:
        yield exported
    finally:
        uninstrument()
        exported.close()


class Collector(ThreadingHTTPServer):
    """Receives OTLP over HTTP; ``bodies`` holds the path and the body of each request."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """What ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set to."""
        return f"http://127.0.0.1:{self.server_port}"

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Collector]:
        """A collector in a thread of its own."""
        with cls() as collector:
            thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield collector
            finally:
                collector.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.bodies.append((self.path, body))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
