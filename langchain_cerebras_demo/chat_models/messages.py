"""LangChain's messages to the API's.

The API refuses keys that it does not know, in messages too, so every message is built anew and nothing is passed through.
What it takes: cerebras-cloud-sdk 1.91.0, ``types/chat/completion_create_params.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_cerebras_demo.wire.request import ROLES

Block = dict[str, Any]

# Blocks of an answer that are not its text: the tool calls stand in `tool_calls` too, and the thinking of another vendor's
# model is refused here and worthless.
_NOT_SENT_BACK = frozenset(
    {"reasoning", "thinking", "redacted_thinking", "tool_call", "tool_call_chunk", "invalid_tool_call", "tool_use"}
)


def to_wire(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """The messages as the API takes them.

    Raises:
        ValueError: no messages, a message or block that cannot be said on this wire, an image that is no base64 PNG or
            JPEG; the error names message, block and remedy.
        TypeError: something that is no message, or bytes where text belongs.
    """
    if not messages:
        raise ValueError("messages is empty: give at least one message")
    return [_to_wire(message, f"messages[{position}]") for position, message in enumerate(messages)]


def _to_wire(message: BaseMessage, place: str) -> dict[str, Any]:
    if isinstance(message, ChatMessage):
        if message.role not in ROLES:
            raise ValueError(f"{place} has role {message.role!r}: give one of {', '.join(ROLES)}")
        return _named(
            {"role": message.role, "content": _content(message, place, images=message.role == "user")}, message
        )
    if isinstance(message, HumanMessage):
        return _named({"role": "user", "content": _content(message, place, images=True)}, message)
    if isinstance(message, SystemMessage):
        # How LangChain marks OpenAI's developer role, which the API types too.
        role = "developer" if message.additional_kwargs.get("__openai_role__") == "developer" else "system"
        return _named({"role": role, "content": _content(message, place)}, message)
    if isinstance(message, ToolMessage):
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": _tool_result(message, place)}
    if isinstance(message, AIMessage):
        return _named(_assistant(message, place), message)
    raise TypeError(
        f"{place} is a {type(message).__name__}, which the API has no role for: "
        "give a HumanMessage, SystemMessage, AIMessage, ToolMessage or ChatMessage"
    )


def _named(wire: dict[str, Any], message: BaseMessage) -> dict[str, Any]:
    name = message.name or message.additional_kwargs.get("name")
    if name:
        wire["name"] = name
    return wire


def _assistant(message: AIMessage, place: str) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": "assistant"}
    calls = [_tool_call(call["id"], call["name"], _to_arguments(call["args"])) for call in message.tool_calls]
    # Sent as they were: without them the tool message that answers one would refer to nothing.
    calls += [_tool_call(call["id"], call["name"] or "", call["args"] or "") for call in message.invalid_tool_calls]
    content = _content(message, place, skipped=_NOT_SENT_BACK)
    if content or not calls:  # an empty content beside tool calls was once an error, and no content never is
        wire["content"] = content
    if calls:
        wire["tool_calls"] = calls
    return wire


def _tool_call(call_id: str | None, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _to_arguments(args: dict[str, Any]) -> str:
    return json.dumps(args, ensure_ascii=False)


def _tool_result(message: ToolMessage, place: str) -> str:
    """A tool's result as one string, which every server reads; what is not text goes as JSON text."""
    if isinstance(message.content, str):
        return message.content
    return "".join(
        block
        if isinstance(block, str)
        else _text(block, place)
        if block.get("type") == "text"
        else _to_arguments(block)
        for block in message.content
    )


def _content(
    message: BaseMessage, place: str, *, images: bool = False, skipped: frozenset[str] = frozenset()
) -> str | list[Block]:
    """A string as it is, blocks as the API's parts: never joined, so that the model reads what was written."""
    if isinstance(message.content, str):
        return message.content
    parts: list[Block] = []
    for number, block in enumerate(message.content):
        where = f"{place}.content[{number}]"
        if isinstance(block, str):
            parts.append({"type": "text", "text": block})
        elif block.get("type") in skipped:
            continue
        else:
            parts.append(_part(block, where, images=images))
    return parts


def _part(block: Block, place: str, *, images: bool) -> Block:
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": _text(block, place)}
    read_url = _IMAGE_URLS.get(str(kind))
    if read_url is None:
        raise ValueError(
            f"{place} is a {kind!r} block, which the API does not take: send text, or an image by a user message"
        )
    if not images:
        raise ValueError(f"{place} is an image: the API takes images in user messages alone")
    url = read_url(block)
    if not isinstance(url, str) or not url.startswith("data:image/"):
        shown = url if isinstance(url, str) and len(url) < 200 else type(url).__name__
        raise ValueError(
            f"{place} is an image that is not sent along ({shown}): the API takes base64 PNG or JPEG data alone, "
            "so download it and give its bytes as base64"
        )
    image_url = {"url": url}
    detail = (
        block.get("image_url", {}).get("detail")
        if kind == "image_url" and isinstance(block["image_url"], dict)
        else None
    )
    return {"type": "image_url", "image_url": {**image_url, "detail": detail} if detail else image_url}


def _text(block: Block, place: str) -> str:
    text = block.get("text")
    if not isinstance(text, str):
        raise TypeError(f"{place} has text of type {type(text).__name__}: give a str (decode bytes first)")
    return text


def _url_of_openai_block(block: Block) -> Any:
    image = block.get("image_url")
    return image.get("url") if isinstance(image, dict) else image


def _url_of_image_block(block: Block) -> Any:
    """LangChain's v1 (``base64``), its v0 (``data`` or ``url``) and Anthropic's (``source``) image blocks."""
    source = block.get("source")
    if isinstance(source, dict):
        data, mime_type = source.get("data"), source.get("media_type")
        url = source.get("url")
    else:
        data, mime_type = block.get("base64") or block.get("data"), block.get("mime_type")
        url = block.get("url") or block.get("image")  # the API's own {"type": "image", "image": …}
    return f"data:{mime_type or 'image/png'};base64,{data}" if data else url


_IMAGE_URLS: dict[str, Callable[[Block], Any]] = {
    "image_url": _url_of_openai_block,
    "image": _url_of_image_block,
}
