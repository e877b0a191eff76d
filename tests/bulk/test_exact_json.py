"""JSON keeps integers of any size, and a line is read as it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_cerebras_demo.bulk import exact_json

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


@given(st.one_of(st.text(), st.integers()), values)
def test_a_line_is_read_as_it_was_written(row_id, value):
    """In the fast way and in the careful one: every digit of every number."""
    record = {"id": row_id, "input": value}
    line = exact_json.dumps(record)
    assert exact_json.loads_line(line) == exact_json.loads(line) == record


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40])
def test_an_integer_keeps_its_digits(number):
    """Those of 64 bits, and longer ones."""
    line = exact_json.dumps({"id": "a", "input": {"n": number}})
    assert exact_json.loads_line(line) == exact_json.loads(line) == {"id": "a", "input": {"n": number}}
