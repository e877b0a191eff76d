"""The loopback's own way of counting tokens: deterministic, cheap, and of a believable size.

No tokenizer of a real model: a token is up to six characters without a space, with the spaces in front of it. English
text comes out near 1.2 tokens a word, as with the real ones.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from langchain_cerebras_demo.testing.models import LoopbackModel

__all__ = ["IMAGE_TOKENS", "count", "image_parts", "pieces", "prompt_tokens", "text_of"]

IMAGE_TOKENS = 280  # the documented ceiling for one image of gemma-4-31b
TOKENS_A_MESSAGE = 3

_PIECE = re.compile(r"\s*\S{1,6}|\s+")


def pieces(text: str) -> list[str]:
    """The tokens of a text; joined they are the text again."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    """How many tokens a text has."""
    return len(pieces(text))


def text_of(content: Any) -> str:
    """The text of a message's ``content``: a string, a list of parts (images left out) or ``None``."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def image_parts(messages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """All image parts of a conversation, in order."""
    contents = [message.get("content") for message in messages]
    return [part for content in contents if isinstance(content, list) for part in content if part["type"] != "text"]


def prompt_tokens(body: Mapping[str, Any], model: LoopbackModel) -> int:
    """What a checked chat request's prompt costs: messages, tools, schema, images and the model's hidden preamble."""
    total = model.hidden_prompt_tokens + IMAGE_TOKENS * len(image_parts(body["messages"]))
    for message in body["messages"]:
        total += TOKENS_A_MESSAGE + count(text_of(message.get("content"))) + count(text_of(message.get("reasoning")))
        total += sum(count(call["function"]["arguments"]) for call in message.get("tool_calls") or ())
    for extra in (body.get("tools"), body.get("response_format")):
        total += count(orjson.dumps(extra).decode()) if extra else 0
    return total
