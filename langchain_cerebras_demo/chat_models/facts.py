"""What is known of a model without asking it: its profile for LangChain, a token estimate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from langchain_core.language_models import ModelProfile
from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately

from langchain_cerebras_demo.catalog import ModelSpec

# An image counts for up to 280 tokens on gemma-4-31b (section "image inputs" of the service's documentation).
_TOKENS_PER_IMAGE = 280

CHARACTERS_PER_TOKEN = 4.0
"""The rule of thumb for English that LangChain counts by too."""


class CatalogProfile(dict[str, Any]):
    """A profile that was made of a model's row, not given by a user: where the model changes, it is made anew."""


def to_profile(spec: ModelSpec) -> ModelProfile:
    """The model's profile as LangChain's middleware reads it; what is not known is left out.

    ``structured_output`` is what an agent needs: a schema and tools in one request. That is confirmed for no model (reports
    of 400s: litellm#31333), so it is left out and agents ask for a tool call instead, which works everywhere.
    """
    facts: dict[str, Any] = {
        "name": spec.id,
        "release_date": spec.released.isoformat() if spec.released else None,
        "max_input_tokens": spec.context_window_tokens,
        "max_output_tokens": spec.max_output_tokens,
        "text_inputs": "text" in spec.inputs,
        "image_inputs": "image" in spec.inputs,
        "image_url_inputs": False,
        "pdf_inputs": False,
        "audio_inputs": False,
        "video_inputs": False,
        "image_tool_message": False,
        "text_outputs": True,
        "reasoning_output": spec.reasoning is not None,
        "reasoning_effort_levels": list(spec.reasoning.efforts) if spec.reasoning and spec.reasoning.efforts else None,
        "reasoning_effort_default": spec.reasoning.default_effort if spec.reasoning else None,
        "tool_calling": spec.tool_calling,
        "tool_choice": spec.tool_calling,
    }
    return cast("ModelProfile", CatalogProfile({name: fact for name, fact in facts.items() if fact is not None}))


def estimate_tokens(messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]] = ()) -> int:
    """About how many tokens the messages and tools are: four characters each, no tokenizer, no network."""
    return count_tokens_approximately(messages, tools=list(tools) or None, tokens_per_image=_TOKENS_PER_IMAGE)
