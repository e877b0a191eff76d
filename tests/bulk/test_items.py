"""Ids: given, derived, doubled."""

from __future__ import annotations

import random
import sys

from langchain_core.messages import HumanMessage

from langchain_cerebras_demo.bulk.index import IdIndex
from langchain_cerebras_demo.bulk.items import derive_id
from langchain_cerebras_demo.bulk.rows import Row


def test_a_derived_id_is_the_row_and_its_content():
    """Equal in every run; another row or another text has another."""
    assert derive_id("hello", 3) == derive_id("hello", 3)
    assert derive_id("hello", 3).startswith("3-")
    assert len({derive_id("hello", 3), derive_id("hello", 4), derive_id("hallo", 3)}) == 3
    assert derive_id([HumanMessage("a")], 1) == derive_id([HumanMessage("a")], 1) != derive_id([HumanMessage("b")], 1)
    assert derive_id({"a": 1, "b": 2}, 1) == derive_id({"b": 2, "a": 1}, 1)
    assert derive_id("\ud800", 1) != derive_id({1, 2}, 1)


def test_a_given_id_is_a_text_or_a_whole_number():
    """Anything else is that row's problem, and it gets a derived one."""
    assert Row(1, 1, {"id": "x"}).id == "x"
    assert Row(1, 1, {"id": 0}).id == 0
    for nothing in (None, ""):
        row = Row(1, 1, {"id": nothing})
        assert str(row.id).startswith("1-")
        assert row.id_problem() == ""
    for wrong in (1.5, True, ["x"], {}):
        row = Row(1, 4, {"id": wrong})
        assert str(row.id).startswith("1-")
        assert "line 4" in row.id_problem()


def test_the_index_knows_every_id_and_the_row_that_had_it_first():
    """Through its growth, and for ids that look alike."""
    ids = [f"row {number}" for number in range(20_000)] + list(range(20_000, 40_000))
    random.Random(1).shuffle(ids)
    index = IdIndex()
    assert [index.add(row_id, row) for row, row_id in enumerate(ids, 1)] == [None] * 40_000
    assert len(index) == 40_000
    assert [index.add(row_id, 0) for row_id in ids] == list(range(1, 40_001))
    assert all(row_id in index for row_id in ids)
    assert "row 20001" not in index
    assert "30000" in index, "a number and its text are one id"


def test_the_index_takes_less_than_thirty_bytes_an_id():
    """Where a set of its texts takes over a hundred."""
    index = IdIndex()
    for number in range(30_000):
        index.add(f"row {number}", number)
    assert (sys.getsizeof(index._hashes) + sys.getsizeof(index._rows)) / len(index) < 30
