"""The LangChain face: the chat model, and the only code that knows both LangChain's messages and the wire."""

from __future__ import annotations

from typing import Any

# Before all else: loaded in the middle of our own modules, core's many objects cost the garbage collector 50 ms more.
import langchain_core.language_models.chat_models  # noqa: F401

from langchain_cerebras_demo.chat_models.base import ChatCerebrasDemo
from langchain_cerebras_demo.chat_models.generations import TruncatedAnswerWarning

__all__ = ["ChatCerebrasDemo", "TruncatedAnswerWarning", "register_with_init_chat_model"]


def register_with_init_chat_model() -> None:
    """Make ``init_chat_model("cerebras:gpt-oss-120b")`` and ``create_agent("cerebras:…")`` find ``ChatCerebrasDemo``.

    LangChain's table of providers is fixed and has no public way to add one (langchain-ai/docs#2284), so this adds a row to
    it, in this process. Calling it again has no effect.

    Raises:
        ImportError: The package ``langchain`` is not installed.
        RuntimeError: This version of it keeps its table elsewhere; give agents an instance instead.
    """
    try:
        from langchain.chat_models import base  # noqa: PLC0415 - not a dependency: only callers of this function have it
    except ImportError:
        raise ImportError("init_chat_model is part of the package langchain: pip install langchain") from None
    providers = getattr(base, "_BUILTIN_PROVIDERS", None)
    if not isinstance(providers, dict):
        raise RuntimeError(  # noqa: TRY004 - the problem is their version, not a type
            "this version of langchain keeps its providers elsewhere: pass a ChatCerebrasDemo instance as the model"
        )
    providers["cerebras"] = ("langchain_cerebras_demo", "ChatCerebrasDemo", _create)


def _create(cls: Any, **arguments: Any) -> Any:
    return cls(**arguments)
