"""The kinds of difference between our wire and that of `langchain-openai`, and its wire with any of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, FunctionMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI

ORACLE = ChatOpenAI(model="gpt-4o", api_key="not-a-key")


def oracles_wire(messages):
    return ORACLE._get_request_payload(messages)["messages"]


def text(words, **more):
    return {"type": "text", "text": words, **more}


# A kind is what the oracle is told in place of the history, or what is made of its wire, or both.


def parts(wire):
    """The content of everybody but the tools, where it is a list."""
    return [
        message["content"] for message in wire if message["role"] != "tool" and isinstance(message["content"], list)
    ]


def rewrite_parts(wire, rewrite):
    for content in parts(wire):
        content[:] = [rewrite(part) for part in content]


def leave_out_empty(wire):
    for message in wire:
        content = message["content"]
        if message.get("tool_calls") and (not content or all(part == text("") for part in content)):
            del message["content"]
        elif content == []:
            message["content"] = ""


def join_results(wire):
    for message in wire:
        if message["role"] == "tool" and isinstance(message["content"], list):
            message["content"] = "".join(words_of(part) for part in message["content"])


def words_of(part):
    if isinstance(part, str):
        return part
    return part["text"] if part.get("type") == "text" else json.dumps(part, ensure_ascii=False)


def wrap_strings(wire):
    rewrite_parts(wire, lambda part: text(part) if isinstance(part, str) else part)


def take_off_extras(wire):
    rewrite_parts(wire, lambda part: text(part["text"]) if isinstance(part, dict) and part["type"] == "text" else part)


def wrap_images(wire):
    def wrap(part):
        image = part.get("image_url", part.get("image")) if isinstance(part, dict) else None
        url = image.get("url") if isinstance(image, dict) else image
        return {"type": "image_url", "image_url": {"url": url}} if isinstance(url, str) else part

    rewrite_parts(wire, wrap)


def take_out_thinking(wire):
    for content in parts(wire):
        content[:] = [part for part in content if not isinstance(part, dict) or part["type"] != "redacted_thinking"]


def say_refusals(wire):
    rewrite_parts(wire, lambda part: text(part["refusal"]) if isinstance(part, dict) and "refusal" in part else part)


def say_refusals_before(messages):
    return [
        message.model_copy(update={"content": message.additional_kwargs["refusal"]})
        if not message.content and "refusal" in message.additional_kwargs
        else message
        for message in messages
    ]


def modernise_functions(messages):
    def modernise(message):
        if isinstance(message, FunctionMessage):
            return ToolMessage(message.content, tool_call_id="")
        if function := message.additional_kwargs.get("function_call"):
            call = {"name": function["name"], "args": json.loads(function["arguments"]), "id": None}
            return message.model_copy(update={"tool_calls": [call], "additional_kwargs": {}})
        return message

    return [modernise(message) for message in messages]


def make_up_ids(messages):
    told = []
    for position, given in enumerate(messages):
        message = given
        for field in ("tool_calls", "invalid_tool_calls"):
            calls = [
                {**call, "id": call["id"] or f"call_{position}", "args": "{}" if call["args"] is None else call["args"]}
                for call in getattr(message, field, ())
            ]
            if calls:
                message = message.model_copy(update={field: calls})
        if isinstance(message, ToolMessage) and not message.tool_call_id:
            message = message.model_copy(update={"tool_call_id": f"call_{position - 1}"})
        told.append(message)
    return told


def find_calls_in_blocks(messages):
    keys = {"tool_use": ("id", "input"), "tool_call": ("id", "args"), "function_call": ("call_id", "arguments")}

    def find(message):
        blocks = message.content if isinstance(message, AIMessage) and isinstance(message.content, list) else []
        known = {call["id"] for call in getattr(message, "tool_calls", ())}
        found = []
        for block in blocks:
            if isinstance(block, dict) and block["type"] in keys:
                call_id, args = (block[key] for key in keys[block["type"]])
                call = {
                    "name": block["name"],
                    "args": json.loads(args) if isinstance(args, str) else args,
                    "id": call_id,
                }
                found += [call] if call_id not in known else []
        return message.model_copy(update={"tool_calls": [*message.tool_calls, *found]}) if found else message

    return [find(message) for message in messages]


def move_results_out(messages):
    told = []
    for message in messages:
        blocks = message.content if isinstance(message.content, list) else []
        results = [block for block in blocks if isinstance(block, dict) and block["type"] == "tool_result"]
        told += [ToolMessage(block["content"], tool_call_id=block["tool_use_id"]) for block in results]
        rest = [block for block in blocks if block not in results]
        if rest or not results:
            told.append(message.model_copy(update={"content": rest}) if results else message)
    return told


def move_results_up(messages):
    told: list[Any] = []
    for message in messages:
        if isinstance(message, ToolMessage) and isinstance(told[-1], SystemMessage):
            told.insert(-1, message)
        else:
            told.append(message)
    return told


class Kind(NamedTuple):
    reason: str
    before: Callable[[list[Any]], list[Any]] | None = None
    after: Callable[[list[dict[str, Any]]], None] | None = None


KINDS = {
    # The order is that of the rewriting.
    "old": Kind("Functions, OpenAI's oldest form of tools, are unknown to the API: they go out as tool calls.", modernise_functions),
    "id": Kind("null is refused as an id and as arguments: what is missing and certain is made up.", make_up_ids),
    "late": Kind("A result behind a system message is refused: it moves up to its call.", move_results_up),
    "user": Kind("Anthropic's tool results in a user message are refused: they go before it, as tool messages.", move_results_out),
    "block": Kind("A call that stands in a block alone would be lost, and its result refused.", find_calls_in_blocks),
    "thought": Kind("Anthropic's encrypted thinking is refused, and nobody else can read it.", after=take_out_thinking),
    "refusal": Kind("OpenAI's refusals are unknown to the API: they go out as the text that the user read.", say_refusals_before, say_refusals),
    "string": Kind("A bare string among the parts is refused: it goes out as a text.", after=wrap_strings),
    "extra": Kind("A text's extra keys are refused: they are taken off.", after=take_off_extras),
    "image": Kind("An image's short forms go out in the long one, which every server knows, and without detail, which ours does not support.", after=wrap_images),
    "result": Kind("A tool's result goes out as one string: several servers refuse parts.", after=join_results),
    "empty": Kind("Content that says nothing is left out beside a call (null was a 400) and else an empty string.", after=leave_out_empty),
}  # fmt: skip


def expected(messages, kinds):
    """The oracle's wire, with the differences of these kinds."""
    messages = copy.deepcopy(messages)
    for name, kind in KINDS.items():
        if name in kinds and kind.before:
            messages = kind.before(messages)
    wire = copy.deepcopy(oracles_wire(messages))
    for name, kind in KINDS.items():
        if name in kinds and kind.after:
            kind.after(wire)
    return wire
