"""The plug-in for the program ``llm`` (https://llm.datasette.io): the models of Cerebras, and the embedded one.

``llm`` loads this module at every start, so it imports only the catalogue until a model is used.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar, cast

import llm
from llm.parts import AttachmentPart, Message, ReasoningPart, StreamEvent, TextPart, ToolCallPart, ToolResultPart
from pydantic import Field, ValidationInfo, field_validator, model_validator

from langchain_cerebras_demo import catalog

if TYPE_CHECKING:
    from llm.models import _BaseModel as Base

    from langchain_cerebras_demo.client.client import Client
    from langchain_cerebras_demo.records import CallRecord
    from langchain_cerebras_demo.wire.completion import Event
    from langchain_cerebras_demo.wire.request import ChatRequest
    from langchain_cerebras_demo.wire.thinking import Replay
else:
    Base = object

T = TypeVar("T")

PREFIX = "cerebras/"
"""The prefix of Cerebras' model ids in ``llm``, because other plug-ins serve models of the same names."""

LOCAL_MODEL = "smollm2-135m"
"""The same as ``local.LOCAL_MODEL``, which is not imported at every start."""

MODEL_VARIABLE = "CEREBRAS_DEMO_MODEL"

IMAGES = frozenset({"image/png", "image/jpeg"})
"""The kinds of images that the service accepts."""

_OURS = "cerebras"  # marks reasoning in the logs, so that reasoning of other vendors is not sent


class Options(llm.Options):
    """The parameters of a request, as ``-o`` accepts them. They are checked like the arguments of the chat model."""

    temperature: float | None = Field(default=None, description="Randomness of the answer, 0 to 2.")
    max_tokens: int | None = Field(
        default=None, description="Maximum number of tokens in the answer, including reasoning."
    )
    top_p: float | None = Field(
        default=None,
        description="Nucleus sampling: sample from the most likely tokens whose probabilities add up to this value, 0 to 1.",
    )
    seed: int | None = Field(default=None, description="Seed for repeatable answers (best effort).")
    stop: str | list[str] | None = Field(default=None, description="Stop sequence, or a JSON list of up to four.")
    reasoning_effort: str | None = Field(
        default=None, description="How much the model reasons: none, low, medium or high."
    )
    reasoning_format: str | None = Field(
        default=None, description="How reasoning is returned: none, parsed, text_parsed, raw or hidden."
    )
    disable_reasoning: bool | None = Field(
        default=None, description="Deprecated by the service: use reasoning_effort none."
    )
    clear_thinking: bool | None = Field(
        default=None, description="Whether the service drops the reasoning of earlier turns."
    )
    min_tokens: int | None = Field(default=None, description="Fewest tokens of the answer.")
    frequency_penalty: float | None = Field(
        default=None, description="Penalty for tokens by how often they have occurred, -2 to 2."
    )
    presence_penalty: float | None = Field(default=None, description="Penalty for tokens that have occurred, -2 to 2.")
    logit_bias: dict[str, float] | None = Field(
        default=None, description="A JSON object with a bias from -100 to 100 for each token id."
    )
    response_format: dict[str, Any] | None = Field(
        default=None, description='{"type": "json_object"} for any JSON object; a schema is given with --schema.'
    )
    tool_choice: str | dict[str, Any] | None = Field(
        default=None, description="Whether a tool is called: none, auto, required, or a named function as JSON."
    )
    parallel_tool_calls: bool | None = Field(default=None, description="Whether one answer may have several calls.")
    prediction: dict[str, Any] | None = Field(
        default=None, description="A JSON object with text that most of the answer will repeat, for faster generation."
    )
    prompt_cache_key: str | None = Field(
        default=None, description="Groups requests that share a prefix; up to 1024 characters."
    )
    service_tier: str | None = Field(default=None, description="Priority: auto, default, flex or priority.")
    queue_threshold: int | None = Field(
        default=None, description="Milliseconds in the service's queue above which it refuses, 50 to 20,000."
    )
    model_parameters: dict[str, Any] | None = Field(
        default=None, description="A JSON object with parameters that the model itself defines."
    )
    user: str | None = Field(default=None, description="An end user's id, for the service's abuse monitoring.")

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: Any) -> Any:
        """Name the nearest option to an unknown one, which ``llm``'s own error does not."""
        from langchain_cerebras_demo.wire.request import nearest  # noqa: PLC0415 - not at every start

        for name in values:
            if name not in cls.model_fields:
                known = tuple(cls.model_fields)
                hint = nearest(name, known) or f"; known are {', '.join(known)}"
                raise ValueError(f"unknown option {name!r}{hint}")
        return values

    @field_validator("*", mode="before")
    @classmethod
    def _check_value(cls, value: Any, info: ValidationInfo) -> Any:
        from langchain_cerebras_demo.wire.request import check_parameter, from_text  # noqa: PLC0415 - as above

        name = str(info.field_name)
        return check_parameter(name, from_text(name, value) if isinstance(value, str) else value)


class _Cerebras(Base):
    """The base class of the synchronous and the asynchronous model.

    Args:
        model_id: ``llm``'s id for the model.
        name: the model id or alias; ignored by the embedded model.
        is_local: whether it is the embedded model.
    """

    can_stream = True
    supports_schema = True
    key_env_var: str | None = "CEREBRAS_API_KEY"
    Options = Options  # type: ignore[assignment]  # the base class declares another class

    def __init__(self, model_id: str, name: str, *, is_local: bool = False) -> None:
        self.model_id = model_id
        self.name = name
        self.is_local = is_local
        self.needs_key: str | None = None if is_local else "cerebras"
        spec = None if is_local else catalog.find_spec(name)
        self.supports_tools = spec is None or spec.tool_calling is not False
        self.attachment_types: set[str] | frozenset[str] = (
            IMAGES if spec is not None and "image" in spec.inputs else frozenset()
        )

    def get_key(self, explicit_key: str | None = None) -> str | None:
        """Return the key that ``llm`` finds; ``None`` if there is none and the address is on this machine.

        Raises:
            NeedsKeyException: there is no key, and the address needs one.
        """
        from langchain_cerebras_demo.net.endpoint import is_loopback, to_base_url  # noqa: PLC0415 - as above

        try:
            return super().get_key(explicit_key)
        except llm.NeedsKeyException:
            base_url = to_base_url(None)
            if base_url == "local" or is_loopback(base_url):
                return None
            raise

    def _client(self, key: str | None) -> Client:
        from langchain_cerebras_demo.client.client import Client  # noqa: PLC0415 - as above
        from langchain_cerebras_demo.keys.chain import to_key_chain  # noqa: PLC0415 - as above
        from langchain_cerebras_demo.net.endpoint import to_base_url  # noqa: PLC0415 - as above

        base_url = to_base_url("local" if self.is_local else None)
        return Client(base_url=base_url, keys=to_key_chain(base_url, api_key=key))

    def _request(self, prompt: llm.Prompt) -> ChatRequest:
        from langchain_cerebras_demo.policy.abilities import keep_reasoning, replay_of, takes_images  # noqa: PLC0415 - as above
        from langchain_cerebras_demo.wire.request import ChatRequest, to_messages  # noqa: PLC0415 - as above

        spec = None if self.is_local else catalog.find_spec(self.name)
        replay, images = replay_of(spec), takes_images(spec)
        messages = _with_attachments_in_results(prompt.messages)
        wires = [wire for message in messages for wire in to_wires(message, replay, images=images)]
        parameters = {name: value for name, value in prompt.options if value is not None}
        if prompt.tools:
            parameters["tools"] = [to_tool(tool) for tool in prompt.tools]
        if prompt.schema:
            parameters["response_format"] = to_response_format(cast("Mapping[str, Any]", prompt.schema))
        sent = to_messages(wires)
        return ChatRequest(self.name, sent, keep_reasoning(parameters, sent, replay))


class CerebrasModel(_Cerebras, llm.KeyModel):
    """A model of ``llm``."""

    def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,
        response: llm.Response,
        conversation: llm.Conversation | None,  # noqa: ARG002 - its messages are in the prompt
        key: str | None,
    ) -> Iterator[StreamEvent]:
        """Yield reasoning and text as they arrive, then tool calls; store the figures in ``response``."""
        from langchain_cerebras_demo.net.portal import portal  # noqa: PLC0415 - as above

        client, request = self._client(key), self._request(prompt)
        del key  # a traceback that shows locals must not show it
        answer = _Answer(self.model_id, _wrapper_of(prompt.schema))
        with _errors_for_llm():
            if stream:
                with closing(portal.iterate(lambda: client.stream(request))) as batches:
                    for events in batches:
                        yield from answer.read(events)
            else:
                yield from answer.read(portal.run(lambda: client.complete(request)))
        yield from answer.end(response)


class AsyncCerebrasModel(_Cerebras, llm.AsyncKeyModel):
    """An asynchronous model of ``llm``."""

    async def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,
        response: llm.AsyncResponse,
        conversation: llm.AsyncConversation | None,  # noqa: ARG002 - as above
        key: str | None,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield the same as ``CerebrasModel.execute``."""
        from langchain_cerebras_demo.net.shutdown import in_thread  # noqa: PLC0415 - as above

        client = self._client(key)
        del key  # as above
        # Images that are given by URL are downloaded with blocking calls.
        request = await in_thread(self._request, prompt) if _has_attachments(prompt) else self._request(prompt)
        answer = _Answer(self.model_id, _wrapper_of(prompt.schema))
        with _errors_for_llm():
            if stream:
                async with aclosing(client.stream(request)) as batches:
                    async for events in batches:
                        for event in answer.read(events):
                            yield event
            else:
                for event in answer.read(await client.complete(request)):
                    yield event
        for event in answer.end(response):
            yield event


def _has_attachments(prompt: llm.Prompt) -> bool:
    parts = [part for message in prompt.messages for part in message.parts]
    return any(isinstance(part, AttachmentPart) or getattr(part, "attachments", None) for part in parts)


@contextmanager
def _errors_for_llm() -> Iterator[None]:
    """Give errors the remedies of ``llm``: for a refused key, and without one that exists only in Python."""
    from langchain_cerebras_demo.errors import (  # noqa: PLC0415 - as above
        AuthenticationError,
        CerebrasError,
        InvalidRequestError,
    )
    from langchain_cerebras_demo.policy.abilities import ESCAPE  # noqa: PLC0415 - as above

    try:
        yield
    except AuthenticationError as error:
        if "none was sent" not in str(error):
            error.args = CerebrasError(f"{str(error).rstrip('.')}. {_ANOTHER_KEY}").args
        raise
    except InvalidRequestError as error:
        error.args = (str(error).replace(f" {ESCAPE}", ""),)
        raise


_ANOTHER_KEY = "Set another: llm keys set cerebras, or CEREBRAS_API_KEY"


class _Answer:
    """One answer: converts its events to those of ``llm``, and collects its figures for the logs.

    Args:
        model_id: ``llm``'s id for the model.
        wrapper: the property whose value alone is the answer, once it is complete; empty if the answer is not wrapped.
    """

    def __init__(self, model_id: str, wrapper: str = "") -> None:
        self._model_id = model_id
        self._wrapper = wrapper
        self._wrapped: list[str] = []
        self._events: list[Event | CallRecord] = []

    def read(self, events: Iterable[Event | CallRecord]) -> Iterator[StreamEvent]:
        """Yield the reasoning and the text of these events."""
        from langchain_cerebras_demo.wire.completion import (  # noqa: PLC0415 - as above
            ReasoningDelta,
            RefusalDelta,
            TextDelta,
        )

        for event in events:
            if self._wrapper and isinstance(event, TextDelta):
                self._wrapped.append(event.text)
            elif isinstance(event, TextDelta | RefusalDelta):
                yield StreamEvent("text", event.text)
            elif isinstance(event, ReasoningDelta):
                yield StreamEvent("reasoning", event.text, provider_metadata={_OURS: {"model": self._model_id}})
            else:
                self._events.append(event)

    def end(self, response: Any) -> Iterator[StreamEvent]:
        """Yield the value of a wrapped answer and the tool calls, and set usage, figures and the model's id.

        Raises:
            ModelError: the arguments of a tool call are not valid JSON.
        """
        from langchain_cerebras_demo.records import CallRecord  # noqa: PLC0415 - as above
        from langchain_cerebras_demo.wire.completion import Finish, Identity, Usage  # noqa: PLC0415 - as above

        identity, usage = self._first(Identity), self._first(Usage)
        finish, record = self._first(Finish), self._first(CallRecord)
        if usage is not None:
            details = {name: count for name in _USAGE_DETAILS if (count := getattr(usage, name))}
            response.set_usage(input=usage.prompt_tokens, output=usage.completion_tokens, details=details or None)
        if identity is not None and identity.model:
            response.set_resolved_model(identity.model)
        response.response_json = to_figures(identity, usage, finish, record)
        if self._wrapped:
            yield StreamEvent("text", _without_wrapper("".join(self._wrapped), self._wrapper))
        for call in self._calls():
            response.add_tool_call(call)
            yield StreamEvent("tool_call_name", call.name, tool_call_id=call.tool_call_id)
            yield StreamEvent("tool_call_args", json.dumps(call.arguments), tool_call_id=call.tool_call_id)

    def _first(self, kind: type[T]) -> T | None:
        return next((event for event in self._events if isinstance(event, kind)), None)

    def _calls(self) -> list[llm.ToolCall]:
        from langchain_cerebras_demo.wire.completion import ToolCallFragment  # noqa: PLC0415 - as above
        from langchain_cerebras_demo.wire.tool_calls import join_fragments, read_arguments  # noqa: PLC0415 - as above

        fragments: dict[int, list[ToolCallFragment]] = {}
        for event in self._events:
            if isinstance(event, ToolCallFragment):
                fragments.setdefault(event.index, []).append(event)
        calls = []
        for pieces in fragments.values():
            call = join_fragments(pieces)
            try:
                arguments = read_arguments(call.arguments)
            except ValueError as error:
                raise llm.ModelError(f"the model called {call.name!r}, but {error}") from None
            calls.append(llm.ToolCall(name=call.name or "", arguments=arguments, tool_call_id=call.id))
        return calls


_USAGE_DETAILS = ("cached_tokens", "image_tokens", "reasoning_tokens")

_FIGURES = (
    "seconds",
    "ttft",
    "tokens_per_second",
    "attempts",
    "paced",
    "backed_off",
    "estimated_cost_usd",
    "request_id",
)


def to_figures(identity: Any, usage: Any, finish: Any, record: Any) -> dict[str, Any]:
    """Return the facts of an answer for the logs; times are in seconds. Each argument may be ``None``."""
    measured = {name: getattr(record, name) for name in _FIGURES} if record else {}
    facts = {
        **(asdict(identity) if identity else {}),
        "finish_reason": finish and finish.reason,
        "usage": {name: value for name, value in asdict(usage).items() if value is not None} if usage else None,
        "time_info": record and record.time_info and dict(record.time_info),
        **measured,
    }
    return {name: value for name, value in facts.items() if value is not None}


def to_wires(message: Message, replay: Replay | None, *, images: bool = False) -> list[dict[str, Any]]:
    """Return a message of ``llm`` as messages of the API.

    Args:
        message: a message of any role; each of its tool results becomes one message.
        replay: the form in which the model accepts its earlier reasoning: ``reasoning`` or ``think_tags``; ``None`` for none.
        images: whether the model reads images. If not, a note takes the place of those in a tool's result.
    """
    if message.role == "tool":
        return list(_results(message, images=images))
    texts = [part.text for part in message.parts if isinstance(part, TextPart)]
    if message.role != "assistant":
        shown = [to_image_part(part.attachment) for part in message.parts if isinstance(part, AttachmentPart)]
        content: Any = "".join(texts)
        if shown:
            content = [*({"type": "text", "text": text} for text in texts), *shown]
        return [{"role": message.role, "content": content}]
    from langchain_cerebras_demo.wire.thinking import with_reasoning  # noqa: PLC0415 - as above

    thoughts = [part.text for part in message.parts if isinstance(part, ReasoningPart) and _is_ours(part)]
    wire = with_reasoning({"role": "assistant", "content": "".join(texts)}, "".join(thoughts), replay)
    if calls := [_to_wire_call(part) for part in message.parts if isinstance(part, ToolCallPart)]:
        wire["tool_calls"] = calls
    return [wire]


def _is_ours(part: ReasoningPart) -> bool:
    return _OURS in (part.provider_metadata or {})


def _to_wire_call(part: ToolCallPart) -> dict[str, Any]:
    function = {"name": part.name, "arguments": json.dumps(part.arguments, ensure_ascii=False)}
    return {"id": part.tool_call_id, "type": "function", "function": function}


def _with_attachments_in_results(messages: Iterable[Message]) -> list[Message]:
    """Return the messages with the attachments of tools in their results.

    A chain of ``llm`` has them in a user message of their own, after the results. With several results, they go to the last one.
    """
    moved: list[Message] = []
    for message in messages:
        attached = [part.attachment for part in message.parts if isinstance(part, AttachmentPart)]
        has_attachments_only = message.role == "user" and bool(attached) and len(attached) == len(message.parts)
        last = moved[-1].parts[-1] if moved and moved[-1].parts else None
        if has_attachments_only and isinstance(last, ToolResultPart):
            with_them = replace(last, attachments=[*last.attachments, *attached])
            moved[-1] = replace(moved[-1], parts=[*moved[-1].parts[:-1], with_them])
        else:
            moved.append(message)
    return moved


def _results(message: Message, *, images: bool) -> Iterator[dict[str, Any]]:
    """Yield a message per tool result, then one user message with their images: the API accepts images only from users."""
    from langchain_cerebras_demo.wire.parts import to_result  # noqa: PLC0415 - as above

    shown: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, ToolResultPart):
            blocks = [part.output, *(_to_block(attachment, images=images) for attachment in part.attachments)]
            text, its_images = to_result(blocks, f"the result of {part.name!r}", images=images, check=True)
            yield {"role": "tool", "tool_call_id": part.tool_call_id, "content": text}
            shown += its_images
    if shown:
        yield {"role": "user", "content": shown}


def _to_block(attachment: Any, *, images: bool) -> dict[str, Any]:
    """Return the content block for an attachment of a tool's result, without its data if that cannot be sent."""
    kind = attachment.resolve_type() or ""
    if not kind.startswith("image/"):
        return {"type": "file"}
    return to_image_part(attachment) if images and kind in IMAGES else {"type": "image"}


def to_image_part(attachment: Any) -> dict[str, Any]:
    """Return the message part for an image. An image given by URL is downloaded, because the service accepts only data.

    Raises:
        ModelError: the service does not accept this type.
    """
    kind = attachment.resolve_type()
    if kind not in IMAGES:
        raise llm.ModelError(f"an attachment is of type {kind}: the service accepts {' and '.join(sorted(IMAGES))}")
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{attachment.base64_content()}"}}


def to_tool(tool: Any) -> dict[str, Any]:
    """Return a tool in the API's form."""
    described = {"description": tool.description} if tool.description else {}
    parameters = tool.input_schema or {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": tool.name, **described, "parameters": parameters}}


def _wrapper_of(schema: Any) -> str:
    """Return the property in which the answers of this schema are sent; empty if they are objects or there is no schema."""
    from langchain_cerebras_demo.wire.schemas import answer_type  # noqa: PLC0415 - as above

    return answer_type.in_object(answer_type.from_mapping(schema)).key if schema else ""


def _without_wrapper(text: str, wrapper: str) -> str:
    """Return the JSON of the value that is wrapped in an object, or the text itself if it is not such an object."""
    try:
        decoded = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text
    is_wrapped = isinstance(decoded, dict) and decoded.keys() == {wrapper}
    return json.dumps(decoded[wrapper], ensure_ascii=False) if is_wrapped else text


def to_response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response format for a schema: strict, if strict mode supports the schema."""
    from langchain_cerebras_demo.wire.schemas import answer_type  # noqa: PLC0415 - as above

    kind = answer_type.in_object(answer_type.from_mapping(schema))
    try:
        return answer_type.to_response_format(kind)
    except ValueError:
        return answer_type.to_response_format(kind, strict=False)


@llm.hookimpl
def register_models(register: Any) -> None:
    """Register the models that Cerebras serves now, and the embedded one."""
    today = datetime.now(tz=timezone.utc).date()
    served = [spec.id for spec in catalog.model_specs().values() if catalog.is_served(spec, today)]
    default = catalog.AliasTable().resolve(os.environ.get(MODEL_VARIABLE, "").strip() or catalog.DEFAULT_MODEL)
    for name in dict.fromkeys([*served, default]):  # the default may be a dedicated endpoint without a catalogue row
        aliases = [f"{PREFIX}{alias}" for alias, target in catalog.BUILT_IN_ALIASES.items() if target == name]
        model_id = f"{PREFIX}{name}"
        register(
            CerebrasModel(model_id, name),
            AsyncCerebrasModel(model_id, name),
            aliases=(*aliases, *(["cerebras"] if name == default else [])),
        )
    register(
        CerebrasModel(LOCAL_MODEL, LOCAL_MODEL, is_local=True),
        AsyncCerebrasModel(LOCAL_MODEL, LOCAL_MODEL, is_local=True),
    )
