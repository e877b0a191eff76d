"""Converts content blocks to the API's parts: the blocks of LangChain (v0 and v1), of OpenAI and of Anthropic.

Each part is built anew from its block, so that no keys unknown to the API are sent. LangChain's ``is_data_content_block`` is
not used, because it takes 290 µs per call, more than a whole history of texts takes here.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from langchain_cerebras_demo.errors import InvalidRequestError, InvalidRequestTypeError

__all__ = ["CALL_KEYS", "Part", "kind_of", "says_something", "to_content", "to_json_text", "to_result", "to_valid_text"]

Part = dict[str, Any]

CALL_KEYS: dict[str, tuple[str, str]] = {
    "tool_call": ("id", "args"),
    "tool_call_chunk": ("id", "args"),
    "invalid_tool_call": ("id", "args"),
    "tool_use": ("id", "input"),
    "function_call": ("call_id", "arguments"),
}
"""Blocks that are tool calls (LangChain's, Anthropic's, OpenAI's), with their keys for id and arguments."""

# Blocks that are sent elsewhere: calls and their fragments (`input_json_delta`) in `tool_calls`, tool results in tool
# messages, our own reasoning in `reasoning`. The reasoning of another vendor's model is not sent at all.
_LEFT_OUT: dict[str, frozenset[str]] = {
    "assistant": frozenset(
        {*CALL_KEYS, "input_json_delta", "reasoning", "thinking", "redacted_thinking", "reasoning_content"}
    ),
    "user": frozenset({"tool_result"}),
}

_IMAGES = frozenset({"image", "image_url"})
_TOOLS_IMAGES = _IMAGES | {"input_image"}
# As JSON text, they would fill the prompt with base64.
_MEDIA = frozenset({"audio", "input_audio", "video", "file", "document"})

# https URLs and other image types are a 400: inference-docs.cerebras.ai/capabilities/image-inputs.
_IMAGE_URI = re.compile(r"data:image/(?:png|jpeg|jpg);base64,")


def kind_of(block: Any) -> str | None:
    """Return the ``type`` of a content block; ``None`` if it has none or is not a block."""
    kind = block.get("type") if isinstance(block, dict) else None
    return kind if isinstance(kind, str) else None


def to_content(content: Any, place: str, *, role: str, check: bool) -> str | list[Part]:
    """Return a message's content in the API's form.

    A string remains a string, and text blocks are not joined, because the model would then read a different text. An empty
    list becomes an empty string.

    Args:
        content: LangChain's content.
        place: the message's place, for errors: ``messages[3]``.
        role: the API's role, which decides which blocks are sent elsewhere and left out here.
        check: whether images are checked against the service's rules (base64 PNG or JPEG, in user messages).

    Raises:
        InvalidRequestError: the API does not support a block, or an image breaks the rules.
        InvalidRequestTypeError: content, a block or a text has a wrong type.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequestTypeError(
            f"{place}.content is of type {type(content).__name__}: give a str or a list of blocks"
        )
    left_out = _LEFT_OUT.get(role, frozenset())
    parts = [
        _to_part(block, f"{place}.content[{number}]", role, check=check)
        for number, block in enumerate(content)
        if kind_of(block) not in left_out and not _is_silent_refusal(block)
    ]
    return parts or ""


def says_something(content: str | list[Part]) -> bool:
    """Return whether content in the API's form holds more than empty text."""
    return bool(content) if isinstance(content, str) else any(part.get("text") != "" for part in content)


def to_result(content: Any, place: str, *, images: bool, check: bool) -> tuple[str, list[Part]]:
    """Return a tool's result as one string, which every server accepts, and the images in it.

    Texts are joined without a separator; other blocks become JSON text. The API does not accept images and files from tools:
    a note in the text says where an image is, or that something was left out. This is not an error.

    Args:
        content: LangChain's content.
        place: the message's place, for errors: ``messages[3]``.
        images: whether the model supports images. If not, no images are returned.
        check: whether images are checked against the service's rules.

    Raises:
        InvalidRequestTypeError: as ``to_content``.
    """
    if isinstance(content, str):
        return to_valid_text(content), []
    if not isinstance(content, list):
        raise InvalidRequestTypeError(
            f"{place}.content is of type {type(content).__name__}: give a str or a list of blocks"
        )
    texts: list[str] = []
    parts: list[Part] = []
    for number, block in enumerate(content):
        where = f"{place}.content[{number}]"
        if images and kind_of(block) in _TOOLS_IMAGES:
            try:
                parts.append(_to_image(block, where, "user", check=check))
            except ValueError:
                texts.append("[An image was left out here: the API accepts base64 PNG or JPEG data only.]")
            else:
                texts.append("[The image is in the next message.]")
        else:
            texts.append(_to_result_text(block, where))
    return to_valid_text("".join(texts)), parts


def to_valid_text(text: str) -> str:
    """Return ``text`` with U+FFFD in place of lone halves of surrogate pairs, which cannot be sent."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def to_json_text(value: Any, place: str) -> str:
    """Return ``value`` as JSON text, with characters outside ASCII unescaped.

    Raises:
        InvalidRequestTypeError: it contains a value that JSON cannot express.
    """
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:  # ValueError: it contains itself
        raise InvalidRequestTypeError(f"{place} cannot be written as JSON: {error}") from None


def _is_silent_refusal(block: Any) -> bool:
    """Return whether a block is a refusal without text, as in an answer that a content filter has stopped."""
    return kind_of(block) == "refusal" and block.get("refusal") == ""


def _to_part(block: Any, place: str, role: str, *, check: bool) -> Part:
    if isinstance(block, str):
        return {"type": "text", "text": block}
    kind = kind_of(block)
    if kind == "text":
        return {"type": "text", "text": _text(block, "text", place)}
    if kind == "refusal" and role == "assistant":  # the user read it as the answer
        return {"type": "text", "text": _text(block, "refusal", place)}
    if kind in _IMAGES:
        return _to_image(block, place, role, check=check)
    _refuse_non_block(block, place)
    raise InvalidRequestError(
        f"{place} is a block of type {block.get('type')!r}, which the API does not accept in {role} messages: "
        "use a text block, or leave it out"
    )


def _to_result_text(block: Any, place: str) -> str:
    if isinstance(block, str):
        return block
    kind = kind_of(block)
    if kind == "text":
        return _text(block, "text", place)
    if kind in _TOOLS_IMAGES:
        return "[An image was left out here: this model reads text only.]"
    if kind in _MEDIA:
        return f"[A block of type {kind!r} was left out here: the API accepts text only.]"
    _refuse_non_block(block, place)
    return to_json_text(block, place)


def _refuse_non_block(block: Any, place: str) -> None:
    if not isinstance(block, dict):
        raise InvalidRequestTypeError(f"{place} is of type {type(block).__name__}: give a str or a block as a dict")


def _text(block: dict[str, Any], key: str, place: str) -> str:
    text = block.get(key)
    if not isinstance(text, str):
        raise InvalidRequestTypeError(
            f"{place} has {key} of type {type(text).__name__}: give a str (decode bytes first)"
        )
    return text


def _to_image(block: dict[str, Any], place: str, role: str, *, check: bool) -> Part:
    if check and role != "user":
        raise InvalidRequestError(
            f"{place} is an image in a message of role {role!r}: the API accepts images in user messages only"
        )
    image = block.get("image_url")
    # In LangChain's own blocks, the image is in the block itself; in OpenAI's and Anthropic's, in an inner dict.
    holder = image if isinstance(image, dict) else block["source"] if isinstance(block.get("source"), dict) else block
    uri = _image_uri(holder, place)
    if check:
        _check_image(uri, place)
    url = {"url": uri}
    if not check and isinstance(detail := holder.get("detail"), str):  # not supported by the service
        url["detail"] = detail
    return {"type": "image_url", "image_url": url}


def _image_uri(holder: dict[str, Any], place: str) -> str:
    """Return the image's URI: as given, or made from its base64 data and media type under LangChain's or Anthropic's keys."""
    data = holder.get("base64") or holder.get("data")
    if data:
        mime_type = holder.get("mime_type") or holder.get("media_type")
        if not isinstance(data, str) or not mime_type:
            raise InvalidRequestError(
                f"{place} is an image with data of type {type(data).__name__} and mime_type {mime_type!r}: "
                "give base64 text and 'image/png' or 'image/jpeg'"
            )
        return f"data:{mime_type};base64,{data}"
    # Some people write `image_url` as a string; `image` is the API's own name.
    uri = holder.get("url") or holder.get("image_url") or holder.get("image")
    if isinstance(uri, str):
        return uri
    raise InvalidRequestError(
        f"{place} is an image without data (it has {', '.join(sorted(map(str, holder)))}): the API accepts base64 PNG or "
        "JPEG data only, so give its bytes as base64"
    )


def _check_image(uri: str, place: str) -> None:
    prefix = _IMAGE_URI.match(uri)
    if not prefix:
        raise InvalidRequestError(
            f"{place} is an image that the API does not accept ({_shown(uri)}): it accepts base64 PNG or JPEG data only, "
            "so download or convert it and give its bytes as base64"
        )
    data = uri[prefix.end() :]
    try:
        complete = bool(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):  # ValueError: characters outside ASCII
        complete = False
    if not complete:
        raise InvalidRequestError(
            f"{place} is an image whose data is not base64: encode its bytes with base64.b64encode"
        )


def _shown(uri: str) -> str:
    """Return enough of a URI to recognize it, without its data, and without a query or a password, which may be secret."""
    if uri.startswith("data:"):
        return uri.split(",", 1)[0][:40]
    return re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", uri)[0])[:120]
