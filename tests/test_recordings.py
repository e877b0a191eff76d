"""Recorded traffic of the real service is replayed: every exchange is read right, and every request goes out again.

``CEREBRAS_DEMO_RECORDINGS`` names a folder of JSON files, one an exchange:

- ``request``: ``method``, ``path`` and ``json``, the body as it was sent, ``null`` where it is not known
- ``status``, ``headers`` (names in lower case)
- ``body``: the texts of the answer's network reads, in order; empty where it was not recorded
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import re
from contextlib import suppress
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.errors import APIStatusError, AuthenticationError, NotFoundError
from langchain_cerebras_demo.wire.cost import estimate_cost
from tests.support.scripted import ScriptedResponse, ScriptedTransport

NAMED = os.environ.get("CEREBRAS_DEMO_RECORDINGS", "")

pytestmark = [
    pytest.mark.skipif(
        not NAMED,
        reason="no recordings: CEREBRAS_DEMO_RECORDINGS names a folder of JSON files, one an exchange, each with "
        '"request" (method, path, json), "status", "headers" and "body" (the texts of the network reads)',
    ),
    pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.TruncatedAnswerWarning"),
    pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.RetiredModelWarning"),
]

PATH = "/v1/chat/completions"
ERRORS = {401: AuthenticationError, 404: NotFoundError}

# The prompt of this model ends with the opening tag: its content begins with the reasoning.
CLOSING_TAG_ONLY = "qwen-3-235b-a22b-thinking-2507"


def exchanges():
    """The recorded chat exchanges whose answer is known, by name."""
    files = sorted(Path(NAMED).glob("*.json")) if NAMED else []
    recorded = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    return {name: one for name, one in recorded.items() if one["request"]["path"] == PATH and one["body"]}


EXCHANGES = exchanges()
SENT = {name: one for name, one in EXCHANGES.items() if one["request"]["json"]}


# -- what a recording says, read without the package


def read_recording(exchange):
    """The facts of an answer: the texts, calls, usage and metadata that a caller has to see."""
    text = "".join(exchange["body"])
    if exchange["streamed"]:
        lines = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
        chunks = [json.loads(line) for line in lines if line != "[DONE]"]
    else:
        chunks = [json.loads(text)]
    said, calls, ending = {"content": [], "reasoning": []}, {}, {}
    for chunk in chunks:
        for key in ("id", "model", "system_fingerprint", "usage"):
            ending[key] = chunk.get(key) or ending.get(key)
        for choice in chunk.get("choices", []):
            ending["finish_reason"] = choice.get("finish_reason") or ending.get("finish_reason")
            message = choice.get("delta") or choice.get("message") or {}
            for key, parts in said.items():
                parts.append(message.get(key) or "")
            for number, call in enumerate(message.get("tool_calls") or []):
                kept = calls.setdefault(call.get("index", number), {"id": None, "name": "", "arguments": ""})
                kept["id"] = call.get("id") or kept["id"]
                for key in ("name", "arguments"):
                    kept[key] += call["function"].get(key) or ""
    text, reasoning = "".join(said["content"]), "".join(said["reasoning"])
    if ending["model"] == CLOSING_TAG_ONLY:
        reasoning, _, text = text.partition("</think>")
        reasoning, text = reasoning.removeprefix("<think>").lstrip("\n"), text.lstrip("\n")
    return {
        "text": text,
        "reasoning": reasoning,
        "tool_calls": [
            {"name": call["name"], "args": json.loads(call["arguments"] or "{}"), "id": call["id"]}
            for _, call in sorted(calls.items())
        ],
        "usage": read_usage(ending["usage"]),
        "metadata": {
            "finish_reason": ending["finish_reason"],
            "normalized_finish_reason": "tool_call" if calls else ending["finish_reason"],
            "token_usage": read_token_usage(ending["usage"]),
            "id": ending["id"],
            "model_name": ending["model"],
            "model_provider": "cerebras",
            "system_fingerprint": ending["system_fingerprint"],
        },
        "request_id": next(
            filter(None, map(exchange["headers"].get, ("x-request-id", "cf-ray", "inference-id"))), None
        ),
    }


def read_error(exchange):
    said, status = json.loads("".join(exchange["body"])), exchange["status"]
    return {
        "class": ERRORS[status],
        "message": f"{status}: {said['message']}",
        "words": [said["code"], said["param"], said["type"]],
        "request_id": exchange["headers"]["cf-ray"],
    }


def read_token_usage(usage):
    """The counts under the service's own names, those that are null left out."""
    read = {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    of_input, of_output = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    details = {
        "prompt_tokens_details": {
            "cached_tokens": of_input.get("cached_tokens"),
            "image_tokens": of_input.get("image_tokens", usage.get("image_tokens")),
        },
        "completion_tokens_details": {
            f"{kind}_tokens": of_output.get(f"{kind}_tokens")
            for kind in ("reasoning", "accepted_prediction", "rejected_prediction")
        },
    }
    for name, counts in details.items():
        if kept := {key: count for key, count in counts.items() if count is not None}:
            read[name] = kept
    return read


def read_usage(usage):
    of_input, of_output = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    details = {
        "input_token_details": {
            "cache_read": of_input.get("cached_tokens"),
            "image": of_input.get("image_tokens", usage.get("image_tokens")),
        },
        "output_token_details": {
            "reasoning": of_output.get("reasoning_tokens"),
            "accepted_prediction": of_output.get("accepted_prediction_tokens"),
            "rejected_prediction": of_output.get("rejected_prediction_tokens"),
        },
    }
    kept = {
        name: {key: count for key, count in counts.items() if count is not None} for name, counts in details.items()
    }
    return {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
        "total_tokens": usage["total_tokens"],
        **{name: counts for name, counts in kept.items() if counts},
    }


# -- what a caller sees


def seen(message):
    metadata = dict(message.response_metadata)
    (call,) = metadata.pop("calls")
    return {
        "text": message.text,
        "reasoning": message.additional_kwargs.get("reasoning_content", ""),
        "tool_calls": [{key: call[key] for key in ("name", "args", "id")} for call in message.tool_calls],
        "usage": message.usage_metadata,
        "metadata": metadata,
        "request_id": call.get("request_id"),
    }


def seen_error(error):
    return {
        "class": type(error),
        "message": str(error),
        "words": [error.code, error.param, error.type],
        "request_id": error.request_id,
    }


def merged(chunks):
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


async def collected(chunks):
    return [chunk async for chunk in chunks]


WAYS = {
    "invoke": lambda model: model.invoke("hello"),
    "ainvoke": lambda model: asyncio.run(model.ainvoke("hello")),
    "stream": lambda model: merged(model.stream("hello")),
    "astream": lambda model: merged(asyncio.run(collected(model.astream("hello")))),
}


def in_pieces(data):
    """Cut at random places, the same in every run."""
    chance, pieces, start = random.Random(len(data)), [], 0
    while start < len(data):
        end = start + chance.randint(1, 400)
        pieces.append(data[start:end])
        start = end
    return pieces


CUTS = {
    "as recorded": lambda body: [piece.encode() for piece in body],
    "single bytes": lambda body: [bytes([byte]) for byte in "".join(body).encode()],
    "at random": lambda body: in_pieces("".join(body).encode()),
    "all at once": lambda body: ["".join(body).encode()],
}


def answer_of(exchange, cut):
    # The bodies were written down unzipped.
    headers = {name: value for name, value in exchange["headers"].items() if name != "content-encoding"}
    return ScriptedResponse(exchange["status"], headers, CUTS[cut](exchange["body"]))


def model_for(exchange, *answers, **fields):
    transport = ScriptedTransport(*answers)
    fields = {"model": exchange["model"], "api_key": "csk-test", "max_retries": 0, "rate_limit": None, **fields}
    return ChatCerebrasDemo(transport=transport, **fields), transport


@pytest.mark.parametrize(("way", "cut"), [*itertools.product(WAYS, CUTS)])
def test_every_recorded_answer_is_read_as_it_was_written(way, cut):
    """Text, reasoning, tool calls, usage, finish reason and ids; or the error, by its class and words."""
    assert EXCHANGES
    wrong = {}
    for name, exchange in EXCHANGES.items():
        model, _ = model_for(exchange, answer_of(exchange, cut))
        try:
            found = seen(WAYS[way](model))
        except APIStatusError as error:
            found = seen_error(error)
        expected = read_recording(exchange) if exchange["status"] == 200 else read_error(exchange)
        if "message" in expected:  # a hint may follow
            found["message"] = found["message"][: len(expected["message"])]
        if found != expected:
            wrong[name] = (found, expected)
    assert wrong == {}


# -- the request is sent again


def to_messages(wire):
    return [TO_MESSAGE[message["role"]](message) for message in wire]


def to_answer(message):
    """An assistant's turn as LangChain keeps it."""
    reasoning = message.get("reasoning")
    return AIMessage(
        message.get("content") or "",
        additional_kwargs={"reasoning_content": reasoning} if reasoning else {},
        response_metadata={"model_provider": "cerebras"},
        tool_calls=[
            {"name": call["function"]["name"], "args": json.loads(call["function"]["arguments"]), "id": call["id"]}
            for call in message.get("tool_calls") or []
        ],
    )


TO_MESSAGE = {
    "system": lambda message: SystemMessage(message["content"]),
    "user": lambda message: HumanMessage(message["content"]),
    "assistant": to_answer,
    "tool": lambda message: ToolMessage(
        message["content"], tool_call_id=message["tool_call_id"], name=message.get("name")
    ),
}


def sent_again(exchange):
    """The body that goes out where a caller says what the recorded one says."""
    said = dict(exchange["request"]["json"])
    messages, is_stream = to_messages(said.pop("messages")), said.pop("stream", False)
    bound = {key: said.pop(key) for key in ("tools", "tool_choice", "parallel_tool_calls") if key in said}
    model, transport = model_for(exchange, answer_of(exchange, "all at once"), **said)
    asked = model.bind_tools(bound.pop("tools"), **bound) if "tools" in bound else model.bind(**bound)
    with suppress(APIStatusError):  # some were refused
        list(asked.stream(messages)) if is_stream else asked.invoke(messages)
    return json.loads(transport.requests[0].body)


def differences(before, after, place=""):
    """Every place at which two bodies differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from differences(before.get(key), after.get(key), f"{place}.{key}" if place else key)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after, strict=True)):
            yield from differences(*pair, f"{place}[{number}]")
    elif type(before) is not type(after) or before != after:
        yield place, before, after


INTENDED = {
    # The old name, which the service has deprecated.
    r"max_tokens": lambda before, after: after is None,
    r"max_completion_tokens": lambda before, after: before is None,
    # The default.
    r"stream": lambda before, after: (before, after) == (False, None),
    # Arguments are kept decoded: white space is written anew.
    r"messages\[\d+\]\.tool_calls\[\d+\]\.function\.arguments": lambda before, after: (
        json.loads(before) == json.loads(after)
    ),
    # No content beside tool calls: an empty one was once refused.
    r"messages\[\d+\]\.content": lambda before, after: not before and after is None,
    # The id tells whose result it is.
    r"messages\[\d+\]\.name": lambda before, after: after is None,
    # A strict schema says that its objects are closed; rule 1 of the service's version 2.
    r"tools\[\d+\]\.function\.parameters\.additionalProperties": lambda before, after: (before, after) == (None, False),
    # Thoughts that go back in think tags would be dropped by the service.
    r"clear_thinking": lambda before, after: (before, after) == (None, False),
}
"""Where a body that goes out differs from the recorded one, by the place: what has to hold of the two values."""


@pytest.mark.parametrize("name", SENT)
def test_a_recorded_request_goes_out_again_as_it_was(name):
    """But for the intended differences."""
    exchange = SENT[name]
    for place, before, after in differences(exchange["request"]["json"], sent_again(exchange)):
        rule = next((rule for pattern, rule in INTENDED.items() if re.fullmatch(pattern, place)), None)
        assert rule, (place, before, after)
        assert rule(before, after), (place, before, after)


def test_the_estimate_of_a_prompt_is_rarely_below_what_was_counted_and_never_far_off():
    """None is more than 5 % below; above it is by what other models' templates add, and by thoughts that were dropped."""
    off = {}
    for name, exchange in SENT.items():
        if exchange["status"] == 200:
            body = {**exchange["request"]["json"], "max_completion_tokens": 1}
            estimate, counted = estimate_cost(body, None) - 1, read_recording(exchange)["usage"]["input_tokens"]
            if not 0.95 * counted <= estimate <= counted + 500:
                off[name] = (estimate, counted)
    assert off == {}
