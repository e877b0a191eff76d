"""What a request costs of the account's tokens a minute, before anybody has counted them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_cerebras_demo.wire.request import to_json

_DEFAULT_OUTPUT = 16_384
_CHARACTERS_A_TOKEN = 4.0
_IMAGE_CHARACTERS = int(280 * _CHARACTERS_A_TOKEN)


def estimate_cost(body: Mapping[str, Any], max_output_tokens: int | None) -> float:
    """About how many tokens the service reserves for a request: the prompt's, and the most that the answer may have.

    Args:
        body: the request.
        max_output_tokens: the model's own bound, where it is known.

    Four characters a token, 280 an image. Where ``max_completion_tokens`` is not given, 16,384 were measured (dcdpr/jp#1085).
    """
    characters = sum(map(_characters, body["messages"]))
    for key in ("tools", "response_format"):
        if body.get(key):
            characters += len(to_json(body[key]))
    most = _count(body.get("max_completion_tokens")) or min(_DEFAULT_OUTPUT, max_output_tokens or _DEFAULT_OUTPUT)
    return characters / _CHARACTERS_A_TOKEN + most * (_count(body.get("n")) or 1)


def _count(value: Any) -> int:
    """A number of tokens or answers; 0 where none was given, or what ``model_kwargs`` gave is none."""
    if not isinstance(value, int):
        return 0
    return max(int(value), 0)


def _characters(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    if isinstance(content, str):
        return len(content)
    parts = content if isinstance(content, list | tuple) else ()
    texts = sum(len(part.get("text") or "") for part in parts if isinstance(part, Mapping))
    images = sum(isinstance(part, Mapping) and part.get("type") == "image_url" for part in parts)
    calls = message.get("tool_calls")
    return int(texts + images * _IMAGE_CHARACTERS + (len(to_json(calls)) if calls else 0))
