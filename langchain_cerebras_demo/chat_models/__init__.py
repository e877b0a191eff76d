"""The LangChain face: the chat model, and the only code that knows LangChain's messages and the wire both."""

# Before all else: loaded in the middle of our own modules, core's many objects cost the garbage collector 50 ms more.
import langchain_core.language_models.chat_models  # noqa: F401

from langchain_cerebras_demo.chat_models.base import ChatCerebrasDemo
from langchain_cerebras_demo.chat_models.generations import TruncatedAnswerWarning
from langchain_cerebras_demo.chat_models.registration import register_with_init_chat_model

__all__ = ["ChatCerebrasDemo", "TruncatedAnswerWarning", "register_with_init_chat_model"]
