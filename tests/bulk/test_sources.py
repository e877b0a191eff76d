"""Files and iterables of every kind, and what is wrong with them."""

from __future__ import annotations

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from langchain_cerebras_demo.bulk import BulkInputError
from langchain_cerebras_demo.bulk.files import open_file
from langchain_cerebras_demo.bulk.rows import Prompts
from langchain_cerebras_demo.bulk.sources import iterate, survey


def values(path):
    return [row.value for row in open_file(path).rows()]


def problems(path):
    return [row.problem for row in open_file(path).rows()]


GOOD = [{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "two"}]


@pytest.mark.parametrize(
    "data",
    [
        b'{"id":"a","prompt":"one"}\n{"id":"b","prompt":"two"}\n',
        b'{"id":"a","prompt":"one"}\n{"id":"b","prompt":"two"}',
        b'\xef\xbb\xbf{"id":"a","prompt":"one"}\r\n{"id":"b","prompt":"two"}\r\n',
        b'\n{"id":"a","prompt":"one"}\n \n\r\n{"id":"b","prompt":"two"}\n\n',
    ],
    ids=["plain", "no_newline_at_the_end", "BOM_and_CRLF", "empty_lines"],
)
def test_json_lines_are_read_however_they_end(write, data):
    """No trailing newline, a BOM, CRLF, empty lines between."""
    assert values(write(data)) == GOOD


def test_an_empty_line_still_counts_as_a_line(write):
    """The numbers in messages are those of an editor."""
    rows = list(open_file(write(b'\n\n"x"\n\n"y"')).rows())
    assert [(row.number, row.line) for row in rows] == [(1, 3), (2, 5)]


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv"])
def test_an_empty_file_has_no_rows(write, name):
    """And is no error."""
    assert values(write(b"", name)) == []
    assert survey(open_file(write(b"", name)), Prompts().why_not) == 0


def test_an_unreadable_line_is_the_problem_of_its_row_alone(write):
    """No JSON, not UTF-8, cut off: the message names the line, the others are read."""
    path = write(b'"one"\n{"a"\n\xff\xfe\n"\xc3("\n"\\ud800"\n"two"\n')
    found = list(open_file(path).rows())
    assert [row.value for row in found] == ["one", None, None, None, None, "two"]
    assert [row.problem.partition(":")[0] for row in found] == ["", "line 2", "line 3", "line 4", "line 5", ""]
    assert "not UTF-8" in found[2].problem
    assert len({row.id for row in found}) == 6


def test_a_line_of_fifty_megabytes_is_the_problem_of_its_row(write):
    """It is passed over piece by piece; what stands behind it is read."""
    path = write(b'"one"\n"' + b"x" * 50_000_000 + b'"\n"two"\n')
    assert values(path) == ["one", None, "two"]
    assert problems(path)[1] == "line 2: longer than 16,777,216 bytes"


def test_csv_cells_are_columns(write):
    """Quotes, line breaks in a cell, a BOM, CRLF, tabs in .tsv."""
    path = write('\ufeffid,text\r\n1,"two\nlines"\r\n2,"a ""word"", ü"'.encode(), "in.csv")
    assert values(path) == [{"id": "1", "text": "two\nlines"}, {"id": "2", "text": 'a "word", ü'}]
    assert [row.line for row in open_file(path).rows()] == [2, 4]
    assert values(write(b"id\ttext\n1\ta, b\n", "in.tsv")) == [{"id": "1", "text": "a, b"}]


def test_a_bad_csv_row_is_its_own_problem(write):
    """Too few cells, too many, not UTF-8, too long; and a cell above csv's own bound is none."""
    long = b"x" * 200_000
    path = write(b"id,text\n1\n2,a,b\n3,\xff\n4,%s\n5,%s\n6,good\n" % (long, b"x" * 17_000_000), "in.csv")
    before = csv.field_size_limit()
    found = list(open_file(path).rows())
    assert [bool(row.problem) for row in found] == [True, True, True, False, True, False]
    assert [row.number for row in found] == [1, 2, 3, 4, 5, 6]
    assert [row.line for row in found] == [2, 3, 4, 5, 6, 7]
    assert "line 2: 1 cells, and the header has 2 columns" in found[0].problem
    assert csv.field_size_limit() == before


def test_two_columns_of_one_name_are_refused(write):
    """Nobody could say which is meant."""
    with pytest.raises(BulkInputError, match=r"line 1: two columns are named 'text'"):
        values(write(b"text,text\n1,2\n", "in.csv"))


def test_parquet_is_read(tmp_path):
    """Rows have numbers and no lines; lists of messages come as they are."""
    path = tmp_path / "in.parquet"
    rows = [{"id": n, "messages": [{"role": "user", "content": f"q{n}"}]} for n in range(1000)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert values(path) == rows
    assert next(open_file(path).rows()).place == "row 1"


def test_what_is_no_parquet_is_refused(write):
    """By name."""
    with pytest.raises(BulkInputError, match=r"in.parquet' cannot be read as Parquet"):
        values(write(b"PAR1 not", "in.parquet"))


def test_parquet_without_pyarrow_names_the_extra(write, monkeypatch):
    """The package does not bring it."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(BulkInputError, match=r'pip install "langchain-cerebras-demo\[parquet\]"'):
        open_file(write(b"", "in.parquet"))


def test_an_input_that_is_not_there_is_refused(tmp_path):
    """As is a folder, and an ending that says nothing."""
    with pytest.raises(BulkInputError, match="does not exist"):
        open_file(tmp_path / "no.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(BulkInputError, match="is a folder"):
        open_file(tmp_path / "folder.jsonl")
    with pytest.raises(BulkInputError, match=r"has none of the suffixes \.csv"):
        open_file(tmp_path / "in.doc")


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
