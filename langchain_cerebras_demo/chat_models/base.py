"""``ChatCerebrasDemo``, the chat model: it converts calls to requests and events to chunks; the client does the rest."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, overload

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import ConfigurableField, Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list
from langchain_core.runnables.utils import AnyConfigurableField
from langchain_core.tools import BaseTool
from pydantic import model_validator
from typing_extensions import Self, Unpack

from langchain_cerebras_demo import catalog, local
from langchain_cerebras_demo.catalog import AliasTable
from langchain_cerebras_demo.chat_models import generations
from langchain_cerebras_demo.chat_models.arguments import (
    Answer,
    BoundArguments,
    CallArguments,
    Method,
    RawAndParsed,
    SchemaArguments,
    Tool,
    ToolArguments,
)
from langchain_cerebras_demo.chat_models.fields import ChatFields, to_wire_tools
from langchain_cerebras_demo.chat_models.messages import to_wire
from langchain_cerebras_demo.chat_models.profile import (
    CatalogProfile,
    ConfigurableModel,
    ModelAlternatives,
    cautious_profile,
    to_model_alternatives,
    to_profile,
)
from langchain_cerebras_demo.client.call import today
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.errors import APIError, InvalidRequestError, InvalidRequestTypeError
from langchain_cerebras_demo.keys import SourceReport
from langchain_cerebras_demo.net.portal import portal
from langchain_cerebras_demo.net.shutdown import is_ending, refuse_at_the_end
from langchain_cerebras_demo.policy import RateLimit, Timeout, abilities
from langchain_cerebras_demo.records import Load, RateLimitSnapshot
from langchain_cerebras_demo.wire.cost import DEFAULT_IMAGE_TOKENS, estimate_tokens
from langchain_cerebras_demo.wire.request import PARAMETERS, ChatRequest, to_our_names

_LOG = logging.getLogger("langchain_cerebras_demo")

# Arguments that LangChain itself may pass with a call, and that are not the API's.
_LANGCHAIN_ARGUMENTS = frozenset({"stream", "stream_usage", "run_id"})

# Two names for one setting: an argument of a call overrides both fields.
_ALTERNATIVES = (("disable_reasoning", "reasoning_effort"), ("reasoning_effort", "disable_reasoning"))

_UNKNOWN_MODELS: set[str] = set()
"""Models that were already logged as missing from the catalogue."""

# The fields that the profile depends on.
_PROFILE_FIELDS = frozenset({"model", "aliases", "base_url", "tier"})


def _to_traced(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of a call under our names, for tracers. Contradicting ones stay as they are: the call refuses them."""
    with contextlib.suppress(InvalidRequestError):
        given = to_our_names(given)
    return {name: value for name, value in given.items() if name not in _LANGCHAIN_ARGUMENTS}


class ChatCerebrasDemo(ChatFields):
    """A LangChain chat model for Cerebras Inference.

        llm = ChatCerebrasDemo(model="gpt-oss-120b")
        llm.invoke("Why is the sky blue?")
        async for chunk in llm.astream("Why is the sky blue?"): ...

    Key sources, in order; the first that has a key wins: ``key_resolver``, ``api_key``, ``cookies``, the variable
    ``CEREBRAS_API_KEY``, and, if ``CEREBRAS_DEMO_BROWSER=1`` allows it, the session in the user's own browser.
    ``base_url="local"`` runs a small embedded model instead, with no key and no network (extra ``local``).

    Sampling and reasoning parameters are those of the API; ``None`` means the service's default. ``model_kwargs`` are sent
    unchecked; any other unknown name is an error. All parameters may also be passed with a call.

    Calls raise subclasses of ``langchain_cerebras_demo.errors.CerebrasError``: ``MissingKeyError`` if no source has a key,
    ``InvalidRequestError`` for a request that is refused before it is sent, ``APIStatusError`` and its subclasses if the
    service refuses it, ``APIConnectionError`` for a broken connection, ``StreamInterruptedError`` for an answer that was cut
    off. After the first chunk, the ``partial`` of an error holds what had arrived.
    """

    # -- LangChain's interface

    @property
    def _llm_type(self) -> str:
        return "cerebras-chat"

    @property
    def model_name(self) -> str:
        """The model id or alias, under the name that LangChain's tools look for."""
        return self.model

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The secret field, and the environment variable from which it is read when the model is loaded."""
        return {"api_key": "CEREBRAS_API_KEY"}

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """The fields whose objects ``dumps`` could not write, as mappings, which the constructor accepts."""
        given = {"timeout": self.timeout, "rate_limit": self.rate_limit}
        return {name: asdict(value) for name, value in given.items() if isinstance(value, Timeout | RateLimit)}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: ``dumps`` writes the settings, but never secrets, resolvers and transports."""
        return True

    @property
    def _is_local(self) -> bool:
        return local.is_local(self.base_url or "")

    @property
    def _provider(self) -> str:
        return "local" if self._is_local else "cerebras"

    @property
    def _default_parameters(self) -> dict[str, Any]:
        fields = self.__dict__
        return {name: value for name in PARAMETERS if (value := fields[name]) is not None}

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "model_name": self.model,
            "base_url": self.base_url,
            **self._default_parameters,
            **({"model_kwargs": self.model_kwargs} if self.model_kwargs else {}),
        }

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        called_with = _to_traced({**kwargs, **({"stop": stop} if stop else {})})
        model = called_with.pop("model", None) or self.model
        if more := called_with.pop("model_kwargs", None):
            called_with["model_kwargs"] = {**self.model_kwargs, **more} if isinstance(more, Mapping) else more
        return {**self._identifying_params, **called_with, "model": model, "model_name": model}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        given = self._get_invocation_params(stop, **kwargs)
        if isinstance(more := given.get("model_kwargs"), Mapping):
            given |= _to_traced(more)
        params = LangSmithParams(
            ls_provider=self._provider,  # must equal model_provider, or summarisation ignores reported usage
            ls_model_name=local.LOCAL_MODEL if self._is_local else given["model"],
            ls_model_type="chat",
        )
        if given.get("temperature") is not None:
            params["ls_temperature"] = given["temperature"]
        if given.get("max_tokens") is not None:
            params["ls_max_tokens"] = given["max_tokens"]
        if stops := given.get("stop"):
            params["ls_stop"] = list(stops) if isinstance(stops, list | tuple) else [stops]
        return params

    # -- facts about the model

    def _spec(self) -> catalog.ModelSpec | None:
        # Without a client, which would take most of the time of making a model.
        return None if self._is_local else catalog.find_spec(AliasTable(self.aliases).resolve(self.model))

    def _resolve_model_profile(self) -> ModelProfile | None:
        if self._is_local:
            return None
        if spec := self._spec():
            return to_profile(spec, self.tier)
        model, day = AliasTable(self.aliases).resolve(self.model), today()
        profile = cautious_profile(
            model, (spec for spec in catalog.model_specs().values() if catalog.is_served(spec, day))
        )
        if model not in _UNKNOWN_MODELS:
            _UNKNOWN_MODELS.add(model)
            _LOG.warning(
                "the catalogue does not know the model %r%s: its profile has the smallest limits of today's models "
                "(input: %s tokens, output: %s). Pass profile=…, or call refresh_catalog()",
                model,
                f" (did you mean {near[0]!r}?)" if (near := catalog.nearest_ids(model, day)) else "",
                profile.get("max_input_tokens"),
                profile.get("max_output_tokens"),
            )
        return profile

    @model_validator(mode="after")
    def _check_profile_keys(self) -> Self:
        """Skip LangChain's check, which resolves type hints for every model and takes half of the constructor's time."""
        if not isinstance(self.profile, CatalogProfile):  # the user's
            super()._check_profile_keys()  # type: ignore[operator]  # a method once pydantic has made the class
        return self

    def _renew_profile(self) -> None:
        """Update the profile, unless the user has set it."""
        if self.profile is None or isinstance(self.profile, CatalogProfile):
            self.profile = None
            with contextlib.suppress(Exception):  # as in the constructor; calls work without a profile
                self.profile = self._resolve_model_profile()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _PROFILE_FIELDS:
            self._renew_profile()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, as pydantic does; the profile follows the model."""
        copied = super().model_copy(update=update, deep=deep)
        if update and update.keys() & _PROFILE_FIELDS and "profile" not in update:
            copied._renew_profile()  # noqa: SLF001 - our own class
        return copied

    def configurable_fields(self, **kwargs: AnyConfigurableField) -> ConfigurableModel:
        """Return a configurable model, as LangChain does; its profile follows the configuration."""
        made: Any = super().configurable_fields(**kwargs)
        return ConfigurableModel(default=self, fields=made.fields)

    def configurable_alternatives(self, which: ConfigurableField, **kwargs: Any) -> ModelAlternatives:
        """Return a choice between models, as LangChain does; its profile follows the configuration."""
        return to_model_alternatives(super().configurable_alternatives(which, **kwargs))

    if TYPE_CHECKING:  # LangChain's methods, with signatures that name the arguments of a call

        def bind(self, **kwargs: Unpack[BoundArguments]) -> Runnable[LanguageModelInput, AIMessage]:  # type: ignore[override]
            """Return a binding, as LangChain does; with ``model=`` the profile follows it."""

        def invoke(  # type: ignore[override]
            self,
            input: LanguageModelInput,  # noqa: A002 - core's name
            config: RunnableConfig | None = None,
            *,
            stop: list[str] | None = None,
            **kwargs: Unpack[CallArguments],
        ) -> AIMessage:
            """Return the answer."""

        async def ainvoke(  # type: ignore[override]
            self,
            input: LanguageModelInput,  # noqa: A002 - core's name
            config: RunnableConfig | None = None,
            *,
            stop: list[str] | None = None,
            **kwargs: Unpack[CallArguments],
        ) -> AIMessage:
            """Return the answer."""

        def stream(  # type: ignore[override]
            self,
            input: LanguageModelInput,  # noqa: A002 - core's name
            config: RunnableConfig | None = None,
            *,
            stop: list[str] | None = None,
            **kwargs: Unpack[CallArguments],
        ) -> Iterator[AIMessageChunk]:
            """Yield the answer while it arrives."""

        def astream(  # type: ignore[override]
            self,
            input: LanguageModelInput,  # noqa: A002 - core's name
            config: RunnableConfig | None = None,
            *,
            stop: list[str] | None = None,
            **kwargs: Unpack[CallArguments],
        ) -> AsyncIterator[AIMessageChunk]:
            """Yield the answer while it arrives."""

    else:

        def bind(self, **kwargs: Any) -> Any:
            """Return a binding, as LangChain does; with ``model=`` the profile follows it."""
            named = self
            if kwargs.get("model") not in (None, self.model):
                named = self.model_copy(update={"model": kwargs["model"]})
                named._client_memo = self._client_memo  # noqa: SLF001 - both share one client, which counts their requests
            return super(ChatCerebrasDemo, named).bind(**kwargs)

    def get_num_tokens(self, text: str) -> int:
        """Estimate the tokens of a text in any script, without a tokenizer; exact if ``custom_get_token_ids`` is set."""
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens(text)
        return math.ceil(estimate_tokens(text))

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Tool] | None = None) -> int:
        """Estimate the tokens of messages and tools together, images included, without a tokenizer."""
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(messages, tools)
        from langchain_cerebras_demo.chat_models.tools import to_tools  # noqa: PLC0415 - as in bind_tools

        converted: list[Any] = to_tools(tools or ())
        spec, text = self._spec(), "".join(message.text for message in messages) or " "
        return count_tokens_approximately(
            messages,
            tools=converted or None,
            chars_per_token=len(text) / estimate_tokens(text),
            tokens_per_image=(spec.image_tokens if spec else None) or DEFAULT_IMAGE_TOKENS,
        )

    async def alist_models(self, *, public: bool = False) -> list[dict[str, Any]]:
        """Return the service's list of models.

        Args:
            public: whether to return the public list, which needs no key and includes limits, abilities and prices, instead
                of the models that the key may use.

        Raises:
            CerebrasError: there is no key, or the request failed.
        """
        return await self._client().list_models(public=public)

    def list_models(self, *, public: bool = False) -> list[dict[str, Any]]:
        """Return the service's list of models; see ``alist_models``."""
        client = self._client()
        return portal.run(lambda: client.list_models(public=public))

    async def arefresh_catalog(self, *, save: bool = False) -> None:
        """Update the catalogue from the service's public list: limits, abilities, prices, and which models are served.

        This also updates ``profile``; the profiles of other existing models do not change. No key is needed.

        Args:
            save: whether to save the list in the cache folder for later processes; only a list of cerebras.ai is saved. Otherwise
                it only affects this process.

        Raises:
            CerebrasError: the list could not be fetched.
            OSError, RuntimeError: the list could not be saved.
        """
        await self._client().refresh_catalog(save=save)
        self._renew_profile()

    def refresh_catalog(self, *, save: bool = False) -> None:
        """Update the catalogue; see ``arefresh_catalog``."""
        portal.run(lambda: self.arefresh_catalog(save=save))

    def explain_keys(self) -> list[SourceReport]:
        """Return a report on each source of this model's key, in order. It never contains any part of a key."""
        return self._client().keys.explain()

    # -- connections and limits

    @property
    def limits(self) -> RateLimitSnapshot | None:
        """The account's rate limits as last announced by the service; ``None`` before the first answer."""
        return self._client().limits

    @property
    def load(self) -> Load:
        """The number of calls of this model and its copies in flight, and of those that wait; readable from any thread.

        A server can shed load by ``llm.load.queued``.
        """
        return self._client().load

    async def awarm(self) -> None:
        """Open the connection before the first call of this loop. No key is sent. Errors are ignored; the first call raises them."""
        await self._client().warm()

    async def aclose(self) -> None:
        """Close this loop's connections. The next call opens new ones.

        All models share the connections of a loop. Streams of this model that are being read are broken off; calls of other models
        continue.
        """
        await self._client().aclose()

    def close(self) -> None:
        """Close the connections of synchronous calls, as ``aclose`` closes those of the running loop."""
        client = self._client()
        if portal.is_open:
            portal.run(client.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    # -- tools

    def bind_tools(  # type: ignore[override]  # names the arguments of a call, where LangChain allows any
        self,
        tools: Sequence[Tool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        response_format: type | Mapping[str, Any] | None = None,
        **kwargs: Unpack[ToolArguments],
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model bound to these tools.

        Args:
            tools: Pydantic classes, TypedDicts, functions, LangChain tools, or dicts in the form of OpenAI (Chat Completions
                or Responses API) or Anthropic.
            tool_choice: ``"auto"``, ``"any"`` (some tool must be called), ``"none"``, a tool's name, or a dict. Without
                tools it is not sent, and a warning is logged.
            strict: Whether the service makes the arguments follow the schema; this overrides the tools' own flags.
            parallel_tool_calls: Whether one answer may have several calls.
            response_format: A schema of any kind, or a response format in the API's form; strict unless its own flag or
                ``strict=False`` turns that off. It is sent with the tools, or as one more tool if the model does not accept
                both; the answer is text in either case.
            **kwargs: Other arguments of a call.

        Raises:
            InvalidRequestError: Something in ``tools`` is not a tool, the API does not accept a tool's name or the tool choice,
                strict mode does not support a tool's schema, or only some of the tools are strict.
            InvalidRequestTypeError: ``response_format`` is not a schema.
        """
        # Imported here, because schemas take a fifth of the import time of this class, and many programs never use them.
        from langchain_cerebras_demo.chat_models.tools import to_tool_choice, to_tools  # noqa: PLC0415

        converted = to_tools(tools, strict=strict)
        if not converted and (tool_choice or parallel_tool_calls is not None):
            _LOG.warning(
                "bind_tools got no tools: tool_choice=%r and parallel_tool_calls=%r are not sent",
                tool_choice,
                parallel_tool_calls,
            )
        bound = {
            "tools": converted or None,  # never an empty list: some servers refuse it
            "tool_choice": to_tool_choice(tool_choice, converted),
            "parallel_tool_calls": parallel_tool_calls if converted else None,
        }
        if response_format is not None:
            from langchain_cerebras_demo.chat_models.python_types import to_answer_type  # noqa: PLC0415
            from langchain_cerebras_demo.wire.schemas.answer_type import to_response_format  # noqa: PLC0415

            wanted = response_format if isinstance(response_format, Mapping) else to_answer_type(response_format)
            bound["response_format"] = to_response_format(wanted, default=strict is not False)
        return self.bind(**{name: value for name, value in bound.items() if value is not None}, **kwargs)

    # A class returns its instances, any other schema returns Any; with tools, the value may be None.

    @overload  # type: ignore[override]  # LangChain's returns pydantic's classes and dicts alone
    def with_structured_output(
        self,
        schema: type[Answer],
        *,
        method: Method | None = None,
        include_raw: Literal[False] = False,
        strict: bool | None = None,
        tools: None = None,
        **kwargs: Unpack[SchemaArguments],
    ) -> Runnable[LanguageModelInput, Answer]: ...

    @overload
    def with_structured_output(
        self,
        schema: type[Answer],
        *,
        method: Method | None = None,
        include_raw: Literal[False] = False,
        strict: bool | None = None,
        tools: Sequence[Tool],
        **kwargs: Unpack[SchemaArguments],
    ) -> Runnable[LanguageModelInput, Answer | None]: ...

    @overload
    def with_structured_output(
        self,
        schema: type[Answer],
        *,
        method: Method | None = None,
        include_raw: Literal[True],
        strict: bool | None = None,
        tools: Sequence[Tool] | None = None,
        **kwargs: Unpack[SchemaArguments],
    ) -> Runnable[LanguageModelInput, RawAndParsed[Answer]]: ...

    @overload
    def with_structured_output(
        self,
        schema: Mapping[str, Any] | Callable[..., Any] | BaseTool | None = None,
        *,
        method: Method | None = None,
        include_raw: Literal[False] = False,
        strict: bool | None = None,
        tools: Sequence[Tool] | None = None,
        **kwargs: Unpack[SchemaArguments],
    ) -> Runnable[LanguageModelInput, Any]: ...

    @overload
    def with_structured_output(
        self,
        schema: Mapping[str, Any] | Callable[..., Any] | BaseTool | None = None,
        *,
        method: Method | None = None,
        include_raw: Literal[True],
        strict: bool | None = None,
        tools: Sequence[Tool] | None = None,
        **kwargs: Unpack[SchemaArguments],
    ) -> Runnable[LanguageModelInput, RawAndParsed[Any]]: ...

    @overload
    def with_structured_output(
        self,
        schema: type | Mapping[str, Any] | Callable[..., Any] | BaseTool | None = None,
        *,
        method: Method | None = None,
        include_raw: bool,
        strict: bool | None = None,
        tools: Sequence[Tool] | None = None,
        **kwargs: Unpack[SchemaArguments],
    ) -> Runnable[LanguageModelInput, Any]: ...

    def with_structured_output(
        self,
        schema: Any = None,
        *,
        method: Method | None = None,
        include_raw: bool = False,
        strict: bool | None = None,
        tools: Sequence[Tool] | None = None,
        **kwargs: Unpack[SchemaArguments],
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable whose answers follow a schema.

        Args:
            schema: A pydantic class, a dataclass or an enum (answers are instances), or a TypedDict or a dict such as a JSON
                schema (answers are the values that it describes, usually dicts). ``None`` only with ``json_mode``.
            method: ``"json_schema"`` (the default if the model supports it): the service makes the answer follow the schema.
                ``"function_calling"``: the answer is the arguments of a forced call. ``"json_mode"``: any JSON object; the
                prompt must describe it.
            include_raw: Whether to return ``{"raw", "parsed", "parsing_error"}`` instead of raising errors for invalid answers.
            strict: Whether the service makes the answer follow the schema; ``None``: only with ``json_schema``.
            tools: Tools that the model may call instead of answering (only with ``json_schema``); the value is then ``None``.
            **kwargs: Other arguments of a call.

        Returns:
            A runnable. It raises ``OutputParserException`` for an answer that is cut off, empty, not valid JSON or does not
            match the schema, and ``ModelRefusalError`` for a refusal. Streaming yields dicts as they grow, and instances
            whenever they are valid; the last value is always checked.

        Raises:
            InvalidRequestError: Arguments contradict each other, or strict mode does not support the schema.
            InvalidRequestTypeError: ``schema`` is not a schema.
        """
        from langchain_cerebras_demo.chat_models.structured import structured_output  # noqa: PLC0415 - as in bind_tools

        return structured_output(
            self, schema, method=method, include_raw=include_raw, strict=strict, tools=tools, **kwargs
        )

    # -- calls

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        refuse_at_the_end()  # LangChain's next step imports a module
        return super()._convert_input(model_input)

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Return the answers; one after the other while the interpreter exits, because no thread can be started then."""
        if not is_ending():
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        answers: list[AIMessage] = []
        for one, its_config in zip(inputs, get_config_list(config, len(inputs)), strict=True):
            answers += super().batch([one], its_config, return_exceptions=return_exceptions, **kwargs)
        return answers

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        client = self._client()
        run_id = run_manager and run_manager.run_id
        request, origin = self._to_request(client, messages, stop, kwargs, run_id, is_stream=True)
        sent: list[ChatGenerationChunk] = []
        try:
            async with aclosing(client.stream(request, run_id=run_id)) as batches:
                async for events in batches:
                    for chunk in generations.to_chunks(events, origin, is_coalesced=self.coalesce):
                        sent.append(chunk)
                        if run_manager:
                            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk
        except APIError as error:
            generations.set_partial(error, sent)
            raise

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        client = self._client()
        run_id = run_manager and run_manager.run_id
        request, origin = self._to_request(client, messages, stop, kwargs, run_id, is_stream=True)
        sent: list[ChatGenerationChunk] = []
        try:
            with closing(portal.iterate(lambda: client.stream(request, run_id=run_id))) as batches:
                for events in batches:
                    for chunk in generations.to_chunks(events, origin, is_coalesced=self.coalesce):
                        sent.append(chunk)
                        if run_manager:
                            run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk
        except APIError as error:
            generations.set_partial(error, sent)
            raise

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        client = self._client()
        run_id = run_manager and run_manager.run_id
        request, origin = self._to_request(client, messages, stop, kwargs, run_id)
        return generations.to_result(await client.complete(request, run_id=run_id), origin)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        client = self._client()
        run_id = run_manager and run_manager.run_id
        request, origin = self._to_request(client, messages, stop, kwargs, run_id)
        return generations.to_result(portal.run(lambda: client.complete(request, run_id=run_id)), origin)

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        """Return the combined output of several prompts, for tracers; streamed answers have none."""
        return generations.combine_outputs(llm_outputs)

    def _convert_cached_generations(self, cache_val: list[Generation]) -> list[ChatGeneration]:
        """Return answers from LangChain's cache without the figures of a call, because nothing was sent."""
        return generations.without_calls(super()._convert_cached_generations(cache_val))

    def _to_request(
        self,
        client: Client,
        messages: Sequence[BaseMessage],
        stop: list[str] | None,
        kwargs: Mapping[str, Any],
        run_id: object = None,
        *,
        is_stream: bool = False,
    ) -> tuple[ChatRequest, generations.Origin]:
        """Return the request of a call and the origin of its answer. If this fails, observers see a failed call."""
        try:
            return self._new_request(client, messages, stop, kwargs), generations.Origin(self._provider)
        except Exception as problem:
            client.refuse(problem, kwargs.get("model") or self.model, is_stream=is_stream, run_id=run_id)
            raise

    def _new_request(
        self,
        client: Client,
        messages: Sequence[BaseMessage],
        stop: list[str] | None,
        kwargs: Mapping[str, Any],
    ) -> ChatRequest:
        """Return the request of a call; its arguments override the model's fields."""
        called_with = {name: value for name, value in kwargs.items() if name not in _LANGCHAIN_ARGUMENTS}
        model = called_with.pop("model", None) or self.model
        more = called_with.pop("model_kwargs", None) or {}
        if not isinstance(more, Mapping):
            raise InvalidRequestTypeError(f"model_kwargs is of type {type(more).__name__}: give a mapping")
        extra = {**self.model_kwargs, **more}
        if stop:
            called_with["stop"] = stop
        called_with, fields = to_our_names(called_with), self._default_parameters
        for name, other in _ALTERNATIVES:
            if called_with.get(name) and called_with.get(other) is None:
                fields.pop(other, None)
        parameters = {**fields, **called_with}
        parameters["tools"] = to_wire_tools(parameters.get("tools"))
        spec = None if self._is_local else catalog.find_spec(client.resolve_model(model))
        replay = None if self._is_local else abilities.replay_of(spec, self.replay_reasoning)
        wire = to_wire(messages, replay=replay, images=abilities.takes_images(spec), check=self.check_requests)
        parameters = abilities.keep_reasoning(parameters, wire, replay)
        return ChatRequest(model, wire, parameters, extra, check=self.check_requests)
