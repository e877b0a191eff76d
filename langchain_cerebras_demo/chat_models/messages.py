"""Conversion of LangChain's messages to those of the API.

The API refuses unknown keys, also in messages, so each message is rebuilt from known parts.
What the API accepts: cerebras-cloud-sdk 1.91.0, ``types/chat/completion_create_params.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_cerebras_demo.chat_models.content import PROVIDERS, REASONING_KEY
from langchain_cerebras_demo.errors import InvalidRequestError, InvalidRequestTypeError
from langchain_cerebras_demo.wire.history import Turn, settle
from langchain_cerebras_demo.wire.parts import (
    CALL_KEYS,
    kind_of,
    says_something,
    to_content,
    to_json_text,
    to_result,
    to_valid_text,
)
from langchain_cerebras_demo.wire.request import ROLES
from langchain_cerebras_demo.wire.thinking import Replay, with_reasoning

__all__ = ["to_wire"]

Wire = dict[str, Any]


class _Rules(NamedTuple):
    replay: Replay | None
    images: bool
    check: bool


# The key of a tool's images until their place among the messages is known.
_IMAGES = "images of the result"


def to_wire(
    messages: Sequence[BaseMessage], *, replay: Replay | None = None, images: bool = False, check: bool = True
) -> list[Wire]:
    """Return the messages in the API's form.

    Args:
        messages: LangChain's, of any vendor's model. They are not changed.
        replay: How the reasoning of our own earlier answers is sent back: in the message's ``reasoning``, as think tags
            before its content, or not at all. That of other vendors' models never is.
        images: Whether the model supports images. Images in tool results are then sent in a user message after the results.
        check: Whether the service's rules for tool calls (``history.settle``) and images are applied;
            ``False`` leaves ids, order and images as they are.

    Raises:
        InvalidRequestError: There are no messages, or a message or block that the API does not support or that breaks its
            rules; the error names message, block and remedy.
        InvalidRequestTypeError: Something that is not a message, or a value of a wrong type.
    """
    if not messages:
        raise InvalidRequestError("messages is empty: give at least one message")
    rules = _Rules(replay, images, check)
    turns: list[Turn] = []
    for position, message in enumerate(messages):
        place = f"messages[{position}]"
        convert = _CONVERTERS.get(type(message)) or _find_converter(message, place)
        for wire in convert(message, place, rules):
            turns.append((position, wire))  # noqa: PERF401 - a comprehension an inner loop is slower
    wires = settle(turns) if check else [wire for _, wire in turns]
    return list(_with_images(wires)) if images else wires


def _with_images(wires: list[Wire]) -> Iterator[Wire]:
    """Yield the messages, with the images of tool results after the last result: the API accepts images from users only."""
    parts: list[Wire] = []
    for wire in wires:
        if parts and wire["role"] != "tool":
            yield {"role": "user", "content": parts}
            parts = []
        if found := wire.pop(_IMAGES, None):
            parts += [{"type": "text", "text": f"From the result of the tool call {wire['tool_call_id']}:"}, *found]
        yield wire
    if parts:
        yield {"role": "user", "content": parts}


def _find_converter(message: Any, place: str) -> Callable[[Any, str, _Rules], Sequence[Wire]]:
    """Return the converter for the nearest base class: chunks and users' own classes are messages too."""
    for base in type(message).__mro__:
        if base in _CONVERTERS:
            return _CONVERTERS[base]
    raise InvalidRequestTypeError(
        f"{place} is a {type(message).__name__}, for which the API has no role: "
        "give a HumanMessage, SystemMessage, AIMessage, ToolMessage or ChatMessage"
    )


def _from_system(message: BaseMessage, place: str, rules: _Rules) -> Sequence[Wire]:
    # LangChain's mark of OpenAI's developer role, which the API also has.
    role = "developer" if message.additional_kwargs.get("__openai_role__") == "developer" else "system"
    return (_to_message(role, message, place, rules),)


def _from_user(message: BaseMessage, place: str, rules: _Rules) -> Sequence[Wire]:
    """Return the user's message, after Anthropic's tool results in it, which become tool messages."""
    spoken = _to_message("user", message, place, rules)
    if isinstance(message.content, str):
        return (spoken,)
    results = list(_tool_results(message.content, place, rules))
    return (*results, spoken) if spoken["content"] or not results else results


def _tool_results(content: list[Any], place: str, rules: _Rules) -> Iterator[Wire]:
    for number, block in enumerate(content):
        if kind_of(block) == "tool_result":
            where = f"{place}.content[{number}]"
            call_id, result = block.get("tool_use_id"), block.get("content")
            if not isinstance(call_id, str):
                raise InvalidRequestTypeError(
                    f"{where} has a tool_use_id of type {type(call_id).__name__}: give the call's id, a str"
                )
            yield _result(call_id, "" if result is None else result, where, rules)


def _result(call_id: str, content: Any, place: str, rules: _Rules) -> Wire:
    text, images = to_result(content, place, images=rules.images, check=rules.check)
    wire: Wire = {"role": "tool", "tool_call_id": call_id, "content": text}
    if images:
        wire[_IMAGES] = images
    return wire


def _from_chat(message: ChatMessage, place: str, rules: _Rules) -> Sequence[Wire]:
    if message.role == "user":
        return _from_user(message, place, rules)
    if message.role == "assistant":
        return _from_assistant(message, place, rules)
    if message.role == "tool":
        raise InvalidRequestError(
            f"{place} has role 'tool' and names no call: give a ToolMessage with its tool_call_id"
        )
    if message.role not in ROLES:
        raise InvalidRequestError(f"{place} has role {message.role!r}: give one of {', '.join(ROLES)}")
    return (_to_message(message.role, message, place, rules),)


def _from_tool(message: ToolMessage, place: str, rules: _Rules) -> Sequence[Wire]:
    return (_result(message.tool_call_id, message.content, place, rules),)


def _from_function(message: FunctionMessage, place: str, rules: _Rules) -> Sequence[Wire]:
    # OpenAI's old form has no ids; `settle` gives this one the id of the call before it.
    return (_result("", message.content, place, rules),)


def _to_message(role: str, message: BaseMessage, place: str, rules: _Rules) -> Wire:
    content = to_content(message.content, place, role=role, check=rules.check)
    return _named({"role": role, "content": content}, message, place)


def _named(wire: Wire, message: BaseMessage, place: str) -> Wire:
    name = message.name or message.additional_kwargs.get("name")
    if name:
        if not isinstance(name, str):
            raise InvalidRequestTypeError(f"{place} has a name of type {type(name).__name__}: give a str")
        wire["name"] = name
    return wire


def _from_assistant(message: BaseMessage, place: str, rules: _Rules) -> Sequence[Wire]:
    content = to_content(message.content, place, role="assistant", check=rules.check)
    if not content and isinstance(refusal := message.additional_kwargs.get("refusal"), str):
        content = refusal  # it was the whole answer
    wire: Wire = {"role": "assistant", "content": content}
    if rules.replay:
        wire = with_reasoning(wire, _reasoning(message, place), rules.replay)
    if calls := _tool_calls(message, place):
        wire["tool_calls"] = calls
        if not says_something(wire["content"]):  # empty content with calls has been refused with a 400
            del wire["content"]
    return (_named(wire, message, place),)


def _reasoning(message: BaseMessage, place: str) -> str:
    """Return the reasoning of this package's models, and nothing for those of other vendors."""
    provider = message.response_metadata.get("model_provider")
    if provider is not None and provider not in PROVIDERS:
        return ""
    thoughts = [message.additional_kwargs.get(REASONING_KEY)]
    if not thoughts[0] and provider is not None and isinstance(message.content, list):
        blocks = [block for block in message.content if isinstance(block, dict) and block.get("type") == "reasoning"]
        thoughts = [block.get("reasoning") for block in blocks]
    for thought in thoughts:
        if not isinstance(thought, str | None):
            raise InvalidRequestTypeError(f"{place} has reasoning of type {type(thought).__name__}: give a str")
    return "".join(thought for thought in thoughts if thought)


def _tool_calls(message: BaseMessage, place: str) -> list[Wire]:
    """Return every call of the message once: from its fields, its blocks, or else the vendor's raw form.

    Broken calls are sent as they were: without them, the result that answers one would refer to nothing.
    """
    calls: list[Wire] = []
    if isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls):
        given = (*message.tool_calls, *message.invalid_tool_calls)
        calls = [_to_call(call["id"], call["name"], call["args"], place) for call in given]
    if isinstance(message.content, list):
        known = {call["id"] for call in calls}
        in_blocks = [_to_call(*call, place) for call in _calls_in_blocks(message.content)]
        calls += [call for call in in_blocks if call["id"] not in known]
    if calls or not message.additional_kwargs:
        return calls
    return [_to_call(*raw, place) for raw in _raw_calls(message.additional_kwargs, place)]


def _calls_in_blocks(content: list[Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Yield id, name and arguments of the calls in the content."""
    for block in content:
        if isinstance(block, dict) and (keys := CALL_KEYS.get(kind_of(block) or "")):
            yield block.get(keys[0]), block.get("name"), block.get(keys[1])


def _raw_calls(additional_kwargs: dict[str, Any], place: str) -> Iterator[tuple[Any, Any, Any]]:
    """Yield id, name and arguments of the calls in OpenAI's form; its oldest had one call and no id."""
    raw = additional_kwargs.get("tool_calls")
    if not raw and (call := additional_kwargs.get("function_call")):
        raw = [{"function": call}]
    for call in raw or ():
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise InvalidRequestTypeError(
                f"{place} has a raw tool call without a function in additional_kwargs: give it in tool_calls"
            )
        yield call.get("id"), function.get("name"), function.get("arguments")


def _to_call(call_id: Any, name: Any, arguments: Any, place: str) -> Wire:
    for value, what in ((call_id, "id"), (name, "name")):
        if not isinstance(value, str | None):
            raise InvalidRequestTypeError(
                f"{place} has a tool call with {what} of type {type(value).__name__}: give a str"
            )
    if not isinstance(arguments, str):
        arguments = "{}" if arguments is None else to_json_text(arguments, f"{place}: the arguments of {name!r}")
    function = {"name": name or "", "arguments": to_valid_text(arguments)}
    return {"id": call_id, "type": "function", "function": function}


_CONVERTERS: dict[type, Callable[[Any, str, _Rules], Sequence[Wire]]] = {
    HumanMessage: _from_user,
    AIMessage: _from_assistant,
    SystemMessage: _from_system,
    ToolMessage: _from_tool,
    ChatMessage: _from_chat,
    FunctionMessage: _from_function,
}
