"""The embedded model: a real llama.cpp server with SmolLM2-135M in a child process, no key and no account.

The names are imported when they are first used. The child process imports this package on its way to ``child.py``
and must not pay for ``errors`` (and with it ``langchain_core``) on its start: 0.2 s and some 40 MB.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_cerebras_demo.local.dialect import LOCAL_HEADERS, LOCAL_MODEL, to_local
    from langchain_cerebras_demo.local.server import LocalServer, find_server, is_local, shared_server

__all__ = ["LOCAL_HEADERS", "LOCAL_MODEL", "LocalServer", "find_server", "is_local", "shared_server", "to_local"]


def __getattr__(name: str) -> Any:
    """The public name, from ``dialect`` or ``server``. Raises ``AttributeError`` for any other."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "dialect" if name in {"LOCAL_HEADERS", "LOCAL_MODEL", "to_local"} else "server"
    value = globals()[name] = getattr(
        import_module(f"{__name__}.{home}"), name
    )  # found without this function from now on
    return value
