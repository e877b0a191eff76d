"""What an answer says beside its words: read in any type that can be meant, else left out and said in the debug log."""

from __future__ import annotations

import logging

import pytest

from langchain_cerebras_demo.wire.metadata import FactReader, Usage, to_count, to_figure

COUNTS = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@pytest.fixture
def facts():
    return FactReader()


@pytest.fixture
def left_out(caplog):
    """What the debug log says by now."""
    caplog.set_level(logging.DEBUG, "langchain_cerebras_demo")
    return lambda: [record.getMessage().rpartition(": ")[2] for record in caplog.records]


@pytest.mark.parametrize(
    ("value", "count"),
    [
        *((zero, 0) for zero in (0, 0.0, "0", "0.0", -0.0)),
        *((three, 3) for three in (3, 3.0, "3", " 3 ", "3.0", "3e0")),
        *((odd, None) for odd in (3.5, "3.5", -1, "-1", 1e16, 10**30, "1e300", "9" * 5000)),
        *((odd, None) for odd in (float("nan"), float("inf"), "nan", "", "many", None, True, [3], {"a": 3})),
    ],
)
def test_a_count_is_a_whole_number_in_any_clothes(value, count):
    """Whole floats and digits in a text count; fractions, negative and absurd figures do not."""
    assert to_count(value) == count
    assert type(to_count(value)) is type(count)


def test_a_figure_may_have_a_fraction():
    """A time has one; its type stays."""
    assert [to_figure(value) for value in (0.25, "0.25", 2, -0.25, "soon")] == [0.25, 0.25, 2, None, None]


@pytest.mark.parametrize(
    ("value", "usage", "said"),
    [
        (COUNTS, Usage(1, 2, 3), []),
        ({"prompt_tokens": 1.0, "completion_tokens": "2", "total_tokens": "3.0"}, Usage(1, 2, 3), []),
        (COUNTS | {"total_tokens": float("nan")}, Usage(1, 2, 3), ["usage.total_tokens"]),
        (COUNTS | {"completion_tokens": "many"}, Usage(1, 0, 3), ["usage.completion_tokens"]),
        (COUNTS | {"prompt_tokens_details": [5]}, Usage(1, 2, 3), ["usage.prompt_tokens_details"]),
        (COUNTS | {"prompt_tokens_details": {"cached_tokens": "1"}}, Usage(1, 2, 3, 1), []),
        (COUNTS | {"prompt_tokens_details": {"cached_tokens": -1}}, Usage(1, 2, 3), ["usage.cached_tokens"]),
        ({"prompt_tokens": "x"}, None, ["usage.prompt_tokens"]),
        ([5], None, ["usage"]),
        ("word", None, ["usage"]),
        ({"cost": 5}, None, []),
    ],
)
def test_what_of_usage_can_be_read_is_read(facts, left_out, value, usage, said):
    """An empty one counts as missing; the log names what was left out, without its value."""
    assert facts.usage(value) == usage
    assert left_out() == said


@pytest.mark.parametrize(
    ("value", "times", "said"),
    [
        ({"total_time": 0.5, "created": 7}, {"total_time": 0.5, "created": 7}, []),
        ({"total_time": "0.5", "queue_time": None}, {"total_time": 0.5}, ["time_info"]),
        ({"total_time": -0.5}, None, ["time_info"]),
        ([0.5], None, ["time_info"]),
        ({}, None, []),
    ],
)
def test_times_are_numbers(facts, left_out, value, times, said):
    """Whoever adds them up meets nothing else."""
    assert facts.time_info(value) == times
    assert left_out() == said


@pytest.mark.parametrize(
    ("value", "word", "said"),
    [("a", "a", []), ("", None, []), (None, None, []), (5, "5", []), ([5], None, ["id"]), (True, None, ["id"])],
)
def test_a_number_in_the_place_of_a_word_is_its_digits(facts, left_out, value, word, said):
    """An id is an id."""
    assert facts.word({"id": value}, "id") == word
    assert left_out() == said


@pytest.mark.parametrize(
    ("value", "tokens", "said"),
    [
        ({"content": [{"token": "a"}]}, [{"token": "a"}], []),
        ({"content": None}, [], []),
        ({"content": [{"token": "a"}, 5]}, [{"token": "a"}], ["logprobs"]),
        ({"content": "a"}, [], ["logprobs"]),
        (5, [], ["logprobs"]),
    ],
)
def test_log_probabilities_that_are_none_are_left_out(facts, left_out, value, tokens, said):
    """The others stay."""
    assert facts.tokens(value, "logprobs") == tokens
    assert left_out() == said


def test_the_log_says_a_thing_once(facts, left_out):
    """A stream that repeats its mistake on every chunk does not fill the log."""
    for _ in range(3):
        facts.usage("word")
    assert left_out() == ["usage"]
