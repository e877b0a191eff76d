"""A LangChain chat model for Cerebras Inference.

    from langchain_cerebras_demo import ChatCerebrasDemo

    ChatCerebrasDemo().invoke("Why is the sky blue?")

Nothing is imported until it is used: LangChain and aiohttp load with the first name that needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_cerebras_demo._version import __version__

if TYPE_CHECKING:
    from langchain_cerebras_demo.catalog import AliasTable, ModelSpec, RetiredModelWarning
    from langchain_cerebras_demo.chat_models import (
        ChatCerebrasDemo,
        TruncatedAnswerWarning,
        register_with_init_chat_model,
    )
    from langchain_cerebras_demo.errors import (
        APIConnectionError,
        APIError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        CerebrasError,
        MissingKeyError,
        RateLimitError,
        StreamInterruptedError,
    )
    from langchain_cerebras_demo.keys import (
        BrowserSessionKey,
        CallableKey,
        ChainKeyResolver,
        EnvKey,
        KeyResolver,
        SessionCookieKey,
        SourceReport,
        StaticKey,
    )
    from langchain_cerebras_demo.keys.hosts import PlainHttpWarning
    from langchain_cerebras_demo.local import LocalServer
    from langchain_cerebras_demo.net.transport import AiohttpTransport, HttpRequest, HttpResponse, Transport
    from langchain_cerebras_demo.policy import RateLimit, Timeout
    from langchain_cerebras_demo.provider import Cerebras
    from langchain_cerebras_demo.records import RateLimitSnapshot

_HOMES = {
    "ChatCerebrasDemo": "chat_models",
    "TruncatedAnswerWarning": "chat_models",
    "register_with_init_chat_model": "chat_models",
    "Cerebras": "provider",
    "AliasTable": "catalog",
    "ModelSpec": "catalog",
    "RetiredModelWarning": "catalog",
    "BrowserSessionKey": "keys",
    "CallableKey": "keys",
    "ChainKeyResolver": "keys",
    "EnvKey": "keys",
    "KeyResolver": "keys",
    "SessionCookieKey": "keys",
    "SourceReport": "keys",
    "StaticKey": "keys",
    "LocalServer": "local",
    "RateLimit": "policy",
    "Timeout": "policy",
    "AiohttpTransport": "net.transport",
    "HttpRequest": "net.transport",
    "HttpResponse": "net.transport",
    "PlainHttpWarning": "keys.hosts",
    "Transport": "net.transport",
    "RateLimitSnapshot": "records",
    "APIConnectionError": "errors",
    "APIError": "errors",
    "APIStatusError": "errors",
    "APITimeoutError": "errors",
    "AuthenticationError": "errors",
    "CerebrasError": "errors",
    "MissingKeyError": "errors",
    "RateLimitError": "errors",
    "StreamInterruptedError": "errors",
}

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "AiohttpTransport",
    "AliasTable",
    "AuthenticationError",
    "BrowserSessionKey",
    "CallableKey",
    "Cerebras",
    "CerebrasError",
    "ChainKeyResolver",
    "ChatCerebrasDemo",
    "EnvKey",
    "HttpRequest",
    "HttpResponse",
    "KeyResolver",
    "LocalServer",
    "MissingKeyError",
    "ModelSpec",
    "PlainHttpWarning",
    "RateLimit",
    "RateLimitError",
    "RateLimitSnapshot",
    "RetiredModelWarning",
    "SessionCookieKey",
    "SourceReport",
    "StaticKey",
    "StreamInterruptedError",
    "Timeout",
    "Transport",
    "TruncatedAnswerWarning",
    "__version__",
    "register_with_init_chat_model",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value  # the next look-up finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
