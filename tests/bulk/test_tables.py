"""Tables of answers: every input format and every output format, with columns, types and order."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
from contextlib import aclosing
from datetime import date, datetime, timezone
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from langchain_cerebras_demo.bulk import BulkOutputError, bulk
from langchain_cerebras_demo.bulk.tables import _to_cell
from langchain_cerebras_demo.testing import Gate, Reply, Status

TEMPLATE = "Is {text} good?"
ROWS = [
    {"name": "tea", "text": 'a "fine", tea\r\nof two lines', "stars": 5},
    {"name": "cup", "text": "größer\tals", "stars": 1},
    {"name": "pot", "text": " spaces ", "stars": 4},
]
TEXTS = ["a fine tea", "größer\tals", "a pot"]


def to_csv(delimiter):
    def write(path):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["name", "text", "stars"], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(ROWS)

    return write


def compressed(make):
    def write(path):
        make(path)
        path.write_bytes(gzip.compress(path.read_bytes()))

    return write


def to_lines(path):
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def to_parquet(path):
    pq.write_table(pa.Table.from_pylist(ROWS), path)


INPUTS = {
    "in.csv": to_csv(","),
    "in.tsv": to_csv("\t"),
    "in.jsonl": to_lines,
    "in.json": lambda path: path.write_text(json.dumps(ROWS, indent=2)),
    "in.txt": lambda path: path.write_text("\n".join(TEXTS), encoding="utf-8"),
    "in.parquet": to_parquet,
    "in.csv.gz": compressed(to_csv(",")),
    "in.jsonl.gz": compressed(to_lines),
    "in.parquet.gz": compressed(to_parquet),
}
OUTPUTS = ("out.csv", "out.tsv", "out.json", "out.parquet")


def read_table(path):
    """Return the rows of a table, by its suffix."""
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize("name", INPUTS)
async def test_each_format_goes_into_each_table_with_its_columns_in_its_order(model, tmp_path, name):
    """Quotes, line breaks, tabs and other letters included; no record ends up in the table's own file."""
    source = tmp_path / name
    INPUTS[name](source)
    rows = [{"text": text} for text in TEXTS] if name == "in.txt" else ROWS
    has_numbers = "csv" not in name and "tsv" not in name
    for output in OUTPUTS:
        progress = await bulk(model, source, template=TEMPLATE, output=tmp_path / output).arun()
        assert (progress.done, progress.failed) == (3, 0)
        found = read_table(tmp_path / output)
        is_typed = has_numbers and output in {"out.json", "out.parquet"}
        wanted = [{key: value if is_typed else str(value) for key, value in row.items()} for row in rows]
        assert [{key: row[key] for key in wanted[0]} for row in found] == wanted
        assert all("good?" in row["answer"] and row["finish_reason"] == "stop" for row in found)
        assert all(int(row["input_tokens"]) > 0 and not row["error"] for row in found)
        assert list(found[0])[: len(rows[0])] == list(rows[0])


async def test_a_table_is_an_input_again(model, tmp_path):
    """The columns of its answers keep their names; the new ones get numbers."""
    to_csv(",")(tmp_path / "in.csv")
    await bulk(model, tmp_path / "in.csv", template=TEMPLATE, output=tmp_path / "one.csv").arun()
    await bulk(model, tmp_path / "one.csv", template="Why {answer}?", output=tmp_path / "two.csv").arun()
    one, two = read_table(tmp_path / "one.csv"), read_table(tmp_path / "two.csv")
    assert [row["answer"] for row in one] == [row["answer"] for row in two]
    assert all(row["answer_2"].startswith('You said: "Why') for row in two)
    assert "error_2" in two[0]


async def test_a_table_is_in_the_order_of_the_rows_whatever_comes_first(server, model, tmp_path):
    """A slow row, one that fails and one that cannot be sent stand in their places."""
    gate = Gate()
    server.script(gate, Status(400))
    rows = [{"text": "slow"}, {"text": "bad"}, {"other": "x"}, {"text": "quick"}]
    run = bulk(model, rows, template=TEMPLATE, output=tmp_path / "out.csv", concurrency=2)
    task = asyncio.ensure_future(run.arun())
    assert await asyncio.to_thread(server.wait_for_requests, 3)
    gate.open()
    await task
    found = read_table(tmp_path / "out.csv")
    assert [row["text"] for row in found] == ["slow", "bad", "", "quick"]
    assert [row["error"].partition(":")[0] for row in found] == ["", "BadRequestError", "BulkInputError", ""]
    assert found[2]["other"] == "x"
    assert found[2]["answer"] == ""


async def test_a_resumed_table_follows_the_input_as_it_is_now(server, model, tmp_path):
    """After another order, a new row, a removed row and a changed text, each row appears once, with the answer to its text."""
    output = tmp_path / "out.csv"
    rows = [{"id": name, "text": name} for name in ("a", "b", "c", "gone")]
    await bulk(model, rows, template=TEMPLATE, output=output).arun()
    rows = [{"id": name, "text": name} for name in ("new", "c", "b")] + [{"id": "a", "text": "changed"}]
    progress = await bulk(model, rows, template=TEMPLATE, output=output, resume=True).arun()
    assert (progress.skipped, progress.done, progress.changed) == (2, 2, 1)
    assert [(row["id"], row["text"]) for row in read_table(output)] == [
        ("new", "new"),
        ("c", "c"),
        ("b", "b"),
        ("a", "changed"),
    ]
    assert all(row["text"] in row["answer"] for row in read_table(output))
    assert len(server.requests) == 6


async def test_a_stopped_run_writes_what_it_has_and_a_resumed_one_the_rest(model, tmp_path):
    """The answers of both, in order."""
    output = tmp_path / "out.parquet"
    rows = [{"text": f"row {number}", "number": number} for number in range(6)]
    first = await bulk(model, rows, template=TEMPLATE, output=output, budget="2 requests", concurrency=1).arun()
    assert first.stopped == "budget"
    assert [row["number"] for row in read_table(output)] == [0, 1]
    await bulk(model, rows, template=TEMPLATE, output=output, resume=True).arun()
    assert [row["number"] for row in read_table(output)] == list(range(6))


async def test_leaving_early_writes_the_table(model, tmp_path):
    """It has at least the answers that were returned."""
    rows = [{"text": f"row {number}"} for number in range(9)]
    run = bulk(model, rows, template=TEMPLATE, output=tmp_path / "out.csv", concurrency=1)
    async with aclosing(run.__aiter__()) as records:
        await anext(records)
    assert len(read_table(tmp_path / "out.csv")) >= 1


class Opinion(BaseModel):
    positive: bool
    score: int
    words: list[str]


async def test_a_schema_gives_a_column_a_field(server, model, tmp_path):
    """Of their types in Parquet; a list is JSON; a row that fails has none."""
    answer = '{"positive": true, "score": 4, "words": ["fine"]}'
    for name in ("out.csv", "out.parquet"):
        server.script(Reply(text=answer), Reply(text="four"))
        rows = [{"text": "a", "score": "own"}, {"text": "b", "score": "own"}]
        await bulk(model, rows, template=TEMPLATE, schema=Opinion, output=tmp_path / name, concurrency=1).arun()
    first, second = read_table(tmp_path / "out.csv")
    assert (first["positive"], first["score"], first["score_2"], first["words"]) == ("true", "own", "4", '["fine"]')
    assert second["positive"] == ""
    assert second["error"].startswith("OutputParserException")
    schema = pq.read_schema(tmp_path / "out.parquet")
    types = dict(zip(schema.names, schema.types, strict=True))
    assert (types["positive"], types["score_2"], types["words"]) == (pa.bool_(), pa.int64(), pa.string())


async def test_arrow_types_survive(model, tmp_path):
    """Dates, moments, decimals, small numbers, lists, bytes, nulls: through the records and back."""
    table = pa.table(
        {
            "text": ["a", "b"],
            "day": pa.array([date(2026, 1, 31), None]),
            "moment": pa.array(
                [datetime(2026, 1, 31, 7, 5, 1, 250, tzinfo=timezone.utc)] * 2, pa.timestamp("us", "UTC")
            ),
            "price": pa.array([Decimal("1.10"), Decimal("2.00")], pa.decimal128(9, 2)),
            "small": pa.array([1, None], pa.int8()),
            "big": pa.array([2**63 - 1, 1]),
            "real": pa.array([1.5, None], pa.float32()),
            "many": [["x", "y"], []],
            "inner": [{"a": 1}, {"a": None}],
            "raw": [b"\x00\xff", b""],
            "kind": pa.array(["k", None]).dictionary_encode(),
            "nothing": pa.array([None, None], pa.null()),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    for source in (table, tmp_path / "in.parquet"):
        output = tmp_path / "out.parquet"
        await bulk(model, source, template=TEMPLATE, output=output, resume=True).arun()
        found = pq.read_table(output).select(table.column_names)
        assert found.to_pylist() == table.to_pylist()
        kept = [name for name in table.column_names if name not in {"kind", "nothing"}]
        assert found.select(kept).schema.types == table.select(kept).schema.types


@pytest.mark.parametrize("name", ["out.csv", "out.json", "out.jsonl"])
async def test_numbers_of_any_length_keep_their_digits(server, model, write, tmp_path, name):
    """In the prompt, in the records and in the table."""
    long = 123456789012345678901234567890
    source = write(b'{"id": "1", "n": %d, "small": 1.5, "text": "1234567890123456789012"}\n' % long)
    output = tmp_path / name
    for _ in range(2):
        await bulk(model, source, template="Is {n} prime?", output=output, resume=True).arun()
    assert f"Is {long} prime?" in server.requests[0].json["messages"][0]["content"]
    assert len(server.requests) == 1
    assert str(long) in output.read_text()
    assert "1234567890123456789012" in output.read_text()


async def test_a_column_of_mixed_values_is_text(model, tmp_path):
    """Numbers beside texts, integers that a float cannot hold beside floats."""
    rows = [
        {"text": "a", "mixed": 1, "wide": 2**60 + 1, "number": 1, "half": "\ud800"},
        {"text": "b", "mixed": "x", "wide": 0.5, "number": 0.5, "half": "whole"},
    ]
    await bulk(model, rows, template=TEMPLATE, output=tmp_path / "out.parquet").arun()
    first = read_table(tmp_path / "out.parquet")[0]
    assert (first["mixed"], first["wide"], first["number"], first["half"]) == ("1", str(2**60 + 1), 1.0, "?")


async def test_without_the_input_there_are_ids_and_answers(model, tmp_path):
    """The records are smaller then, too."""
    rows = [{"id": 7, "text": "a"}, {"id": 8, "text": "b"}]
    await bulk(model, rows, template=TEMPLATE, output=tmp_path / "out.csv", keep_input=False).arun()
    found = read_table(tmp_path / "out.csv")
    assert [row["id"] for row in found] == ["7", "8"]
    assert "text" not in found[0]
    records = (tmp_path / "out.csv.records.jsonl").read_text().splitlines()
    assert all(json.loads(line)["input"] is None for line in records)


async def test_an_empty_input_is_a_table_without_rows(model, tmp_path):
    """With the columns of answers."""
    for name in OUTPUTS:
        await bulk(model, [], output=tmp_path / name).arun()
        assert read_table(tmp_path / name) == []


async def test_a_table_that_is_no_output_of_ours_is_not_touched(model, tmp_path):
    """Not even by a resumed run; nor one whose records are missing."""
    (tmp_path / "out.csv").write_text("mine\n1\n")
    for resume, words in ((False, "already exists"), (True, "has no journal")):
        with pytest.raises(BulkOutputError, match=words):
            await bulk(model, ["a"], output=tmp_path / "out.csv", resume=resume).arun()
    assert (tmp_path / "out.csv").read_text() == "mine\n1\n"
    with pytest.raises(BulkOutputError, match=r"none of the suffixes .*\.csv"):
        await bulk(model, ["a"], output=tmp_path / "out.xlsx").arun()


async def test_a_table_whose_rows_all_failed_is_resumed(server, model, tmp_path):
    """With other settings, since there are no answers yet."""
    server.script(Status(400))
    output = tmp_path / "out.csv"
    await bulk(model, ["a"], output=output).arun()
    assert read_table(output)[0]["error"].startswith("BadRequestError")
    progress = await bulk(model, ["a"], output=output, system="Be brief.", resume=True).arun()
    assert progress.done == 1
    assert read_table(output)[0]["error"] == ""


async def test_to_table_is_a_frame_of_a_running_and_of_a_finished_run(server, model):
    """Without an output, from a frame to a frame; NaN is null."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    frame = pandas.DataFrame({"text": ["a", "b", "c"], "stars": [1.5, None, 3.0], "n": [1, 2, 3]})
    gate = Gate()
    server.script(Reply(text="A"), gate)
    run = bulk(model, frame, template=TEMPLATE, concurrency=1)
    with pytest.raises(BulkOutputError, match="call run"):
        run.to_table()
    task = asyncio.ensure_future(run.arun())
    assert await asyncio.to_thread(gate.wait_reached)
    assert run.to_table().to_pandas()["answer"].tolist() == ["A"]
    gate.open()
    await task
    found = run.to_table().to_pandas()
    assert found["text"].tolist() == ["a", "b", "c"]
    assert found["n"].tolist() == [1, 2, 3]
    assert found["stars"].isna().tolist() == [False, True, False]
    assert polars.from_arrow(run.to_table())["answer"].null_count() == 0
    assert "text" in found.columns
    from_polars = bulk(model, polars.DataFrame({"text": ["x"]}), template=TEMPLATE)
    await from_polars.arun()
    assert from_polars.to_table().to_pylist()[0]["text"] == "x"


@pytest.mark.parametrize("name", ["out.parquet", None])
async def test_parquet_without_pyarrow_names_the_extra(model, tmp_path, monkeypatch, name):
    """Before anything is sent, where it is the output."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(BulkOutputError, match=r'pip install "langchain-cerebras-demo\[parquet\]"'):
        run = bulk(model, ["a"], output=name and tmp_path / name)
        await run.arun()
        run.to_table()


async def test_an_input_that_was_deleted_during_the_run_still_gives_a_table(server, model, tmp_path):
    """All rows have been answered and paid for, so the table is written."""
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\na\n")
    gate = Gate()
    server.script(gate)
    task = asyncio.ensure_future(bulk(model, source, output=output, template="{text}").arun())
    assert await asyncio.to_thread(server.wait_for_requests, 1)
    source.unlink()
    gate.open()
    assert (await task).done == 1
    assert output.read_text().startswith("text,answer")


async def test_a_struct_without_fields_is_text_in_parquet(model, tmp_path):
    """Parquet has no such type."""
    output = tmp_path / "out.parquet"
    rows = pa.table({"prompt": ["a"], "nothing": pa.array([{}], pa.struct([]))})
    await bulk(model, rows, output=output).arun()
    assert pq.read_table(output)["nothing"].to_pylist() == ["{}"]


async def test_a_table_that_pyarrow_refuses_is_an_output_error_and_leaves_no_part(model, tmp_path):
    """The message says where the answers are."""
    rows = pa.table({"prompt": ["a"], "nothing": pa.array([[{}]], pa.list_(pa.struct([])))})
    with pytest.raises(BulkOutputError, match="All answers are kept in the records"):
        await bulk(model, rows, output=tmp_path / "out.parquet").arun()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_cells_are_quoted_as_by_the_csv_module(delimiter):
    """Quotes, delimiters, and line breaks of each kind."""
    texts = ["plain", "", " a ", 'a "b"', '"', "a,b", "a\tb", "a\r", "\nb", "a\r\nb", "ä\u2028b"]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerow(texts)
    assert delimiter.join(_to_cell(text, delimiter) for text in texts) + "\r\n" == file.getvalue()
