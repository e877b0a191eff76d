"""JSON as servers write it: what orjson refuses and a reader can mend."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langchain_cerebras_demo.wire.repair import Halves, loads, mend

EMOJI = "\U0001f600"
HIGH, LOW = "\ud83d", "\ude00"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (rb'"\ud83d\ude00"', EMOJI),
        (rb'"\ud83d"', "\ufffd"),
        (rb'"a\ude00b"', "a\ufffdb"),
        (rb'["\ude00\ud83d"]', ["\ufffd\ufffd"]),
        (rb'{"\ud83d": ["\ud83d", {"a": "x\ud83d"}]}', {"\ufffd": ["\ufffd", {"a": "x\ufffd"}]}),
        (b'"\xed\xa0\xbd\xed\xb8\x80"', EMOJI),  # each half in UTF-8 of its own
        (b'{"a": NaN, "b": -Infinity, "c": 1e400}', {"a": None, "b": None, "c": None}),
    ],
)
def test_what_can_be_mended_is_read(data, value):
    """Adjacent halves are a character, a lone half is U+FFFD; NaN is None."""
    assert loads(data) == value


@pytest.mark.parametrize("data", [b"", b"{", b"\xef\xbb\xbf", b'"\xff"', b"[" * 100_000, b"[" * 2000 + b"]" * 2000])
def test_what_is_not_json_is_refused(data):
    """With orjson's message, which is clearer."""
    with pytest.raises(orjson.JSONDecodeError):
        loads(data)


LETTERS = st.text(st.sampled_from(["a", "\xe9", EMOJI, HIGH, LOW]), max_size=8)
PIECES = st.lists(st.text(st.sampled_from(["a", "\xe9", HIGH, LOW]), max_size=3), max_size=6)
ESCAPES = st.sampled_from(["\\", "u", "d", "8", "3", "e", "0", "a", HIGH, LOW, r"\ud83d", r"\ude00", r"\\", r"\n"])


@given(LETTERS)
def test_mended_text_can_be_encoded_and_whole_text_stays(text):
    """Nothing else of the text changes."""
    mended = mend(text)
    mended.encode()
    assert mended == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(PIECES)
@example([HIGH, LOW])
@example(["a" + HIGH, "", LOW + "b"])
@example([HIGH, "a"])
def test_a_text_in_pieces_is_the_text_in_one(pieces):
    """Half a character waits for its other half, and is U+FFFD where that never comes."""
    halves = Halves()
    joined = "".join(halves.join("x", piece) for piece in pieces) + halves.rest().get("x", "")
    assert joined == mend("".join(pieces))
    assert not halves


def test_texts_are_kept_apart():
    """A half waits for the next piece of its own text."""
    halves = Halves()
    assert [halves.join(0, HIGH), halves.join(1, LOW), halves.join(0, LOW)] == ["", "\ufffd", EMOJI]


@given(st.lists(ESCAPES, max_size=12))
@example([r"\ud83d", r"\ude00"])
@example(["\\", r"\ud83d"])
@example([r"\ud8", "3d"])
def test_escapes_in_pieces_are_the_escapes_in_one(pieces):
    """The text of a JSON document, as a tool call's arguments are, holds halves in its own escapes."""
    in_pieces, in_one = Halves(), Halves()
    joined = "".join(in_pieces.join_json("x", piece) for piece in pieces) + in_pieces.rest().get("x", "")
    assert joined == in_one.join_json("x", "".join(pieces)) + in_one.rest().get("x", "")
    joined.encode()
    try:
        value = json.loads(f'"{joined}"')
    except ValueError:
        return
    value.encode()


def test_escapes_that_are_whole_stay_as_they_are():
    """Valid arguments are not changed or held back."""
    halves = Halves()
    text = r'{"a": "\ud83d\ude00\n\\ud83d \u00e9"}'
    assert halves.join_json("x", text) == text
    assert not halves
