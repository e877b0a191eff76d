"""What a request is reckoned to take of the tokens a minute, before it is sent."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.wire.cost import estimate_cost

SAID = {"role": "user", "content": "x" * 400}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def cost(most=10, **body):
    return estimate_cost({"messages": [SAID], "max_completion_tokens": 10, **body}, most)


def test_a_prompt_is_a_token_for_four_characters_and_the_most_that_the_answer_may_have():
    """400 characters and ten tokens."""
    assert cost() == 100 + 10


@pytest.mark.parametrize(("known", "most"), [(None, 16_384), (40_000, 16_384), (8_000, 8_000)])
def test_without_a_bound_the_answer_counts_for_what_the_service_takes(known, most):
    """16,384 tokens, or the model's own bound where it is smaller."""
    assert cost(known, max_completion_tokens=None) == 100 + most


def test_several_answers_count_several_times():
    """The prompt once."""
    assert cost(n=3) == 100 + 30


@pytest.mark.parametrize("value", [-1, 0, "many", None, 1.5])
def test_a_bound_that_is_none_is_passed_over(value):
    """`model_kwargs` go out unchecked: nothing of them may break the reckoning."""
    assert cost(200, max_completion_tokens=value, n=value) == 100 + 200


def test_an_image_counts_280_tokens_however_long_its_data():
    """And the words beside it by their characters."""
    parts = [{"type": "text", "text": "x" * 40}, IMAGE, IMAGE]
    assert cost(messages=[{"role": "user", "content": parts}]) == 10 + 2 * 280 + 10


@pytest.mark.parametrize("content", [None, "", [], ["odd"], [{"type": "text", "text": None}], 5])
def test_content_that_says_nothing_counts_nothing(content):
    """Nor does it break anything."""
    assert cost(messages=[{"role": "assistant", "content": content}]) == 10


def test_tool_calls_tools_and_schemas_are_part_of_the_prompt():
    """By their length as JSON."""
    call = {"id": "t", "function": {"name": "f", "arguments": "{}"}}
    assert cost(messages=[{"role": "assistant", "content": None, "tool_calls": [call]}]) > 10
    assert cost(tools=[{"name": "f"}]) == cost() + len('[{"name":"f"}]') / 4
    assert cost(response_format={"type": "json_object"}) == cost() + len('{"type":"json_object"}') / 4
