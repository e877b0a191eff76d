"""The test authority and resolver let a client call https://api.cerebras.ai without leaving the machine."""

from __future__ import annotations

import aiohttp
import pytest

from langchain_cerebras_demo.testing import LoopbackCerebras
from tests.support.tls import LoopbackTLS


@pytest.fixture(scope="module")
def tls():
    return LoopbackTLS()


async def test_every_cerebras_name_leads_to_the_loopback(tls):
    """Whatever port a URL has; the names asked for are recorded, and the Host header is the client's."""
    with LoopbackCerebras(ssl_context=tls.server_context()) as server:
        resolver = tls.resolver(server.port)
        connector = aiohttp.TCPConnector(resolver=resolver, ssl=tls.client_context())
        async with aiohttp.ClientSession(connector=connector) as session:
            for host in ("api.cerebras.ai", "inference.cerebras.ai", "x.cerebras.ai:8443", "other.example"):
                async with session.get(f"https://{host}/public/v1/models") as response:
                    assert response.status == 200
        assert resolver.names == ["api.cerebras.ai", "inference.cerebras.ai", "x.cerebras.ai", "other.example"]
        assert [request.host for request in server.requests] == [
            "api.cerebras.ai",
            "inference.cerebras.ai",
            "x.cerebras.ai:8443",
            "other.example",
        ]


@pytest.mark.parametrize("host", ["example.com", "cerebras.ai.evil.test", "notcerebras.ai"])
async def test_no_other_name_leads_anywhere(tls, host):
    """A test that speaks to the outside by mistake fails."""
    with pytest.raises(OSError, match=host):
        await tls.resolver(1).resolve(host, 443)


async def test_a_client_without_the_authority_is_refused(tls):
    """The certificate's authority is not trusted by the system."""
    with LoopbackCerebras(ssl_context=tls.server_context()) as server:
        connector = aiohttp.TCPConnector(resolver=tls.resolver(server.port))
        async with aiohttp.ClientSession(connector=connector) as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get("https://api.cerebras.ai/public/v1/models")
        assert server.requests == []
