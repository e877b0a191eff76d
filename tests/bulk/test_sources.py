"""Rows from iterables and tables in memory, and the checks before a run."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from langchain_cerebras_demo.bulk import BulkInputError
from langchain_cerebras_demo.bulk.files import open_file
from langchain_cerebras_demo.bulk.rows import Prompts
from langchain_cerebras_demo.bulk.sources import iterate, rows_of_table, survey


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (
            b'"x"\n\n{"id":"a","prompt":"1"}\n{"id":"a","prompt":"2"}\n',
            "in.jsonl",
            "'a' is used in line 3 and in line 4",
        ),
        (b'{"id":7,"prompt":"1"}\n{"id":"7","prompt":"2"}\n', "in.jsonl", "'7' is used in line 1 and in line 2"),
        (b'id,prompt\na,"1\n2"\na,3\n', "in.csv", "'a' is used in line 2 and in line 4"),
    ],
)
def test_doubled_ids_are_refused_with_both_lines(write, data, name, words):
    """Before anything is sent."""
    with pytest.raises(BulkInputError, match=words):
        survey(open_file(write(data, name)), Prompts().why_not)


async def test_doubled_ids_of_an_iterable_are_refused_with_both_rows():
    """When the second one comes: an iterable cannot be read twice."""
    rows = iterate([{"id": "a", "prompt": "1"}, "x", {"id": "a", "prompt": "2"}])
    assert (await anext(rows)).id == "a"
    await anext(rows)
    with pytest.raises(BulkInputError, match="'a' is used in row 1 and in row 3"):
        await anext(rows)


def test_rows_of_which_none_can_be_asked_are_refused_together(write):
    """A missing column, a template with an unknown name, a file that is something else: the first row says why."""
    path = write(b'{"text":"a"}\n{"text":"b"}\n')
    with pytest.raises(
        BulkInputError,
        match=r"none of the 2 rows.*line 1: it has neither 'prompt' nor 'messages'; the columns are 'text'",
    ):
        survey(open_file(path), Prompts().why_not)
    with pytest.raises(BulkInputError, match=r"the template needs 'topic'; the columns are 'text'"):
        survey(open_file(path), Prompts("say {topic}").why_not)
    with pytest.raises(BulkInputError, match=r"none of the 2 rows can be sent\. line 1: not valid JSON"):
        survey(open_file(write(b"one\ntwo\n")), Prompts().why_not)


def test_some_rows_that_cannot_be_sent_stop_nothing(write):
    """They are counted, and become errors in the output."""
    found = survey(open_file(write([{"prompt": "a"}, {"text": "b"}, 5])), Prompts().why_not)
    assert found == 3


async def test_an_async_iterable_is_iterated():
    """As a plain one."""

    async def texts():
        yield "a"
        yield {"id": "b", "prompt": "c"}

    assert [(row.number, row.value) async for row in iterate(texts())] == [(1, "a"), (2, {"id": "b", "prompt": "c"})]
    assert json.dumps([row.number async for row in iterate(("a", "b"))]) == "[1, 2]"


COLUMNS = {"id": [1, 2], "text": ["a", None], "stars": [1.5, None]}
AS_ROWS = [{"id": 1, "text": "a", "stars": 1.5}, {"id": 2, "text": None, "stars": None}]


def pandas_frame():
    return pytest.importorskip("pandas").DataFrame(COLUMNS)


def polars_frame():
    return pytest.importorskip("polars").DataFrame(COLUMNS)


@pytest.mark.parametrize(
    "make",
    [
        pandas_frame,
        polars_frame,
        lambda: pa.table(COLUMNS),
        lambda: pa.RecordBatch.from_pydict(COLUMNS),
        lambda: pa.table(COLUMNS).to_reader(),
    ],
    ids=["pandas", "polars", "Arrow", "batch", "reader"],
)
async def test_tables_are_rows_of_plain_values(make):
    """Numbers are Python's own, NaN is null."""
    found = [row.value async for row in iterate(rows_of_table(make()))]
    assert found == AS_ROWS
    assert {type(value) for row in found for value in row.values()} == {int, str, float, type(None)}


def test_a_series_is_rows_of_texts():
    """Of pandas and of Polars."""
    assert list(rows_of_table(pytest.importorskip("pandas").Series(["a", "b"]))) == ["a", "b"]
    assert list(rows_of_table(pytest.importorskip("polars").Series(["a", "b"]))) == ["a", "b"]
