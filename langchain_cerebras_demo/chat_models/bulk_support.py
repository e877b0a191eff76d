"""LangChain parts of bulk runs: calls of a model without LangChain's runs, its catalogue row, and a cache of answers."""

from __future__ import annotations

from typing import Any

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.globals import get_llm_cache
from langchain_core.outputs import Generation
from langchain_core.runnables import RunnableBinding, RunnableSequence
from langchain_core.runnables.config import ensure_config

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.chat_models.base import ChatCerebrasDemo
from langchain_cerebras_demo.chat_models.structured import StructuredOutputParser

_OF_TRACERS = "ls_structured_output_format"
_METHODS = ("ainvoke", "agenerate_prompt", "agenerate", "_agenerate_with_cache")


def without_runs(runnable: Any) -> Any:
    """Return an object with a faster ``ainvoke`` that returns the same answers, if possible; else ``runnable``.

    LangChain makes a run of every call: a callback manager, ids, an inspection of the model's signature. It is left out if
    nothing observes it (no callbacks, tracer, debug mode), answers are not cached, and ``runnable`` is a plain
    ``ChatCerebrasDemo``, or one with a schema. Observers are looked for once, in this call.

    Args:
        runnable: a chat model, or a chain.
    """
    model, kwargs, parser = _parts(runnable)
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
            return await self._runnable.ainvoke(input)  # LangChain converts content blocks of other vendors
        result = await self._model._agenerate(messages, **self._kwargs)  # noqa: SLF001 - our own class
        generation = result.generations[0]
        return generation.message if self._parser is None else self._parser.parse_result([generation])


def _parts(
    runnable: Any,
) -> tuple[ChatCerebrasDemo | None, dict[str, Any], StructuredOutputParser | None]:
    """Return the model, its bound arguments and its parser; no model if the runnable is anything else."""
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
    """Return whether nothing would observe or change a run of this model."""
    if any(getattr(type(model), method) is not getattr(ChatCerebrasDemo, method) for method in _METHODS):
        return False  # a subclass overrides it
    if model.streaming or model.rate_limiter is not None or model.output_version not in {None, "v0"}:
        return False
    if model.cache or (model.cache is None and get_llm_cache() is not None):
        return False
    observers = AsyncCallbackManager.configure(ensure_config().get("callbacks"), model.callbacks, verbose=model.verbose)
    return not observers.handlers


def spec_of(model: Any) -> catalog.ModelSpec | None:
    """Return the catalogue row of a chat model; ``None`` for the embedded model, unknown models, and models of other packages."""
    return model._spec() if isinstance(model, ChatCerebrasDemo) else None  # noqa: SLF001 - our own class


class AnswerCache:
    """A LangChain cache that stores the records of a bulk run.

    Args:
        cache: the cache.
        settings: the settings that the answers depend on, besides the prompt.

    Raises:
        ValueError: it is not a LangChain cache.
    """

    def __init__(self, cache: BaseCache, settings: str) -> None:
        if not isinstance(cache, BaseCache):
            raise ValueError(f"cache={cache!r}: give a LangChain cache, such as InMemoryCache()")  # noqa: TRY004 - as all arguments
        self._cache = cache
        self._settings = f"langchain_cerebras_demo.bulk {settings}"

    async def find(self, prompt: str) -> str | None:
        """Return the answer to a prompt; ``None`` if there is none."""
        found = await self._cache.alookup(prompt, self._settings)
        return found[0].text if found else None

    async def add(self, prompt: str, answer: str) -> None:
        """Store an answer."""
        await self._cache.aupdate(prompt, self._settings, [Generation(text=answer)])
