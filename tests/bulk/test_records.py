"""A record and its line in the output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone

import pytest
from pydantic import BaseModel

from langchain_cerebras_demo.bulk import BulkRecord

FULL = BulkRecord(
    "a",
    content="text\nof two lines",
    reasoning="hm",
    tool_calls=[{"name": "f", "args": {"x": 1}, "id": "1"}],
    parsed={"x": [1, 2]},
    finish_reason="stop",
    usage={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    timing={"seconds": 0.5},
    attempts=2,
    error={"type": "X", "message": "no"},
)


def test_a_record_is_one_line_of_json_and_comes_back_from_it():
    """All fields, with any content."""
    line = FULL.to_json()
    assert b"\n" not in line
    assert sorted(json.loads(line)) == sorted(BulkRecord.__slots__)
    assert BulkRecord.from_json(line) == FULL


@dataclass
class Point:
    x: int


class Place(BaseModel):
    name: str


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Point(1), {"x": 1}),
        (Place(name="Rome"), {"name": "Rome"}),
        ({"n": 2**70}, {"n": 2**70}),
        ("half a pair \ud800", "half a pair \ud800"),
        ({1: {2, 3} and "set"}, {"1": "set"}),
    ],
)
def test_values_that_are_no_json_are_written_as_what_they_hold(value, written):
    """Instances of a schema, numbers of more than 64 bits, half a surrogate pair."""
    assert json.loads(BulkRecord("a", parsed=value).to_json())["parsed"] == written


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"content": "x"}', b'{"id": null}', b"\0\0\0"])
def test_a_line_that_is_no_record_is_a_value_error(line):
    """A torn one, one without an id."""
    with pytest.raises(ValueError):
        BulkRecord.from_json(line)


def test_a_line_of_a_later_version_is_read():
    """Fields that are not known are passed over."""
    assert BulkRecord.from_json(b'{"id": 7, "mood": "good"}') == BulkRecord(7)


def test_a_line_with_a_long_number_is_valid_json_with_null_for_nan_and_dates_as_elsewhere():
    """A number of more than 64 bits does not change how the other values are written."""
    values = {
        "nan": float("nan"),
        "day": datetime(2026, 1, 31, 7, tzinfo=timezone.utc),
        "pair": (1, {"x": float("inf")}),
        "text": "\ud800",
    }
    short = BulkRecord("a", input=values | {"text": "t"}).to_json()
    long = BulkRecord("a", input=values | {"number": 10**30}).to_json()
    assert b"NaN" not in long
    assert b"Infinity" not in long
    found = json.loads(long)["input"]
    assert found.pop("number") == 10**30
    assert found | {"text": "t"} == json.loads(short)["input"]
