"""Inputs of the commands, without a separate process."""

from __future__ import annotations

import io
import os
import sys

import pytest

from langchain_cerebras_demo.cli import inputs
from langchain_cerebras_demo.cli.inputs import InputError, parameter_names
from langchain_cerebras_demo.wire.request import PARAMETERS


@pytest.fixture(autouse=True)
def _no_pipe(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)


def test_a_jpeg_is_known_by_how_it_begins(tmp_path):
    """With any name."""
    (tmp_path / "x").write_bytes(b"\xff\xd8\xff\xe0")
    assert inputs.to_image_part(str(tmp_path / "x"))["image_url"]["url"] == "data:image/jpeg;base64,/9j/4A=="


def test_quotes_in_a_files_name_do_not_end_the_name(tmp_path):
    """The model reads where a file begins."""
    (tmp_path / 'a"b').write_text("x")
    assert inputs.to_content("q", [str(tmp_path / 'a"b')], []).startswith('q\n\n<file name="a\'b">')


def test_a_file_alone_is_a_question(tmp_path):
    """Only white space is not text."""
    (tmp_path / "x").write_text("why?")
    assert inputs.to_content("  ", [str(tmp_path / "x")], []) == '<file name="x">\nwhy?\n</file>'
    with pytest.raises(InputError, match="empty"):
        inputs.to_content(" \n", [], [])


def test_a_zero_byte_in_a_path_is_named():
    """The system would raise a ValueError."""
    with pytest.raises(InputError, match="cannot be read"):
        inputs.read_text("a\0b", "--file")


def test_a_closed_standard_input_is_named(monkeypatch):
    """`<&-`."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input cannot be read: it is closed"):
        inputs.read_text("-", "QUESTION")


def test_a_schema_nested_without_end_is_no_json():
    """json gives up by RecursionError."""
    with pytest.raises(InputError, match="--schema"):
        inputs.read_schema('{"a":' * 100_000)


def test_a_standard_input_that_was_opened_for_writing_is_not_a_pipe(monkeypatch, tmp_path):
    """As nohup leaves it; a question needs none. Another error of it is named."""
    with (tmp_path / "x").open("wb") as file, os.fdopen(os.dup(file.fileno()), closefd=True) as opened:
        monkeypatch.setattr(sys, "stdin", opened)
        assert inputs.to_content("hi", [], []) == "hi"
        with pytest.raises(InputError, match="QUESTION: standard input cannot be read: Bad file descriptor"):
            inputs.to_content("-", [], [])


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("temperature=0.5", "temperature", 0.5),
        ("Stop=5", None, None),
        ("stop=5", "stop", "5"),
        ('stop=["a", "b"]', "stop", ["a", "b"]),
        ("stop=[a", "stop", "[a"),
        ("stop=a=b", "stop", "a=b"),
        ("user=true", "user", "true"),
        ("queue-threshold=50", "queue_threshold", 50),
        ("clear_thinking=True", "clear_thinking", True),
        ('logit_bias={"5": 1}', "logit_bias", {"5": 1}),
        ("reasoning_effort=low", "reasoning_effort", "low"),
        ('prediction={"type": "content", "content": "x"}', "prediction", {"type": "content", "content": "x"}),
    ],
)
def test_the_value_of_an_option_is_json_unless_the_parameter_is_text(option, name, value):
    """So that text needs no quotes."""
    if name is None:
        with pytest.raises(InputError, match="did you mean 'stop'"):
            inputs.to_parameters([option])
    else:
        assert inputs.to_parameters([option]) == {name: value}


CHANGE_THE_ANSWER = {
    *("max_tokens", "min_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias"),
    *("seed", "stop", "response_format", "prediction", "model_parameters"),
    *("reasoning_effort", "reasoning_format", "disable_reasoning", "clear_thinking"),
}
CHANGE_HOW_IT_IS_SERVED = {"prompt_cache_key", "service_tier", "queue_threshold", "user"}
CHANGE_THE_FIGURES = {"stream_options"}
NEED_MORE_THAN_ONE_TEXT = {"tools", "tool_choice", "parallel_tool_calls", "n", "logprobs", "top_logprobs"}


def test_every_parameter_has_an_effect_here_or_is_refused():
    """A parameter whose result would not be shown is not sent; a new one has to be put into one of these sets."""
    accepted = CHANGE_THE_ANSWER | CHANGE_HOW_IT_IS_SERVED | CHANGE_THE_FIGURES
    assert set(parameter_names()) == accepted
    assert set(PARAMETERS) - accepted == NEED_MORE_THAN_ONE_TEXT


def test_a_closed_standard_input_cannot_be_copied():
    """The message names the argument, as for every other file that cannot be read."""
    with pytest.raises(InputError, match="INPUT: standard input cannot be copied: it is closed"):
        inputs.copy_stdin(io.BytesIO())
