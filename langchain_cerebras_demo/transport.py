"""The former address of the public names of ``net.transport``; ``langchain_cerebras_demo`` has them, too."""

from langchain_cerebras_demo.net.aiohttp_transport import AiohttpTransport
from langchain_cerebras_demo.net.transport import HttpRequest, HttpResponse, Transport

__all__ = ["AiohttpTransport", "HttpRequest", "HttpResponse", "Transport"]
