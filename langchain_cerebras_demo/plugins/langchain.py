"""Registration with ``init_chat_model`` and ``create_agent`` of the package langchain."""

from __future__ import annotations

from typing import Any


def register_with_init_chat_model() -> None:
    """Make ``init_chat_model("cerebras:gpt-oss-120b")`` and ``create_agent("cerebras:…")`` find ``ChatCerebrasDemo``.

    There is no public way to add a provider to LangChain's table (langchain-ai/docs#2284), so this changes the table in this
    process. Calling it again has no effect.

    Raises:
        ImportError: the package ``langchain`` is not installed.
        RuntimeError: this version of langchain has its table elsewhere; pass agents an instance instead.
    """
    try:
        from langchain.chat_models import base  # noqa: PLC0415 - not a dependency: only callers of this function have it
    except ImportError:
        raise ImportError("init_chat_model is part of the package langchain: pip install langchain") from None
    providers = getattr(base, "_BUILTIN_PROVIDERS", None)
    if not isinstance(providers, dict):
        raise RuntimeError(  # noqa: TRY004 - the problem is their version, not a type
            "this version of langchain has no known table of providers: pass a ChatCerebrasDemo instance as the model"
        )
    providers["cerebras"] = ("langchain_cerebras_demo", "ChatCerebrasDemo", _create)


def _create(cls: Any, **arguments: Any) -> Any:
    return cls(**arguments)
