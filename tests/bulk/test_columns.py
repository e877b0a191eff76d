"""The columns that are collected while records are written are those of the written records."""

from __future__ import annotations

import json
import math
from datetime import date
from decimal import Decimal
from enum import Enum

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from langchain_cerebras_demo.bulk import BulkRecord, tables
from langchain_cerebras_demo.bulk.columns import Columns
from langchain_cerebras_demo.bulk.output import Output


class Colour(str, Enum):
    red = "red"


class Sum(BaseModel):
    sum: int


plain = st.one_of(st.none(), st.booleans(), st.text(max_size=5), st.integers(-5, 5), st.floats(-2, 2))
anything = st.one_of(
    plain,
    st.sampled_from([math.nan, math.inf, date(2026, 1, 2), Decimal("1.5"), Colour.red, b"x", (1, 2), [1], {"a": 1}]),
    st.integers(),
    st.lists(plain, max_size=2),
)
columns = st.dictionaries(st.sampled_from(["a", "b", "answer"]), anything, max_size=3)
fields = st.fixed_dictionaries(
    {
        "input": st.one_of(st.none(), columns, st.dictionaries(st.integers(1, 2), plain, max_size=1)),
        "parsed": st.one_of(st.none(), plain, columns, st.just(Sum(sum=1))),
        "reasoning": st.sampled_from([None, "Hm."]),
        "reused": st.sampled_from([None, "duplicate"]),
        "error": st.sampled_from([None, None, {"type": "X", "message": "no"}]),
    }
)


def rows_of(table):
    """The names and types of the columns, and the rows."""
    arrow = table.to_arrow()
    return list(zip(arrow.schema.names, arrow.schema.types, strict=True)), list(table.rows())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.lists(fields, max_size=9), batch=st.integers(1, 4), size=st.sampled_from([0, 200, 10_000]))
def test_a_table_is_the_same_whether_its_index_was_filled_or_read(tmp_path_factory, made, batch, size):
    """For values of any type, answers and failures, written and read in any batches, in memory and in the database."""
    records = [BulkRecord(f"row {number}", row=number, **one) for number, one in enumerate(made, 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_LINES_A_WRITE", 4)
        patch.setattr(tables, "_LINES_A_READ", 3)
        patch.setattr(tables, "_BYTES_A_READ", size)
        output = Output(tmp_path_factory.mktemp("out") / "out.json", {})
        for start in range(0, len(records), batch):
            output.write(records[start : start + batch][::-1])
        found = []
        for is_over in (False, True):
            table = output.table(is_whole_input=True, is_over=is_over)
            found.append(rows_of(table))
            table.close()
        output.close()
    assert repr(found[0]) == repr(found[1]) or found[0] == found[1]
    assert len(found[0][1]) == len(records)


@pytest.mark.parametrize("value", ["x", None, True, 1, 1.5, 2**70, [math.nan], {"a": date(2026, 1, 2)}])
def test_a_value_that_json_keeps_is_known_at_once(value):
    """Only the type of the value itself matters, not what is in a list or an object."""
    assert Columns().note({"id": "a", "input": {"a": value}})


@pytest.mark.parametrize(
    "value", [math.nan, -math.inf, date(2026, 1, 2), Decimal(1), Colour.red, b"x", (1,), Sum(sum=1)]
)
def test_a_value_that_json_changes_is_not_known_before_it_is_read(value):
    """As a column, as a value of a schema and as a field of one."""
    assert not Columns().note({"id": "a", "input": {"a": value}})
    assert not Columns().note({"id": "a", "parsed": value})
    assert not Columns().note({"id": "a", "parsed": {"a": value}})
    numbered = Columns()
    assert not any(numbered.note({"id": "a", "input": {1: "x"}}) for _ in range(2))


def test_a_row_like_one_before_may_still_have_a_larger_number():
    """Rows are compared by their types, and the kind of a number depends on its value."""
    found = Columns()
    for value in (1, 2, 2**62, 2**70):
        found.note({"id": "a", "input": {"a": value}})
    assert found.arrow_types(pa, {})[0] == pa.string()
    assert json.dumps(found.values({"id": "a", "input": {"a": 2**70}})[0]) == str(2**70)
