"""Which cookies a session takes: what no header can carry is refused at once, and shown by nobody."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.errors import KeyFormatError
from langchain_cerebras_demo.keys import SessionCookieKey
from tests.support.leaks import all_that_shows

# Tests are given the names of these cases alone: a cookie would stand among the locals of the test's own frame.
WRONG_COOKIES = {
    "no mapping": ("session-token=never-shown", ValueError, "no file's path"),
    "pairs": ([("session-token", "never-shown")], TypeError, "cookies is a list"),
    "a name that is no str": ({5: "never-shown"}, TypeError, "name is a int"),
    "a value that is no str": ({"good": "x", "bad": b"never-shown"}, TypeError, "'bad' is a bytes"),
    "a value that is None": ({"bad": None, "good": "never-shown"}, TypeError, "'bad' is a NoneType"),
    "a line break": ({"bad": "never-shown\r\nX-Evil: 1"}, KeyFormatError, "'bad' has a line break"),
    "a line break behind": ({"bad": "never-shown\n"}, KeyFormatError, "'bad' has a line break"),
    "a semicolon": ({"bad": "never-shown; admin=1"}, KeyFormatError, "'bad' has a line break, a semicolon"),
    "a letter outside ASCII": ({"bad": "never-shownß"}, KeyFormatError, "outside ASCII"),
    "a zero byte": ({"bad": "never-shown\0"}, KeyFormatError, "'bad'"),
    "a session in quotes": (
        {"next-auth.session-token": '"never-shown"'},
        KeyFormatError,
        "'next-auth.session-token' has quotes around it",
    ),
    "an empty name": ({"": "never-shown"}, KeyFormatError, "cannot be a cookie's name"),
    "a name with a space": ({"a b": "never-shown"}, KeyFormatError, "'a b' cannot be"),
    "a name with a line break": ({"a\nb": "never-shown"}, KeyFormatError, "cannot be a cookie's name"),
    "a whole cookie as the name": ({"token=never-shown": ""}, KeyFormatError, "'token' cannot be"),
}


@pytest.mark.parametrize("case", WRONG_COOKIES)
def test_cookies_that_no_header_can_carry_are_refused_at_once(case):
    """By the cookie's name; neither its value nor another cookie's is shown, the frames' locals included."""
    with pytest.raises(WRONG_COOKIES[case][1]) as caught:
        SessionCookieKey(WRONG_COOKIES[case][0])
    assert WRONG_COOKIES[case][2] in str(caught.value)
    shown = all_that_shows(caught.value)
    assert "in __init__" in shown
    assert "never-shown" not in shown
