"""Widths, colours, and characters that must not be written to a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from langchain_cerebras_demo.cli import terminal


class Screen(io.StringIO):
    """A stdout that says that it is a terminal."""

    def isatty(self):
        return True


def test_printable_text_steers_no_terminal():
    """Line feeds and tabs stay, carriage returns go, the rest becomes a picture."""
    assert terminal.printable("a\tb\r\nc\x1b[2J\x07\x7f\x9b€") == "a\tb\nc␛[2J␇␡\ufffd€"


def test_a_terminal_gets_lines_that_it_can_hold(monkeypatch):
    """Words that are too long stand alone, unbroken."""
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setenv("COLUMNS", "20")
    text = terminal.wrap("one two three four https://example.invalid/long five", first="- ", rest="  ")
    assert text.splitlines() == ["- one two three four", "  https://example.invalid/long", "  five"]


def test_a_pipe_gets_one_line(monkeypatch):
    """Programs split by lines."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert terminal.wrap("word " * 50, first="- ") == "- " + "word " * 50


def test_a_closed_or_missing_stream_is_no_terminal(monkeypatch):
    """`>&-`, pythonw."""
    closed = Screen()
    closed.close()
    assert not terminal.is_terminal(None)
    monkeypatch.setattr(sys, "stdout", None)
    assert terminal.columns() is None
    terminal.write_out("into the void")
    monkeypatch.setattr(sys, "stderr", None)
    terminal.write_error("into the void")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_style_is_for_terminals_whose_user_wants_it(monkeypatch, name, value):
    """https://no-color.org"""
    screen = Screen()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert terminal.dim("hm", screen) == "\x1b[2mhm\x1b[0m"
    assert terminal.dim("hm", io.StringIO()) == "hm"
    monkeypatch.setenv(name, value)
    assert terminal.dim("hm", screen) == "hm"
