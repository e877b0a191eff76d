"""A model's answer without LangChain's run around it, where nobody would hear of that run: a third of what a call costs."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.globals import get_llm_cache
from langchain_core.runnables import RunnableBinding, RunnableSequence
from langchain_core.runnables.config import ensure_config

from langchain_cerebras_demo.chat_models.base import ChatCerebrasDemo
from langchain_cerebras_demo.chat_models.structured import StructuredOutputParser

_OF_TRACERS = "ls_structured_output_format"
_WAYS = ("ainvoke", "agenerate_prompt", "agenerate", "_agenerate_with_cache")


def without_runs(runnable: Any) -> Any:
    """What answers as ``runnable.ainvoke`` does, at less cost where that can be; else ``runnable`` itself.

    LangChain makes a run of every call: a callback manager, ids, an inspection of the model's signature. It is left out where
    nothing listens (no callbacks, tracer, debug mode), answers are not cached, and the model is a ``ChatCerebrasDemo`` as it
    is, or one with a schema. What listens is looked for here, once.

    Args:
        runnable: a chat model, or whatever it was made part of.
    """
    model, kwargs, parser = _taken_apart(runnable)
    if model is None or not _is_plain(model):
        return runnable
    return _WithoutRuns(runnable, model, kwargs, parser)


class _WithoutRuns:
    def __init__(
        self, runnable: Any, model: ChatCerebrasDemo, kwargs: dict[str, Any], parser: StructuredOutputParser | None
    ) -> None:
        self._runnable = runnable
        self._model = model
        self._kwargs = kwargs
        self._parser = parser

    async def ainvoke(self, input: Any) -> Any:  # noqa: A002 - core's name
        messages = self._model._convert_input(input).to_messages()  # noqa: SLF001 - as ainvoke does
        if not all(isinstance(message.content, str) for message in messages):
            return await self._runnable.ainvoke(input)  # core brings blocks of other vendors into one form
        result = await self._model._agenerate(messages, **self._kwargs)  # noqa: SLF001 - our own class
        generation = result.generations[0]
        return generation.message if self._parser is None else self._parser.parse_result([generation])


def _taken_apart(
    runnable: Any,
) -> tuple[ChatCerebrasDemo | None, dict[str, Any], StructuredOutputParser | None]:
    """The model, what is bound to it, and the parser behind it; no model where there is anything else."""
    parser = None
    if isinstance(runnable, RunnableSequence) and len(runnable.steps) == 2:
        runnable, last = runnable.steps
        if not isinstance(last, StructuredOutputParser):
            return None, {}, None
        parser = last
    kwargs: dict[str, Any] = {}
    if isinstance(runnable, RunnableBinding) and not runnable.config and not runnable.config_factories:
        kwargs = {name: value for name, value in runnable.kwargs.items() if name != _OF_TRACERS}
        runnable = None if "stream" in kwargs else runnable.bound
    return (runnable, kwargs, parser) if isinstance(runnable, ChatCerebrasDemo) else (None, {}, None)


def _is_plain(model: ChatCerebrasDemo) -> bool:
    """Whether a run of this model would be heard of by nobody and change nothing."""
    if any(getattr(type(model), way) is not getattr(ChatCerebrasDemo, way) for way in _WAYS):
        return False  # a subclass has its own way
    if model.streaming or model.rate_limiter is not None or model.output_version not in {None, "v0"}:
        return False
    if model.cache or (model.cache is None and get_llm_cache() is not None):
        return False
    listening = AsyncCallbackManager.configure(ensure_config().get("callbacks"), model.callbacks, verbose=model.verbose)
    return not listening.handlers
