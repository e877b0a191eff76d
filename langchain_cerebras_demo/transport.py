"""The former address of the public names of ``net.transport``; ``langchain_cerebras_demo`` has them, too."""

from langchain_cerebras_demo.net.transport import AiohttpTransport, HttpRequest, HttpResponse, Transport

__all__ = ["AiohttpTransport", "HttpRequest", "HttpResponse", "Transport"]
