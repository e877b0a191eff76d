"""Making ``init_chat_model`` of the package ``langchain`` know this one; only when asked, never on import."""

from __future__ import annotations

from typing import Any


def register_with_init_chat_model() -> None:
    """Lets ``init_chat_model("cerebras:gpt-oss-120b")`` and ``create_agent("cerebras:…")`` find ``ChatCerebrasDemo``.

    LangChain's table of providers is fixed and has no public way to add one (langchain-ai/docs#2284), so this writes a row into
    it, for this process. May be called again.

    Raises:
        ImportError: the package ``langchain`` is not installed.
        RuntimeError: this version of it keeps its table elsewhere; give agents an instance instead.
    """
    try:
        from langchain.chat_models import base  # noqa: PLC0415 - not a dependency: only who calls this has it
    except ImportError:
        raise ImportError("init_chat_model is part of the package langchain: pip install langchain") from None
    providers = getattr(base, "_BUILTIN_PROVIDERS", None)
    if not isinstance(providers, dict):
        raise RuntimeError(  # noqa: TRY004 - it is about their version, not about a type
            "this version of langchain keeps its providers elsewhere: pass a ChatCerebrasDemo instance where a model is asked for"
        )
    providers["cerebras"] = ("langchain_cerebras_demo", "ChatCerebrasDemo", _create)


def _create(cls: Any, **arguments: Any) -> Any:
    return cls(**arguments)
