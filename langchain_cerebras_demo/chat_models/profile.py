"""The model's profile: the facts about a model that LangChain's middleware uses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, cast

from langchain_core.language_models import ModelProfile
from langchain_core.runnables import ConfigurableField, RunnableConfig
from langchain_core.runnables.configurable import (
    DynamicRunnable,
    RunnableConfigurableAlternatives,
    RunnableConfigurableFields,
)

from langchain_cerebras_demo.catalog import ModelSpec


class CatalogProfile(dict[str, Any]):
    """A profile made from the catalogue, not given by a user: it is updated when the model changes."""


def _profile_of(configurable: DynamicRunnable[Any, Any]) -> ModelProfile | None:
    return getattr(configurable.prepare()[0], "profile", None)


class ConfigurableModel(RunnableConfigurableFields):  # type: ignore[type-arg]  # with arguments, pydantic would make another class of it
    """The result of ``configurable_fields``: its profile is that of the model that the configuration selects.

    As in LangChain's own class, all other attributes are those of the model before its configuration. The models that it
    makes for calls share the slots of ``max_concurrency``.
    """

    @property
    def profile(self) -> ModelProfile | None:
        """The profile of the configured model."""
        return _profile_of(self)

    def configurable_alternatives(self, which: ConfigurableField, **kwargs: Any) -> ModelAlternatives:
        """Return a choice between models, as LangChain does; its profile follows the configuration."""
        return to_model_alternatives(super().configurable_alternatives(which, **kwargs))

    def _prepare(self, config: RunnableConfig | None = None) -> tuple[Any, RunnableConfig]:
        model: Any
        model, config = super()._prepare(config)
        model._shared_slots = cast("Any", self.default)._shared_slots  # noqa: SLF001 - both are our own class
        return model, config

    @classmethod
    def lc_id(cls) -> list[str]:
        """The id of LangChain's class, which ``loads`` supports."""
        return [*cls.get_lc_namespace(), RunnableConfigurableFields.__name__]


class ModelAlternatives(RunnableConfigurableAlternatives):  # type: ignore[type-arg]  # as above
    """The result of ``configurable_alternatives``: its profile is that of the model that the configuration selects."""

    @property
    def profile(self) -> ModelProfile | None:
        """The profile of the chosen model."""
        return _profile_of(self)

    @classmethod
    def lc_id(cls) -> list[str]:
        """The id of LangChain's class, which ``loads`` supports."""
        return [*cls.get_lc_namespace(), RunnableConfigurableAlternatives.__name__]


def to_model_alternatives(made: Any) -> ModelAlternatives:
    """Return LangChain's object as an instance of this module's class."""
    return ModelAlternatives(**{name: getattr(made, name) for name in type(made).model_fields})


def cautious_profile(model: str, served: Iterable[ModelSpec]) -> ModelProfile:
    """Return the profile of a model without a catalogue row: the smallest limits of today's models, and text only.

    Without one, LangChain's middleware would summarise at a length that no model of the service accepts.

    Args:
        model: Its id.
        served: The models that the service serves today.
    """
    rows = tuple(served)
    windows = [spec.context_window_tokens for spec in rows if spec.context_window_tokens]
    answers = [spec.max_output_tokens for spec in rows if spec.max_output_tokens]
    limits = {"max_input_tokens": min(windows, default=None), "max_output_tokens": min(answers, default=None)}
    inputs = ("image_inputs", "image_url_inputs", "pdf_inputs", "audio_inputs", "video_inputs")
    refused = (*inputs, "image_tool_message", "pdf_tool_message")
    facts = {
        "name": model,
        "text_inputs": True,
        "text_outputs": True,
        "structured_output": False,
        **dict.fromkeys(refused, False),
    }
    return cast("ModelProfile", CatalogProfile({**facts, **{name: limit for name, limit in limits.items() if limit}}))


def to_profile(spec: ModelSpec, tier: Literal["trial", "paid"] | None = None) -> ModelProfile:
    """Return the profile of a catalogue row, without unknown facts.

    Args:
        spec: The row.
        tier: The tier whose limits the profile has, if the row has both; ``None``: those of trials, which every account has.

    ``structured_output`` tells an agent that it may send a schema and tools in one request, so it is
    ``ModelSpec.response_format_with_tools``; if it is false, agents request a tool call instead. ``image_tool_message`` is
    true for models that read images: an image in a tool's result is sent in a user message after the results.
    """
    window, answer = spec.context_window_tokens, spec.max_output_tokens
    if tier == "paid":
        window, answer = spec.context_window_max_tokens or window, spec.max_output_max_tokens or answer
    facts: dict[str, Any] = {
        "name": spec.id,
        "release_date": spec.released.isoformat() if spec.released else None,
        "max_input_tokens": window,
        "max_output_tokens": answer,
        "text_inputs": not spec.inputs or "text" in spec.inputs,
        "image_inputs": "image" in spec.inputs,
        "image_url_inputs": False,
        "pdf_inputs": False,
        "audio_inputs": False,
        "video_inputs": False,
        "image_tool_message": "image" in spec.inputs,
        "pdf_tool_message": False,
        "text_outputs": True,
        "reasoning_output": spec.reasoning is not None,
        "reasoning_effort_levels": list(spec.reasoning.efforts) if spec.reasoning and spec.reasoning.efforts else None,
        "reasoning_effort_default": spec.reasoning.default_effort if spec.reasoning else None,
        "tool_calling": spec.tool_calling,
        "tool_choice": spec.tool_calling,
        "structured_output": spec.response_format_with_tools is True,
    }
    return cast("ModelProfile", CatalogProfile({name: fact for name, fact in facts.items() if fact is not None}))
