"""The LangChain face: the chat model, and the only code that knows both LangChain's messages and the wire."""

from __future__ import annotations

# Before all else: loaded in the middle of our own modules, core's many objects cost the garbage collector 50 ms more.
import langchain_core.language_models.chat_models  # noqa: F401

from langchain_cerebras_demo.chat_models.base import ChatCerebrasDemo
from langchain_cerebras_demo.chat_models.generations import TruncatedAnswerWarning

__all__ = ["ChatCerebrasDemo", "TruncatedAnswerWarning"]
