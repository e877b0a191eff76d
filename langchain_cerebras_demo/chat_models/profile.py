"""The model's profile: what LangChain's middleware reads of a model without asking it."""

from __future__ import annotations

from typing import Any, Literal, cast

from langchain_core.language_models import ModelProfile
from langchain_core.runnables.configurable import RunnableConfigurableFields

from langchain_cerebras_demo.catalog import ModelSpec


class CatalogProfile(dict[str, Any]):
    """A profile made from a catalogue row, not given by a user: it is made anew when the model changes."""


class ConfigurableModel(RunnableConfigurableFields):  # type: ignore[type-arg]  # with arguments, pydantic would make another class of it
    """The result of ``configurable_fields``: its profile is that of the model that the configuration selects.

    LangChain's own class reads every other attribute from the model as it was before its configuration.
    """

    @property
    def profile(self) -> ModelProfile | None:
        """The profile of the configured model."""
        model: Any = self.prepare()[0]
        return getattr(model, "profile", None)

    @classmethod
    def lc_id(cls) -> list[str]:
        """The id of LangChain's class, which ``loads`` knows."""
        return [*cls.get_lc_namespace(), RunnableConfigurableFields.__name__]


def to_profile(spec: ModelSpec, tier: Literal["trial", "paid"] | None = None) -> ModelProfile:
    """Return the profile of a catalogue row; what is not known is left out.

    Args:
        spec: The row.
        tier: Whose limits it holds, where the row has both; ``None``: those of trials, which are always safe.

    ``structured_output`` tells an agent that it may send a schema and tools in one request. That is confirmed for no model
    (reports of 400s: litellm#31333), so it is left out and agents ask for a tool call instead, which works everywhere.
    """
    window, answer = spec.context_window_tokens, spec.max_output_tokens
    if tier == "paid":
        window, answer = spec.context_window_max_tokens or window, spec.max_output_max_tokens or answer
    facts: dict[str, Any] = {
        "name": spec.id,
        "release_date": spec.released.isoformat() if spec.released else None,
        "max_input_tokens": window,
        "max_output_tokens": answer,
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
