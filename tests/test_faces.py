"""ChatCerebrasDemo, the Cerebras provider and the command line send the same body for the same request, or refuse it alike."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re

import pytest

from langchain_cerebras_demo import Cerebras, ChatCerebrasDemo
from langchain_cerebras_demo.errors import CerebrasError, InvalidRequestError
from langchain_cerebras_demo.policy.abilities import ESCAPE
from tests.support.processes import run_command

HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"title": "s", "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "s", "strict": True, "schema": {**SCHEMA, "additionalProperties": False}},
}
del FORMAT["json_schema"]["schema"]["title"]
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def image(url):
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


# Model, messages, parameters, and the command line's arguments where it has an option for them.
REQUESTS = {
    "nothing but a question": ("gpt-oss-120b", HELLO, {}, ["hello"]),
    "an alias": ("gpt-oss", HELLO, {}, ["hello", "--model", "gpt-oss"]),
    "an effort": ("gpt-oss-120b", HELLO, {"reasoning_effort": "low"}, ["hello", "--reasoning", "low"]),
    "an effort that the model does not support": (
        "gpt-oss-120b",
        HELLO,
        {"reasoning_effort": "none"},
        ["hello", "--reasoning", "none"],
    ),
    "an effort that does not exist": (
        "gpt-oss-120b",
        HELLO,
        {"reasoning_effort": "xhigh"},
        ["hello", "--reasoning", "xhigh"],
    ),
    "an effort of GLM": ("zai-glm-4.7", HELLO, {"reasoning_effort": "none"}, ["hello", "-m", "glm-4.7", "-r", "none"]),
    "an effort of an unknown model": (
        "our-endpoint",
        HELLO,
        {"reasoning_effort": "none"},
        ["hello", "-m", "our-endpoint", "-r", "none"],
    ),
    "a system prompt": (
        "gpt-oss-120b",
        [{"role": "system", "content": "Be brief."}, *HELLO],
        {},
        ["hello", "--system", "Be brief."],
    ),
    "a schema": ("gpt-oss-120b", HELLO, {"response_format": FORMAT}, ["hello", "--schema", json.dumps(SCHEMA)]),
    "disabled reasoning": ("qwen-3.8-27b", HELLO, {"disable_reasoning": True}, None),
    "another name": ("gpt-oss-120b", HELLO, {"max_completion_tokens": 90}, None),
    "both names with one value": ("gpt-oss-120b", HELLO, {"max_completion_tokens": 90, "max_tokens": 90}, None),
    "both names with two values": ("gpt-oss-120b", HELLO, {"max_completion_tokens": 90, "max_tokens": 80}, None),
    "a value out of range": ("gpt-oss-120b", HELLO, {"temperature": 3}, None),
    "an unknown parameter": ("gpt-oss-120b", HELLO, {"temprature": 1}, None),
    "several answers": ("gpt-oss-120b", HELLO, {"n": 2}, None),
    "empty lists": ("gpt-oss-120b", HELLO, {"tools": [], "stop": [], "parallel_tool_calls": True}, None),
    "a tool": ("gpt-oss-120b", HELLO, {"tools": [TOOL], "tool_choice": "auto"}, None),
    "a choice without tools": ("gpt-oss-120b", HELLO, {"tool_choice": "auto"}, None),
    "log probabilities that are not asked for": ("gpt-oss-120b", HELLO, {"top_logprobs": 2}, None),
    "raw reasoning beside JSON": (
        "gpt-oss-120b",
        HELLO,
        {"reasoning_format": "raw", "response_format": {"type": "json_object"}},
        None,
    ),
    "no messages": ("gpt-oss-120b", [], {}, None),
    "an image": ("gemma-4-31b", image(PNG), {}, None),
    "an image on the web": ("gemma-4-31b", image("https://example.org/a.png"), {}, None),
    "an image for a model that reads text": ("gpt-oss-120b", image(PNG), {}, None),
    "an image for an unknown model": ("my-own", image(PNG), {}, None),
    "a call and its result": (
        "gpt-oss-120b",
        [*HELLO, CALL, {"role": "tool", "tool_call_id": "c1", "content": "x"}],
        {"tools": [TOOL]},
        None,
    ),
    "a call that nobody answers": ("gpt-oss-120b", [*HELLO, CALL, *HELLO], {}, None),
    "a result of no call": ("gpt-oss-120b", [*HELLO, {"role": "tool", "tool_call_id": "c9", "content": "x"}], {}, None),
}


def outcome(server, call):
    """The body that arrived, or the type and the words of the refusal."""
    before = len(server.requests)
    try:
        call()
    except (InvalidRequestError, TypeError) as error:
        assert len(server.requests) == before
        return type(error).__name__, str(error)
    except CerebrasError:  # the strict server's own refusal: what was sent is what counts
        pass
    return server.requests[-1].json


def by_model(server, model, messages, parameters, **settings):
    chat = ChatCerebrasDemo(model=model, base_url=server.base_url, api_key=server.key, max_retries=0, **settings)
    return outcome(server, lambda: list(chat.stream(messages, **parameters)))


def by_provider(server, model, messages, parameters, **settings):
    async def listed():
        where = {"api_key": server.key, "api_base": server.base_url, **settings}
        return [piece async for piece in Cerebras.create_async_generator(model, messages, **where, **parameters)]

    return outcome(server, lambda: asyncio.run(listed()))


def as_typed(message):
    """The message as the command line has it: with the option's name, and without what only code can pass."""
    return re.sub(r"^reasoning_effort='(\w+)'", r"--reasoning \1", message.replace(f" {ESCAPE}", ""))


def by_command_line(server, arguments):
    mine = {"CEREBRAS_BASE_URL": server.base_url, "CEREBRAS_API_KEY": server.key}
    before = len(server.requests)
    done = run_command("ask", *arguments, variables={**os.environ, **mine}, stdin=b"")
    return server.requests[-1].json if len(server.requests) > before else done.stderr


@pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.RetiredModelWarning")
@pytest.mark.parametrize("name", REQUESTS)
def test_all_faces_send_the_same_body_or_refuse_alike(server, name):
    """What a model supports, what is refused and what is renamed is decided below the faces."""
    model, messages, parameters, arguments = REQUESTS[name]
    verdict = by_model(server, model, messages, parameters)
    assert by_provider(server, model, messages, parameters) == verdict
    if arguments is not None:
        told = by_command_line(server, arguments)
        assert (as_typed(verdict[1]) in told) if isinstance(verdict, tuple) else (told == verdict)


UNCHECKED = [
    "an effort that the model does not support",
    "a value out of range",
    "a choice without tools",
    "an image on the web",
    "an image for a model that reads text",
]


@pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.RetiredModelWarning")
@pytest.mark.parametrize("name", UNCHECKED)
def test_check_requests_false_has_its_way_in_each_face_that_has_it(server, name):
    """What would have been refused is sent as it is."""
    model, messages, parameters, _ = REQUESTS[name]
    assert isinstance(by_model(server, model, messages, parameters), tuple)
    sent = by_model(server, model, messages, parameters, check_requests=False)
    assert by_provider(server, model, messages, parameters, check_requests=False) == sent
    assert sent.items() >= parameters.items()
