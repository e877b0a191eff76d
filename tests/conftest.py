"""What every test stands on: an environment without anybody's keys, and a loopback Cerebras."""

from __future__ import annotations

import signal

import pytest

from langchain_cerebras_demo.testing import LoopbackCerebras
from tests.support.processes import forget_servers

FOREIGN_VARIABLES = (
    "CEREBRAS_API_KEY",
    "CEREBRAS_BASE_URL",
    "CEREBRAS_DEMO_BROWSER",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "LC_OUTPUT_VERSION",
    "LANGSMITH_TRACING",
    "LANGCHAIN_TRACING_V2",
)


def pytest_configure(config):
    if config.getoption("--exact"):
        from langchain_cerebras_demo import ChatCerebrasDemo

        ChatCerebrasDemo.model_fields["coalesce"].default = False
        ChatCerebrasDemo.model_rebuild(force=True)
    # A shell ignores SIGINT for what it starts in the background, and children inherit that: tests of Ctrl-C would hang.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure():
    forget_servers()


def pytest_addoption(parser):
    parser.addoption("--live", action="store_true", help="ask the real service; needs CEREBRAS_API_KEY")
    parser.addoption("--exact", action="store_true", help="all models with coalesce=False where a test does not say")


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.get_closest_marker("live") and not config.getoption("--live"):
            item.add_marker(pytest.mark.skip(reason="asks the real service: run with --live and CEREBRAS_API_KEY"))


@pytest.fixture(autouse=True)
def _clean_environment(request, monkeypatch):
    """No key, address or proxy of whoever runs the tests reaches them."""
    if request.node.get_closest_marker("live"):
        return
    for name in FOREIGN_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    """A loopback Cerebras of this test's own."""
    with LoopbackCerebras() as running:
        yield running
