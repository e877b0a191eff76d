"""The entry point for deepagents, which calls it when it first looks up the profile of a model."""

from __future__ import annotations

from langchain_cerebras_demo.plugins.langchain import register_with_init_chat_model


def register() -> None:
    """Register names such as ``"cerebras:gpt-oss-120b"``, so that ``create_deep_agent`` accepts them.

    deepagents reads everything else from the model's ``profile``: the length at which a conversation is summarised, and the kinds
    of content that the model does not support.

    Raises:
        RuntimeError: this version of langchain has its table of providers elsewhere; deepagents logs the error and continues.
    """
    register_with_init_chat_model()
