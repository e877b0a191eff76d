"""What stands for the site whose sessions buy demo keys, and a transport that leads to it."""

from __future__ import annotations

import asyncio

import pytest

from langchain_cerebras_demo import AiohttpTransport
from langchain_cerebras_demo.testing import LoopbackCerebras
from tests.support.tls import LoopbackTLS


@pytest.fixture(scope="module")
def tls():
    return LoopbackTLS()


@pytest.fixture
def site(request, tls):
    """What stands for ``https://inference.cerebras.ai``, with the ``DEMO_KEY`` and the ``COOKIES`` of the test's module."""
    facts = {"demo_key": request.module.DEMO_KEY, "session_cookies": request.module.COOKIES}
    with LoopbackCerebras(ssl_context=tls.server_context(), **facts) as server:
        yield server


@pytest.fixture
async def transport(tls, site):
    """Leads every Cerebras name, and ``other.example``, to the site."""
    mine = AiohttpTransport(resolver=tls.resolver(site.port), ssl_context=tls.client_context())
    yield mine
    await mine.aclose()
    assert await asyncio.to_thread(site.wait_for_connections, 0)  # TLS says good-bye to the end, before the loop goes
