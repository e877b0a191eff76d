"""What a request is estimated to take of the tokens a minute, before it is sent."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.wire.cost import estimate_cost, estimate_tokens
from langchain_cerebras_demo.wire.request import to_json

SAID = {"role": "user", "content": "x" * 350}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
PROMPT = 70 + 4 + 100  # what the template adds, the message, its text


def cost(most=10, **body):
    return estimate_cost({"messages": [SAID], "max_completion_tokens": 10, **body}, most)


def test_a_prompt_is_its_text_and_what_the_chat_template_adds_and_the_longest_answer_is_reserved():
    """350 characters and ten tokens; two messages are four tokens more than one."""
    assert cost() == PROMPT + 10
    assert cost(messages=[SAID, SAID]) == PROMPT + 4 + 100 + 10


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("x" * 350, 100),
        ("東京都に住んでいます", 10),  # a token for a character
        ("서울에 삽니다", 6 + 1 / 3.5),
        ("Привет", 4),
        ("na\u00efve", 4 / 3.5 + 2 / 3),
        ("\U0001f600", 4 / 3),
        ("\ud800", 1 / 3),  # half of a pair, which UTF-8 cannot say
    ],
)
def test_other_scripts_are_counted_by_their_bytes(text, tokens):
    """Four characters a token is right for English alone: Chinese would be counted for a third of what it is."""
    assert estimate_tokens(text) == pytest.approx(tokens)


@pytest.mark.parametrize(("known", "most"), [(None, 16_384), (40_000, 16_384), (8_000, 8_000)])
def test_without_a_bound_the_answer_counts_for_what_the_service_takes(known, most):
    """16,384 tokens, or the model's own bound where it is smaller."""
    assert cost(known, max_completion_tokens=None) == PROMPT + most


def test_several_answers_count_several_times():
    """The prompt once."""
    assert cost(n=3) == PROMPT + 30


@pytest.mark.parametrize("value", [-1, 0, "many", None, 1.5])
def test_an_invalid_bound_is_passed_over(value):
    """`model_kwargs` go out unchecked: nothing in them may break the estimate."""
    assert cost(200, max_completion_tokens=value, n=value) == PROMPT + 200


def test_an_image_counts_what_the_model_counts_however_long_its_data():
    """280 tokens for an unknown model; the text beside it by its characters."""
    parts = [{"type": "text", "text": "x" * 350}, IMAGE, IMAGE]
    messages = [{"role": "user", "content": parts}]
    assert cost(messages=messages) == PROMPT + 2 * 280 + 10
    assert estimate_cost({"messages": messages, "max_completion_tokens": 10}, None, 2_304) == PROMPT + 2 * 2_304 + 10


@pytest.mark.parametrize("content", [None, "", [], ["odd"], [{"type": "text", "text": None}], 5])
def test_content_without_text_counts_as_an_empty_message(content):
    """Nor does it break anything."""
    assert cost(messages=[{"role": "assistant", "content": content}]) == 70 + 4 + 10


def test_reasoning_tool_calls_tools_and_schemas_are_part_of_the_prompt():
    """By their length as JSON; tools and schemas bring instructions of the service along."""
    call = {"id": "t", "function": {"name": "f", "arguments": "{}"}}
    calling = {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": "x" * 35}
    assert cost(messages=[calling]) == 70 + 4 + 10 + len(to_json([call])) / 3.5 + 10
    for key, value in {"tools": [{"name": "f"}], "response_format": {"type": "json_object"}}.items():
        assert cost(**{key: value}) == pytest.approx(cost() + 155 + len(to_json(value)) / 3.5)
