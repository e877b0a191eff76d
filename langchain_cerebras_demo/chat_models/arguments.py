"""Types of the chat model's arguments, for type checkers: the values of its choices, and the arguments of a call."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool
from pydantic import SecretStr
from typing_extensions import TypedDict

from langchain_cerebras_demo.keys import BrowserSessionKey, SessionCookieKey

Answer = TypeVar("Answer")

Tool = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
"""The types that are accepted as a tool."""

Method = Literal["json_schema", "function_calling", "json_mode"]
"""The method by which an answer is made to follow a schema."""

ReasoningEffort = Literal["none", "low", "medium", "high"]
ReasoningFormat = Literal["none", "parsed", "text_parsed", "raw", "hidden"]
ServiceTier = Literal["auto", "default", "flex", "priority"]
ToolChoice = Literal["none", "auto", "required"]

ApiKey = str | SecretStr | Callable[[], str | SecretStr | Awaitable[str | SecretStr]]
Cookies = Mapping[str, str] | str | os.PathLike[str] | SessionCookieKey | BrowserSessionKey


class CallOptions(TypedDict, total=False):
    """Arguments of every call, ``bind_tools`` and ``with_structured_output`` included."""

    model: str
    model_kwargs: Mapping[str, Any] | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    max_completion_tokens: int | None
    min_tokens: int | None
    min_completion_tokens: int | None
    seed: int | None
    n: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    logit_bias: Mapping[str, float] | None
    logprobs: bool | None
    top_logprobs: int | None
    reasoning_effort: ReasoningEffort | None
    reasoning_format: ReasoningFormat | None
    disable_reasoning: bool | None
    clear_thinking: bool | None
    prediction: Mapping[str, Any] | None
    prompt_cache_key: str | None
    service_tier: ServiceTier | None
    queue_threshold: int | None
    stream_options: Mapping[str, bool] | None
    model_parameters: Mapping[str, Any] | None
    user: str | None
    stream: bool
    stream_usage: bool


class CallArguments(CallOptions, total=False):
    """Arguments of ``invoke``, ``stream`` and their async twins, besides ``stop``."""

    tools: Sequence[Tool] | None
    tool_choice: ToolChoice | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    response_format: Mapping[str, Any] | None


class ToolArguments(CallOptions, total=False):
    """Other arguments of ``bind_tools``."""

    stop: str | Sequence[str] | None


class SchemaArguments(ToolArguments, total=False):
    """Other arguments of ``with_structured_output``."""

    tool_choice: ToolChoice | Mapping[str, Any] | None
    parallel_tool_calls: bool | None


class BoundArguments(CallArguments, total=False):
    """Arguments of ``bind``."""

    stop: str | Sequence[str] | None


class RawAndParsed(TypedDict, Generic[Answer]):
    """A structured answer with ``include_raw=True``: the message, and its value or the reason why it has none."""

    raw: AIMessage
    parsed: Answer | None
    parsing_error: Exception | None
