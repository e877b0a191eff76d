from __future__ import annotations

import pytest

from langchain_cerebras_demo.testing import LoopbackCerebras


@pytest.fixture
def server():
    with LoopbackCerebras() as running:
        yield running


@pytest.fixture(scope="module")
def shared_server():
    """For tests that leave no trace behind: no script, no look at ``requests``."""
    with LoopbackCerebras() as running:
        yield running
