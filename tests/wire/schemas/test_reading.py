"""An answer's text becomes a value of its type, or an error that says what is wrong with it."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.wire.schemas.answer_type import from_mapping, in_object
from langchain_cerebras_demo.wire.schemas.reading import UnfitAnswerError, explain, read_text

PERSON = from_mapping({"title": "Person", "type": "object", "properties": {"name": {"type": "string"}}})
NAMES = in_object(from_mapping({"title": "Names", "type": "array", "items": {"type": "string"}}))


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Ann"}',
        '\n `{"name": "Ann"}` ',
        '```json\n{"name": "Ann"}\n```',
        'Here it is:\n\n~~~\n{"name": "Ann"}\n~~~\nAnything else?',
        '```\n{"name": "Ann"}\n```\nor again\n```\n{"name": "Ann"}\n```',
    ],
)
def test_json_is_found_alone_and_in_a_code_fence(text):
    """Words around a fence, and the same value twice, are no problem."""
    assert read_text(text, PERSON) == read_text(text, None) == {"name": "Ann"}


def test_a_string_may_hold_a_line_break_a_fence_and_half_of_a_surrogate_pair():
    """Half of a pair becomes U+FFFD: no text can be encoded with it."""
    assert read_text('{"name": "a\nb"}', PERSON) == {"name": "a\nb"}
    assert read_text('```\n{"name": "```"}\n```', PERSON) == {"name": "```"}
    assert read_text('{"name": "\\ud83d"}', PERSON) == {"name": "\ufffd"}


def test_a_value_that_is_not_an_object_may_come_with_or_without_the_object_around_it():
    """Only where the type asks for one."""
    assert read_text('{"value": ["Ann"]}', NAMES) == read_text('["Ann"]', NAMES) == ["Ann"]


@pytest.mark.parametrize(
    ("text", "answer_type", "problem"),
    [
        ("", PERSON, "is empty instead of JSON"),
        ("Ann", PERSON, "is text instead of JSON"),
        ("[" * 100_000, PERSON, "is text instead of JSON"),
        ('```\n{"name": "Ann"}\n```\n```\n{"name": "Bo"}\n```', PERSON, "is text with 2 JSON values in code fences"),
        ("[1]", None, "is JSON, but not an object"),
        ('"Ann"', PERSON, "is JSON, but not an object"),
        ('{"name": 1}', PERSON, "does not fit 'Person': "),
        ("[1]", NAMES, "does not fit 'Names': "),
    ],
)
def test_any_other_text_is_an_error_that_names_the_problem(text, answer_type, problem):
    """As a predicate of "the answer"."""
    with pytest.raises(UnfitAnswerError) as caught:
        read_text(text, answer_type)
    assert str(caught.value).startswith(problem)


def test_the_sentences_about_a_bad_answer_say_how_it_begins_and_why_it_ended():
    """A long answer is shortened; the remedy is for one that was cut off."""
    assert explain("is empty instead of JSON", " ", None, "x") == "the answer is empty instead of JSON."
    assert explain("is wrong", "y" * 300, "stop", "x") == f"the answer is wrong. It begins: '{'y' * 200}…'."
    cut = explain("is wrong", "y", "length", "try again")
    assert cut.startswith("the answer was cut off at its limit of tokens (finish_reason 'length') before its JSON was ")
    assert cut.endswith("complete: try again. The answer is wrong. It begins: 'y'.")
    assert explain("is wrong", "y", "content_filter", "x").endswith("withheld it (finish_reason 'content_filter').")
