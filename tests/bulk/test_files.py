"""Input files of every format, and their errors."""

from __future__ import annotations

import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from langchain_cerebras_demo.bulk import BulkInputError, files
from langchain_cerebras_demo.bulk.files import open_file
from langchain_cerebras_demo.bulk.rows import Prompts
from langchain_cerebras_demo.bulk.sources import survey


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
    """It is skipped piece by piece, and the lines after it are read."""
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
    assert "line 2: 1 cell, the header has 2" in found[0].problem
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


ARRAY = [{"id": "1", "q": "rain ☂"}, {"id": "2", "q": 5}, "text", 12345678901234567890123, [], None]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("chunk", [1, 7, 65536])
def test_the_members_of_a_json_array_are_the_rows(write, monkeypatch, indent, chunk):
    """On one line or on several, read in pieces of any size, with a BOM or without."""
    monkeypatch.setattr(files, "_CHUNK_BYTES", chunk)
    text = json.dumps(ARRAY, indent=indent, ensure_ascii=False).encode()
    assert values(write(text, "in.json")) == ARRAY
    assert values(write(b"\xef\xbb\xbf\n " + text + b"\n", "in.json")) == ARRAY
    if indent:
        assert values(write(text, "in.jsonl")) == ARRAY


@pytest.mark.parametrize("data", [b"[]", b" [ \n ] "])
def test_an_empty_array_has_no_rows(write, data):
    """And is no error."""
    assert values(write(data, "in.json")) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'[{"q": 1}, {"q"', "not a valid JSON array: row 2: Expecting"),
        (b'[{"q": 1}', "row 1 is followed by 'the end of the file', not by a comma"),
        (b'[{"q": 1} {"q": 2}]', "row 1 is followed by '{'"),
        (b'[{"q": 1},]', "row 2: Expecting value"),
        (b'[{"q": 1}]\n[{"q": 2}]', "'\\[' after the array; if each line is a JSON value, name the file .jsonl"),
        (b'["\xff"]', "not a valid JSON array: 'utf-8'"),
        (b'{\n "rows": []\n}', "neither an array of rows nor a JSON value per line"),
    ],
)
def test_a_json_file_that_is_neither_an_array_nor_lines_is_refused(write, data, words):
    """In words that say what to give instead."""
    with pytest.raises(BulkInputError, match=words):
        values(write(data, "in.json"))


def test_a_json_file_may_have_a_value_per_line(write):
    """As before there were arrays; lines of messages are rows in a .jsonl file."""
    assert values(write(b'{"id":"a","prompt":"one"}\n{"id":"b","prompt":"two"}\n', "in.json")) == GOOD
    assert values(write(b'[{"role": "user"}]\n[]\n')) == [[{"role": "user"}], []]


@pytest.mark.parametrize("name", ["in.jsonl", "in.json"])
def test_long_integers_keep_their_digits(write, name):
    """Beside floats, negative ones, and NaN, which is not JSON."""
    data = b'{"n": 123456789012345678901234567890, "m": -18446744073709551616, "x": 1.5, "s": "1234567890123456789"}\n'
    [row] = values(write(data, name))
    assert row == {"n": 123456789012345678901234567890, "m": -(2**64), "x": 1.5, "s": "1234567890123456789"}
    assert "not valid JSON" in problems(write(b'{"n": NaN, "m": 1234567890123456789012}\n'))[0]


def test_the_lines_of_a_text_file_are_the_rows(write):
    """Without the empty ones; a line that is not UTF-8 is its own problem."""
    path = write("\ufeffone\r\n\ntwo ü\n".encode() + b"\xff\nthree", "in.txt")
    assert values(path) == ["one", "two ü", None, "three"]
    assert problems(path)[2] == "line 4: not UTF-8 at byte 1"


@pytest.mark.parametrize(
    "data", [b"no gzip", gzip.compress(b'"one"\n"two"\n', mtime=0)[:-6]], ids=["no gzip", "cut off"]
)
def test_a_broken_gzip_file_is_refused(write, data):
    """By name."""
    with pytest.raises(BulkInputError, match=r"in\.jsonl\.gz' cannot be uncompressed"):
        values(write(data, "in.jsonl.gz"))


def test_a_format_may_be_named_in_place_of_the_suffix(write):
    """For files of any name, compressed ones included."""
    assert [row.value for row in open_file(write(b"a,b\n1,2\n", "in.dat"), "csv").rows()] == [{"a": "1", "b": "2"}]
    assert [row.value for row in open_file(write(gzip.compress(b"a\tb\n1\t2\n"), "in.gz"), "TSV").rows()]
    with pytest.raises(BulkInputError, match="format='xlsx': use one of csv, tsv"):
        open_file(write(b"", "in.dat"), "xlsx")


@pytest.mark.parametrize("start", [b"[", b"\xef\xbb\xbf\n ["], ids=["plain", "BOM"])
def test_an_array_in_one_long_line_is_rows(write, monkeypatch, start):
    """The limit of a line's length applies to a member, not to the whole array."""
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 200)
    rows = [{"prompt": f"row {number}"} for number in range(50)]
    assert values(write(start + json.dumps(rows).encode()[1:], "in.json")) == rows
