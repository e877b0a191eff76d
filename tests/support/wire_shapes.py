"""Answers in every shape seen on the wire, streamed and whole, and what each of them says.

Written by hand after the service's own types and what others have recorded of it; the embedded server's is its own.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from langchain_cerebras_demo.wire.completion import (
    CompletionDecoder,
    Identity,
    ReasoningDelta,
    TextDelta,
    Timing,
    ToolCallFragment,
    Usage,
)
from langchain_cerebras_demo.wire.sse import SSEDecoder

ID, MODEL, FINGERPRINT = "chatcmpl-e6", "gpt-oss-120b", "fp_46"
FRAME = {"id": ID, "created": 1780179233, "model": MODEL, "system_fingerprint": FINGERPRINT}
USAGE = {
    "prompt_tokens": 195,
    "completion_tokens": 65,
    "total_tokens": 260,
    "prompt_tokens_details": {"cached_tokens": 128},
    "completion_tokens_details": {
        "reasoning_tokens": 41,
        "accepted_prediction_tokens": 3,
        "rejected_prediction_tokens": 0,
    },
}
USAGE_EVENT = Usage(195, 65, 260, 128, None, 41, 3, 0)
TIME_INFO = {"created": 1.5, "queue_time": 0.25, "prompt_time": 0.5, "completion_time": 1.0, "total_time": 2.0}
ENDING = {"usage": USAGE, "time_info": TIME_INFO}
LAST_WORDS = [Identity(ID, MODEL, FINGERPRINT), USAGE_EVENT, Timing(TIME_INFO)]


def chunk(delta=None, *, finish=None, index=0, logprobs=None, **frame):
    choice = {"index": index, "delta": {} if delta is None else delta, **(logprobs or {})}
    if finish:  # the key is absent before
        choice["finish_reason"] = finish
    return {**FRAME, "object": "chat.completion.chunk", "choices": [choice], **frame}


def whole(message, *, finish="stop", index=0, logprobs=None, **frame):
    choice = {"index": index, "finish_reason": finish, "message": {"role": "assistant", **message}, **(logprobs or {})}
    return {**FRAME, "object": "chat.completion", "choices": [choice], **(frame or ENDING)}


def call(*, index=None, call_id=None, name=None, arguments=None):
    """A tool call with the keys that are given; ``type`` stands in every fragment."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    named = {key: value for key, value in (("index", index), ("id", call_id)) if value is not None}
    return {"type": "function", **named, "function": function}


def to_data(event):
    return event.encode() if isinstance(event, str) else json.dumps(event, ensure_ascii=False).encode()


def to_sse(*events):
    return b"".join(b"data: " + to_data(event) + b"\n\n" for event in events)


def read(*pieces):
    """All events of a stream that comes in these pieces, as the client reads it, and the decoder."""
    sse, completion = SSEDecoder(), CompletionDecoder()
    batches = [*(sse.feed(piece) for piece in pieces), sse.finish()]
    events = [event for batch in batches for name, data in batch for event in completion.feed(name, data)]
    return [*events, *completion.end()], completion


def read_whole(answer):
    return CompletionDecoder().feed_whole(to_data(answer))


def facts(events):
    """What an answer says, however its pieces were cut."""
    said = {}
    for event in events:
        if isinstance(event, TextDelta | ReasoningDelta):
            key = (type(event).__name__, event.choice)
            said[key] = said.get(key, "") + event.text
        elif isinstance(event, ToolCallFragment):
            known = said.setdefault(("call", event.choice, event.index), [None, None, ""])
            # As LangChain's merge joins them: what is said twice would stand there twice.
            known[0] = (known[0] or "") + event.id if event.id else known[0]
            known[1] = (known[1] or "") + event.name if event.name else known[1]
            known[2] += event.arguments or ""
        else:
            assert repr(event) not in said, "said twice"
            said[repr(event)] = event
    return said


class Shape(NamedTuple):
    """One answer: its stream, its whole form, and the events of the stream without how it ended."""

    stream: list
    whole: dict
    events: list
    finish: str = "stop"


ROLE = chunk({"role": "assistant"})

SHAPES = {
    "reasoning, then text": Shape(
        [
            ROLE,
            chunk({"reasoning": "A simple "}),
            chunk({"reasoning": "sum."}),
            chunk({"content": "The answer"}),
            chunk({"content": " is 4."}),
            chunk(finish="stop", **ENDING),
        ],
        whole({"content": "The answer is 4.", "reasoning": "A simple sum."}),
        [ReasoningDelta("A simple "), ReasoningDelta("sum."), TextDelta("The answer"), TextDelta(" is 4.")],
    ),
    "both in one delta": Shape(
        [chunk({"role": "assistant", "content": "4", "reasoning": "2+2"}), chunk(finish="stop", **ENDING)],
        whole({"content": "4", "reasoning": "2+2"}),
        [ReasoningDelta("2+2"), TextDelta("4")],
    ),
    "reasoning alone, cut by length": Shape(
        [ROLE, chunk({"reasoning": "Let me think"}), chunk(finish="length", **ENDING)],
        whole({"reasoning": "Let me think"}, finish="length"),
        [ReasoningDelta("Let me think")],
        "length",
    ),
    "a tool call in fragments, as gpt-oss-120b sends it": Shape(
        [
            ROLE,
            chunk({"reasoning": "User wants the tool."}),
            chunk({"tool_calls": [call(index=0, call_id="ba9565d53", name="run_me", arguments="")]}),
            chunk({"tool_calls": [call(index=0, arguments='{"bar":')]}),
            chunk({"tool_calls": [call(index=0, arguments='"x"}')]}),
            chunk(finish="tool_calls", **ENDING),
        ],
        whole(
            {
                "reasoning": "User wants the tool.",
                "tool_calls": [call(call_id="ba9565d53", name="run_me", arguments='{"bar":"x"}')],
            },
            finish="tool_calls",
        ),
        [
            ReasoningDelta("User wants the tool."),
            ToolCallFragment(0, "ba9565d53", "run_me", ""),
            ToolCallFragment(0, None, None, '{"bar":'),
            ToolCallFragment(0, None, None, '"x"}'),
        ],
        "tool_calls",
    ),
    "two tool calls, each in one delta, as zai-glm-4.7 sends them": Shape(
        [
            ROLE,
            chunk({"tool_calls": [call(index=0, call_id="8db3b6644", name="add", arguments='{"a":1}')]}),
            chunk({"tool_calls": [call(index=1, call_id="8db3b6645", name="add", arguments='{"a":2}')]}),
            chunk(finish="tool_calls", **ENDING),
        ],
        whole(
            {
                "tool_calls": [
                    call(call_id="8db3b6644", name="add", arguments='{"a":1}'),
                    call(call_id="8db3b6645", name="add", arguments='{"a":2}'),
                ]
            },
            finish="tool_calls",
        ),
        [
            ToolCallFragment(0, "8db3b6644", "add", '{"a":1}'),
            ToolCallFragment(1, "8db3b6645", "add", '{"a":2}'),
        ],
        "tool_calls",
    ),
    "JSON and a repeated tool call, as zai-glm-4.7 does": Shape(
        [
            ROLE,
            chunk({"content": '{"city":"Paris"}'}),
            chunk({"tool_calls": [call(index=0, call_id="c1", name="get", arguments="{}")]}),
            chunk(finish="tool_calls", **ENDING),
        ],
        whole(
            {"content": '{"city":"Paris"}', "tool_calls": [call(call_id="c1", name="get", arguments="{}")]},
            finish="tool_calls",
        ),
        [TextDelta('{"city":"Paris"}'), ToolCallFragment(0, "c1", "get", "{}")],
        "tool_calls",
    ),
    "an answer without a word": Shape([ROLE, chunk(finish="stop", **ENDING)], whole({"content": ""}), []),
}

LOCAL_FRAME = {"created": 1795412005, "id": "chatcmpl-Sc", "model": "smollm2-135m", "system_fingerprint": "b0-unknown"}
LOCAL_USAGE = {
    "completion_tokens": 3,
    "prompt_tokens": 41,
    "total_tokens": 44,
    "prompt_tokens_details": {"cached_tokens": 0},
}
LOCAL_TIMINGS = {"cache_n": 0, "prompt_n": 41, "prompt_ms": 442.793, "predicted_n": 3, "predicted_ms": 39.471}
LOCAL_STREAM = [
    *(
        {"choices": [{"finish_reason": reason, "index": 0, "delta": delta}], **LOCAL_FRAME}
        for reason, delta in (
            (None, {"role": "assistant", "content": None}),
            (None, {"content": "Paris"}),
            (None, {"content": ","}),
            (None, {"content": " the"}),
            ("length", {}),
        )
    ),
    {"choices": [], **LOCAL_FRAME, "usage": LOCAL_USAGE, "timings": LOCAL_TIMINGS},
]
LOCAL_WHOLE = {
    "choices": [
        {"finish_reason": "length", "index": 0, "message": {"role": "assistant", "content": "Paris, the"}},
    ],
    **LOCAL_FRAME,
    "object": "chat.completion",
    "usage": LOCAL_USAGE,
    "timings": LOCAL_TIMINGS,
}
