"""The embedded model: a real llama.cpp server with SmolLM2-135M in a child process, no key and no account.

The names are imported when they are first used. The child process imports this package before ``child.py`` and must not
load ``errors``, and with it ``langchain_core``: that would cost 0.2 s and 40 MB at its start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_cerebras_demo.local.dialect import LOCAL_HEADERS, LOCAL_MODEL, to_local
    from langchain_cerebras_demo.local.server import LocalServer, find_server, is_local, shared_server

__all__ = ["LOCAL_HEADERS", "LOCAL_MODEL", "LocalServer", "find_server", "is_local", "shared_server", "to_local"]


def __getattr__(name: str) -> Any:
    """Return a public name from ``dialect`` or ``server``. Raises ``AttributeError`` for any other name."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "dialect" if name in {"LOCAL_HEADERS", "LOCAL_MODEL", "to_local"} else "server"
    value = globals()[name] = getattr(
        import_module(f"{__name__}.{home}"), name
    )  # the next look-up finds it without this function
    return value
