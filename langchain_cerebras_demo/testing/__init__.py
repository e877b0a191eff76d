"""A loopback Cerebras for tests: a real server on 127.0.0.1 with the service's API.

It makes up answers from the request's words, refuses what the service refuses, and fails in the ways that a test chooses.

    from langchain_cerebras_demo.testing import CutAfter, LoopbackCerebras, Status

    with LoopbackCerebras() as server:
        server.script(Status(429, headers={"retry-after": "0.01"}), CutAfter(events=3))
        ...  # base_url=server.base_url, api_key=server.key
        assert [request.path for request in server.requests] == ["/v1/chat/completions"] * 2

It needs only the standard library and orjson. It tests that a client uses the protocol correctly, not the quality of a model.
Modules are imported when they are first used, because the pytest plug-in (``langchain_cerebras_demo.testing.plugin``) is
loaded at the start of every pytest run if the package is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_cerebras_demo.testing.http11 import ReceivedRequest
    from langchain_cerebras_demo.testing.models import MODELS, LoopbackModel
    from langchain_cerebras_demo.testing.quota import Admission, Quota
    from langchain_cerebras_demo.testing.refusals import (
        QUEUE_EXCEEDED,
        REQUESTS_EXCEEDED,
        TOKENS_EXCEEDED,
        enveloped,
        flat,
    )
    from langchain_cerebras_demo.testing.scenarios import (
        Call,
        CutAfter,
        Disconnect,
        Endless,
        ErrorEvent,
        Gate,
        HtmlPage,
        RawAnswer,
        RawBytes,
        RawStream,
        Redirect,
        Reply,
        ScriptedCall,
        Silence,
        Slow,
        Status,
        Step,
        sse,
    )
    from langchain_cerebras_demo.testing.server import LoopbackCerebras

__all__ = [
    "MODELS",
    "QUEUE_EXCEEDED",
    "REQUESTS_EXCEEDED",
    "TOKENS_EXCEEDED",
    "Admission",
    "Call",
    "CutAfter",
    "Disconnect",
    "Endless",
    "ErrorEvent",
    "Gate",
    "HtmlPage",
    "LoopbackCerebras",
    "LoopbackModel",
    "Quota",
    "RawAnswer",
    "RawBytes",
    "RawStream",
    "ReceivedRequest",
    "Redirect",
    "Reply",
    "ScriptedCall",
    "Silence",
    "Slow",
    "Status",
    "Step",
    "enveloped",
    "flat",
    "sse",
]

# The module of each name; a name that is not listed here is in ``scenarios``.
_MODULES = {
    "LoopbackCerebras": "server",
    "LoopbackModel": "models",
    "MODELS": "models",
    "Admission": "quota",
    "Quota": "quota",
    "ReceivedRequest": "http11",
    **dict.fromkeys(("QUEUE_EXCEEDED", "REQUESTS_EXCEEDED", "TOKENS_EXCEEDED", "enveloped", "flat"), "refusals"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'scenarios')}"), name)
    globals()[name] = value  # the next look-up finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
