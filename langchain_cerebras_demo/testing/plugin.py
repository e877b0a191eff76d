"""A pytest plug-in: the loopback Cerebras as the fixture ``loopback_cerebras``.

pytest loads it if the package is installed (entry point ``pytest11``); ``-p no:langchain_cerebras_demo`` disables it. The
server is only imported when a test uses the fixture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from langchain_cerebras_demo import testing

__all__ = ["loopback_cerebras", "pytest_configure"]

MARKER = "loopback_cerebras"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, so that ``--strict-markers`` accepts it."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(**settings): what the fixture {MARKER} starts its server with: the arguments of LoopbackCerebras",
    )


@pytest.fixture
def loopback_cerebras(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[testing.LoopbackCerebras]:
    """A running ``LoopbackCerebras`` for this test: a server on 127.0.0.1 with the service's API.

    While it runs, ``CEREBRAS_BASE_URL`` and ``CEREBRAS_API_KEY`` point to it, so that a model made during the test without
    ``base_url`` and ``api_key`` uses it. ``loopback_cerebras.script(...)`` sets the answers to the next requests.

    ``@pytest.mark.loopback_cerebras(latency=0.1)`` sets the arguments of ``LoopbackCerebras``; of several such markers, the
    one nearest to the test counts.

    Raises:
        TypeError: the marker has a setting that ``LoopbackCerebras`` does not have, or one without a name.
        RuntimeError: the server did not start or stop, or failed because of a bug in it.
    """
    marker = request.node.get_closest_marker(MARKER)
    if marker is not None and marker.args:
        raise TypeError(f"@pytest.mark.{MARKER} accepts settings by name, like latency=0.1; got {marker.args!r}")
    # One key per test: rate limits are remembered by address and key, and the system reuses ports.
    settings = {"key": f"csk-loopback-{os.urandom(8).hex()}", **(marker.kwargs if marker is not None else {})}
    with testing.LoopbackCerebras(**settings) as server:
        monkeypatch.setenv("CEREBRAS_BASE_URL", server.base_url)
        monkeypatch.setenv("CEREBRAS_API_KEY", server.key)
        yield server
