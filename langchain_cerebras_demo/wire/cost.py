"""Estimates how many tokens of the account's limits a request uses, before the service has counted them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_cerebras_demo.wire.request import to_json

DEFAULT_IMAGE_TOKENS = 280
"""The most tokens that one image counts on gemma-4-31b (https://inference-docs.cerebras.ai/capabilities/image-inputs)."""

# What is reserved for an answer without a token limit, as measured by the author of a client (dcdpr/jp#1085).
_DEFAULT_OUTPUT = 16_384

# Measured on prose, code and JSON with the tokenizers of gpt-oss (o200k) and Qwen: English prose has 4.7 characters a token,
# translations 2.6 (Polish) to 4. A Chinese, Japanese or Korean character is 0.5 to 0.8 of a token and three bytes; a Cyrillic
# or Arabic one 0.25 to 0.45 and two bytes.
_ASCII_A_TOKEN = 3.5
_BYTES_A_TOKEN = 3.0

# Recorded answers include what the chat templates add: 68 tokens on gpt-oss-120b, 34 on Llama, 9 on Qwen and GLM, and three or
# four per message. Tools and schemas add instructions: up to 200 tokens on Qwen 3 Coder, 40 on gpt-oss-120b.
_TEMPLATE_TOKENS = 70
_MESSAGE_TOKENS = 4
_INSTRUCTIONS_TOKENS = 155


def estimate_cost(
    body: Mapping[str, Any], max_output_tokens: int | None, image_tokens: int = DEFAULT_IMAGE_TOKENS
) -> float:
    """Estimate the tokens that the service reserves for a request: those of the prompt, and the longest answer.

    Args:
        body: The request's body.
        max_output_tokens: The model's own limit for an answer, if it is known.
        image_tokens: The most tokens that one image counts.
    """
    prompt = _TEMPLATE_TOKENS + sum(_message_tokens(message, image_tokens) for message in body["messages"])
    for key in ("tools", "response_format"):
        if body.get(key):
            prompt += _INSTRUCTIONS_TOKENS + estimate_tokens(to_json(body[key]).decode())
    most = _count(body.get("max_completion_tokens")) or min(_DEFAULT_OUTPUT, max_output_tokens or _DEFAULT_OUTPUT)
    return prompt + most * (_count(body.get("n")) or 1)


def estimate_tokens(text: str) -> float:
    """Estimate the tokens of a text in any script, rather too many than too few."""
    if text.isascii():
        return len(text) / _ASCII_A_TOKEN
    size = len(text.encode("utf-8", "replace"))
    plain = len(text.encode("ascii", "ignore"))
    return plain / _ASCII_A_TOKEN + (size - plain) / _BYTES_A_TOKEN


def _count(value: Any) -> int:
    """Return a positive number of tokens or answers; 0 if it was not given, or ``model_kwargs`` has another type."""
    return max(int(value), 0) if isinstance(value, int) else 0


def _message_tokens(message: Mapping[str, Any], image_tokens: int) -> float:
    tokens: float = _MESSAGE_TOKENS
    content, calls = message.get("content"), message.get("tool_calls")
    for text in (content, message.get("reasoning")):
        if isinstance(text, str):
            tokens += estimate_tokens(text)
    for part in content if isinstance(content, list | tuple) else ():
        if isinstance(part, Mapping):
            tokens += estimate_tokens(part.get("text") or "") + (part.get("type") == "image_url") * image_tokens
    return tokens + (estimate_tokens(to_json(calls).decode()) if calls else 0)
