"""deepagents: the entry point that it calls when it first looks for the profile of a model."""

from __future__ import annotations

from langchain_cerebras_demo.plugins.langchain import register_with_init_chat_model


def register() -> None:
    """Make names such as ``"cerebras:gpt-oss-120b"`` known, so that ``create_deep_agent`` accepts them.

    Everything else deepagents reads from the model's ``profile``: how long a conversation may become before it is summarised,
    and which content the model cannot read.

    Raises:
        RuntimeError: This version of langchain keeps its providers elsewhere; deepagents logs it and continues without.
    """
    register_with_init_chat_model()
