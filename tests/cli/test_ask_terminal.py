"""``cerebras-demo ask`` in a real pseudo-terminal: streaming, control characters, colour, Ctrl-C."""

from __future__ import annotations

import sys

import pytest

from langchain_cerebras_demo.testing import Gate, Reply

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:.*forkpty.*:DeprecationWarning"
    ),  # pexpect's; Python 3.12 fears our server's thread
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind"),
]


def test_words_are_on_the_screen_before_the_answer_has_ended(server, terminal, end):
    """In a window of 20 columns they come as they are: the terminal wraps them."""
    text = "a sentence that is longer than the window"
    gate = Gate(after=2, reply=Reply(deltas=[{"role": "assistant"}, {"content": text}, {"content": " end"}]))
    server.script(gate)
    child = terminal("ask", "hi", columns=20)
    child.expect_exact(text)
    gate.open()
    assert end(child) == (" end\n", 0)


def test_an_answer_cannot_steer_the_terminal(server, terminal, end, run):
    """Its control characters are shown as pictures; a pipe gets what was sent."""
    server.script(*[Reply(text="\x1b]0;title\x07 and \x1b[31mred\x9b2J\r\n")] * 2)
    assert end(terminal("ask", "hi"))[0] == "␛]0;title␇ and ␛[31mred\ufffd2J\n\n"
    assert run("ask", "hi").stdout.startswith("\x1b]0;title\x07")


@pytest.mark.parametrize(
    ("variables", "shown"), [({}, "\x1b[2mhm"), ({"NO_COLOR": "1"}, "hm"), ({"TERM": "dumb"}, "hm")]
)
def test_thoughts_are_pale_unless_colour_is_unwanted(server, terminal, end, variables, shown):
    """NO_COLOR and dumb terminals get plain text."""
    server.script(Reply(text="4", reasoning="hm"))
    said, _ = end(terminal("ask", "2+2", "--reasoning", "low", **variables))
    assert said.startswith(shown)
    assert ("\x1b" in said) == (not variables)


def test_ctrl_c_in_a_terminal_ends_with_a_word(server, terminal, end):
    """What had come stays on the screen."""
    server.script(Gate(after=2, reply=Reply(deltas=[{"role": "assistant"}, {"content": "first"}, {"content": "no"}])))
    child = terminal("ask", "hi")
    child.expect_exact("first")
    child.sendintr()
    assert end(child) == ("^C\ncerebras-demo: interrupted\n", 130)


def test_without_a_question_at_a_terminal_it_says_how_to_ask(terminal, end):
    """Instead of waiting for a text that nobody was asked for."""
    said, code = end(terminal("ask"))
    assert code == 2
    assert "cerebras-demo chat" in said
