"""The LangChain face: the chat model, and the only code that knows both LangChain's messages and the wire."""

from __future__ import annotations

# First, because importing langchain-core after modules of this package takes 50 ms more, for the garbage collector.
import langchain_core.language_models.chat_models  # noqa: F401

from langchain_cerebras_demo.chat_models.base import ChatCerebrasDemo
from langchain_cerebras_demo.chat_models.generations import TruncatedAnswerWarning

__all__ = ["ChatCerebrasDemo", "TruncatedAnswerWarning"]
