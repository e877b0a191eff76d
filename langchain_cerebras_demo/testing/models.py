"""The models that the loopback Cerebras serves, what each of them supports, and how tokens are counted.

The facts are those of Cerebras' public catalogue (``GET /public/v1/models``) and its reasoning page, 2026-07 to 2026-10.
The list is independent of the package's catalogue, which must not be checked against itself. Tokens are not counted by a real
tokenizer, but deterministically and quickly: a token is up to six characters without a space, with the spaces before it.
English text has about 1.2 tokens per word, as with real tokenizers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


ALL_FORMATS = ("none", "parsed", "text_parsed", "raw", "hidden")


@dataclass(frozen=True, slots=True)
class LoopbackModel:
    """One served model. The defaults are those of a model that supports everything, as a dedicated endpoint may.

    Attributes:
        id: The id for a request's ``model``.
        context_window: Prompt and answer together, in tokens as the loopback counts them.
        max_output_tokens: The longest answer, in tokens, of a request without a limit.
        reasoning_efforts: The accepted values; empty for a model that does not reason.
        reasons_by_default: Whether it reasons if a request has no effort.
        reasoning_formats: The accepted values of ``reasoning_format``.
        raw_think_tags: Whether ``raw`` puts the reasoning between ``<think>`` tags, or before the text (gpt-oss).
        takes_disable_reasoning: Whether ``disable_reasoning: true`` is accepted (zai-glm only).
        parallel_tool_calls: Whether one answer may have several calls.
        response_format_with_tools: Whether a request may have both.
        sends_whole_calls: Whether a streamed call comes in one delta (zai-glm) or in fragments (gpt-oss).
        image_inputs: Whether user messages may have images.
        predictions: Whether ``prediction`` is accepted.
        hidden_prompt_tokens: What the service's own preamble adds to every prompt, in tokens.
        owned_by: The vendor's name in the public catalogue.
        prices: US dollars per token for prompt and completion, as strings, as in the catalogue.
        preview: The catalogue's flag.
        deprecated: The catalogue's flag.
    """

    id: str
    context_window: int = 131_072
    max_output_tokens: int = 40_960
    reasoning_efforts: tuple[str, ...] = ("none", "low", "medium", "high")
    reasons_by_default: bool = True
    reasoning_formats: tuple[str, ...] = ALL_FORMATS
    raw_think_tags: bool = True
    takes_disable_reasoning: bool = False
    parallel_tool_calls: bool = True
    response_format_with_tools: bool = True
    sends_whole_calls: bool = False
    image_inputs: bool = False
    predictions: bool = False
    hidden_prompt_tokens: int = 0
    owned_by: str = "Cerebras"
    prices: tuple[str, str] = ("0.0000001", "0.0000001")
    preview: bool = False
    deprecated: bool = False


MODELS: tuple[LoopbackModel, ...] = (
    LoopbackModel(
        "gpt-oss-120b",
        response_format_with_tools=False,
        reasoning_efforts=("low", "medium", "high"),
        raw_think_tags=False,
        parallel_tool_calls=False,
        predictions=True,
        hidden_prompt_tokens=64,  # a two-word user message was counted as 69 on the wire
        owned_by="OpenAI",
        prices=("0.00000035", "0.00000075"),
    ),
    LoopbackModel(
        "qwen-3.8-27b",
        response_format_with_tools=False,
        reasoning_formats=("none", "parsed", "text_parsed", "raw"),
        image_inputs=True,
        owned_by="Qwen",
        prices=("0.00000099", "0.00000149"),
    ),
    LoopbackModel(
        "gemma-4-31b",
        response_format_with_tools=False,
        reasons_by_default=False,
        reasoning_formats=("none", "parsed", "text_parsed"),
        image_inputs=True,
        owned_by="Google",
        prices=("0.00000099", "0.00000149"),
    ),
    LoopbackModel(
        "zai-glm-4.7",
        response_format_with_tools=False,
        takes_disable_reasoning=True,
        sends_whole_calls=True,
        owned_by="Z.ai",
        prices=("0.00000225", "0.00000275"),
        preview=True,
        deprecated=True,
    ),
)
"""The models that a ``LoopbackCerebras`` serves by default."""


def to_list_row(model: LoopbackModel) -> dict[str, Any]:
    """Return the model as in ``GET /v1/models``: four fields, with ``created`` 0 as in the real API."""
    return {"id": model.id, "object": "model", "created": 0, "owned_by": "Cerebras"}


def to_catalogue_row(model: LoopbackModel) -> dict[str, Any]:
    """Return the model as in ``GET /public/v1/models``, with the fields recorded there in 2026-07."""
    return {
        "id": model.id,
        "object": "model",
        "created": 0,
        "owned_by": model.owned_by,
        "name": model.id,
        "description": "A model of the loopback Cerebras.",
        "hugging_face_id": f"loopback/{model.id}",
        "pricing": {"prompt": model.prices[0], "completion": model.prices[1]},
        "capabilities": {
            **dict.fromkeys(("streaming", "function_calling", "structured_outputs", "json_mode", "tools"), True),
            **dict.fromkeys(("tool_choice", "response_format"), True),
            "vision": model.image_inputs,
            "parallel_tool_calls": model.parallel_tool_calls,
            "reasoning": bool(model.reasoning_efforts),
        },
        "supported_parameters": {
            **dict.fromkeys(("temperature", "top_p", "seed", "stop", "max_completion_tokens"), True),
            **dict.fromkeys(("frequency_penalty", "presence_penalty", "logit_bias"), True),
            **dict.fromkeys(("logprobs", "top_logprobs", "repetition_penalty"), False),
        },
        "architecture": {
            "modality": "text+vision" if model.image_inputs else "text",
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "limits": {
            "max_context_length": model.context_window,
            "max_completion_tokens": model.max_output_tokens,
            "requests_per_minute": None,
            "tokens_per_minute": None,
        },
        "datacenter_locations": [],
        "deprecated": model.deprecated,
        "preview": model.preview,
        "quantization": None,
    }


IMAGE_TOKENS = 280  # the documented ceiling for one image of gemma-4-31b
TOKENS_A_MESSAGE = 3

_PIECE = re.compile(r"\s*\S{1,6}|\s+")


def pieces(text: str) -> list[str]:
    """Return the tokens of a text; joined, they are the text."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    """Return how many tokens a text has."""
    return len(pieces(text))


def text_of(content: Any) -> str:
    """Return the text of a message's ``content``: a string, a list of parts (without images) or ``None``."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def image_parts(messages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return all image parts of a conversation, in order."""
    contents = [message.get("content") for message in messages]
    return [part for content in contents if isinstance(content, list) for part in content if part["type"] != "text"]


def prompt_tokens(body: Mapping[str, Any], model: LoopbackModel) -> int:
    """Return the prompt's tokens of a checked chat request: messages, tools, schema, images and the model's preamble."""
    total = model.hidden_prompt_tokens + IMAGE_TOKENS * len(image_parts(body["messages"]))
    for message in body["messages"]:
        total += TOKENS_A_MESSAGE + count(text_of(message.get("content"))) + count(text_of(message.get("reasoning")))
        total += sum(count(call["function"]["arguments"]) for call in message.get("tool_calls") or ())
    for extra in (body.get("tools"), body.get("response_format")):
        total += count(orjson.dumps(extra).decode()) if extra else 0
    return total
