"""Our messages as LangChain's standard content blocks: reasoning, text, a refusal, tool calls.

Registered with LangChain under our two provider names, as its ``block_translators`` module asks of integrations outside of
it. Needed even where its best effort would do: that one takes a chunk with text and a tool-call fragment for a finished call
without arguments.
"""

from __future__ import annotations

from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.content import ContentBlock

# The one key of additional_kwargs that LangChain itself knows as reasoning.
REASONING_KEY = "reasoning_content"

# Where langchain-openai puts it, and LangChain looks for it.
REFUSAL_KEY = "refusal"

PROVIDERS = ("cerebras", "local")

# LangChain merges blocks of a stream by index and numbers text from 0 itself, as tool calls are numbered: text and call 0
# would merge into one block. Names of our own cannot collide, and it takes strings that begin so.
_REASONING_INDEX, _TEXT_INDEX, _REFUSAL_INDEX, _TOOL_CALL_INDEX = "lc_rs_0", "lc_txt_0", "lc_rf_0", "lc_tc_{}"


def to_blocks(message: AIMessage) -> list[ContentBlock]:
    """The blocks of a whole message."""
    return _blocks(message, indexed=False)


def to_chunk_blocks(message: AIMessageChunk) -> list[ContentBlock]:
    """The blocks of a chunk, each with the index that it is merged by; a merged stream's calls are whole ones."""
    if message.chunk_position == "last":
        return _blocks(message, indexed=True)
    blocks = _said(message, indexed=True)
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
    blocks = _said(message, indexed=indexed)
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


def _said(message: AIMessage, *, indexed: bool) -> list[dict[str, Any]]:
    """Reasoning, text and a refusal. Content that is a list already holds blocks: they stay as they are."""
    if isinstance(message.content, list):
        return [{"type": "text", "text": block} if isinstance(block, str) else block for block in message.content]
    blocks: list[dict[str, Any]] = []
    reasoning = message.additional_kwargs.get(REASONING_KEY)
    if reasoning:
        blocks.append({"type": "reasoning", "reasoning": reasoning, **({"index": _REASONING_INDEX} if indexed else {})})
    if message.content:
        blocks.append({"type": "text", "text": message.content, **({"index": _TEXT_INDEX} if indexed else {})})
    if refusal := message.additional_kwargs.get(REFUSAL_KEY):
        # langchain-core types it from 1.7.5 on. Before, it is a block like any other.
        blocks.append({"type": "refusal", "refusal": refusal, **({"index": _REFUSAL_INDEX} if indexed else {})})
    return blocks


for _provider in PROVIDERS:
    register_translator(_provider, to_blocks, to_chunk_blocks)
