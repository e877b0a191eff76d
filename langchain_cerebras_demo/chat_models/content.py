"""Conversion of this package's messages to LangChain's standard content blocks: reasoning, text, a refusal, tool calls.

The translators are registered with LangChain under our two provider names, as its ``block_translators`` module asks of
external integrations. LangChain's fallback is not enough: it reads a chunk with text and a tool-call fragment as a finished
call without arguments.
"""

from __future__ import annotations

from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.content import ContentBlock

# The one key of additional_kwargs that LangChain itself knows as reasoning.
REASONING_KEY = "reasoning_content"

# The key where langchain-openai puts a refusal, and where LangChain looks for it.
REFUSAL_KEY = "refusal"

PROVIDERS = ("cerebras", "local")

# LangChain merges the blocks of a stream by index. It numbers text from 0, and so are tool calls: text and call 0 would merge
# into one block. Names cannot collide, and LangChain accepts those that begin with "lc_".
_REASONING_INDEX, _TEXT_INDEX, _REFUSAL_INDEX, _TOOL_CALL_INDEX = "lc_rs_0", "lc_txt_0", "lc_rf_0", "lc_tc_{}"

# The refusal of an answer that a content filter stopped, which has no text. LangChain's errors quote the category.
_FILTERED = {"type": "refusal", "refusal": "", "extras": {"category": "content_filter"}}


def to_blocks(message: AIMessage) -> list[ContentBlock]:
    """Return the blocks of a whole message."""
    return _blocks(message, indexed=False)


def to_chunk_blocks(message: AIMessageChunk) -> list[ContentBlock]:
    """Return the blocks of a chunk, each with the index by which it is merged; a merged stream's calls are complete."""
    if message.chunk_position == "last":
        return _blocks(message, indexed=True)
    blocks = _spoken_blocks(message, indexed=True)
    blocks += [
        {
            "type": "tool_call_chunk",
            "id": fragment["id"],
            "name": fragment["name"],
            "args": fragment["args"],
            "index": _TOOL_CALL_INDEX.format(fragment["index"]),
        }
        for fragment in message.tool_call_chunks
    ]
    return cast("list[ContentBlock]", blocks)


def _blocks(message: AIMessage, *, indexed: bool) -> list[ContentBlock]:
    blocks = _spoken_blocks(message, indexed=indexed)
    known = {block.get("id") for block in blocks if block.get("type") in {"tool_call", "invalid_tool_call"}}
    calls: list[dict[str, Any]] = [
        {"type": "tool_call", "id": call["id"], "name": call["name"], "args": call["args"]}
        for call in message.tool_calls
        if call["id"] not in known
    ]
    calls += [
        {"type": "invalid_tool_call", "id": bad["id"], "name": bad["name"], "args": bad["args"], "error": bad["error"]}
        for bad in message.invalid_tool_calls
        if bad["id"] not in known
    ]
    if indexed:
        for number, call in enumerate(calls):
            call["index"] = _TOOL_CALL_INDEX.format(number)
    return cast("list[ContentBlock]", blocks + calls)


def _spoken_blocks(message: AIMessage, *, indexed: bool) -> list[dict[str, Any]]:
    """Return reasoning, text and a refusal. Content that is a list consists of blocks already; none of them is changed."""
    is_filtered = message.response_metadata.get("finish_reason") == "content_filter"
    index: dict[str, Any] = {"index": _REFUSAL_INDEX} if indexed else {}
    if isinstance(message.content, list):
        given: list[Any] = [
            {"type": "text", "text": block} if isinstance(block, str) else block for block in message.content
        ]
        if is_filtered and not any(block.get("type") == "refusal" for block in given):
            given.append({**_FILTERED, **index})
        return given
    blocks: list[dict[str, Any]] = []
    reasoning = message.additional_kwargs.get(REASONING_KEY)
    if reasoning:
        blocks.append({"type": "reasoning", "reasoning": reasoning, **({"index": _REASONING_INDEX} if indexed else {})})
    if message.content:
        blocks.append({"type": "text", "text": message.content, **({"index": _TEXT_INDEX} if indexed else {})})
    if refusal := message.additional_kwargs.get(REFUSAL_KEY):
        # langchain-core has a type for it from 1.7.5 on; before, it is a non-standard block.
        blocks.append({"type": "refusal", "refusal": refusal, **index})
    elif is_filtered:
        blocks.append({**_FILTERED, **index})
    return blocks


for _provider in PROVIDERS:
    register_translator(_provider, to_blocks, to_chunk_blocks)
