"""The LangChain face: the chat model, and the only code that knows LangChain's messages and the wire both."""

from langchain_cerebras_demo.chat_models.base import ChatCerebrasDemo
from langchain_cerebras_demo.chat_models.generations import TruncatedAnswerWarning
from langchain_cerebras_demo.chat_models.registration import register_with_init_chat_model

__all__ = ["ChatCerebrasDemo", "TruncatedAnswerWarning", "register_with_init_chat_model"]
