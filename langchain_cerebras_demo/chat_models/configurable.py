"""What ``configurable_fields`` makes of the chat model: its profile is that of the model that the configuration chooses."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import ModelProfile
from langchain_core.runnables.configurable import RunnableConfigurableFields


class ConfigurableModel(RunnableConfigurableFields):  # type: ignore[type-arg]  # with arguments, pydantic would make another class of it
    """LangChain's own, which reads any other attribute from the model as it was before its configuration."""

    @property
    def profile(self) -> ModelProfile | None:
        """The profile of the configured model."""
        model: Any = self.prepare()[0]
        return getattr(model, "profile", None)

    @classmethod
    def lc_id(cls) -> list[str]:
        """The id of LangChain's class, which ``loads`` knows."""
        return [*cls.get_lc_namespace(), RunnableConfigurableFields.__name__]
