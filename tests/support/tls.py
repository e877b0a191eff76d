"""A certificate authority for tests, and a resolver that leads every Cerebras name to the loopback.

So a client can be tested against ``https://api.cerebras.ai`` itself, names, certificates and cookies included, while no
packet leaves 127.0.0.1.
"""

from __future__ import annotations

import socket
import ssl

import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

__all__ = ["LoopbackResolver", "LoopbackTLS"]

NAMES = ("inference.cerebras.ai", "api.cerebras.ai", "*.cerebras.ai", "other.example", "127.0.0.1")


class LoopbackResolver(AbstractResolver):
    """Leads ``*.cerebras.ai`` and ``other.example`` to 127.0.0.1 and one port, whatever port is asked for.

    ``names`` lists what was asked, in order. Any other name fails as an unknown host does, with ``OSError``.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.names: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.names.append(host)
        if not host.endswith(".cerebras.ai") and host != "other.example":
            raise OSError(socket.EAI_NONAME, f"the loopback resolver does not lead to {host}")
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=self.port,
                family=socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing to close."""


class LoopbackTLS:
    """A fresh certificate authority with one certificate for every name that a test may speak to."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.certificate = self.authority.issue_cert(*NAMES)

    def server_context(self) -> ssl.SSLContext:
        """For ``LoopbackCerebras(ssl_context=…)``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate.configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Trusts this authority and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return context

    def resolver(self, port: int) -> LoopbackResolver:
        """For ``aiohttp.TCPConnector(resolver=…)``."""
        return LoopbackResolver(port)
