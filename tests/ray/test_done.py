"""What was asked before, as it stands in Parquet files."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.bulk.errors import BulkInputError

pytest.importorskip("ray", reason="Ray Data is not installed: pip install 'langchain-cerebras-demo[ray]'")
pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

from langchain_cerebras_demo.ray import done  # noqa: E402


@pytest.fixture
def written(tmp_path):
    pq.write_table(pa.table({"id": ["a", "b"], "answer": ["x", None]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"id": ["c"], "answer": ["z"]}), tmp_path / "2.parquet")
    (tmp_path / "notes.txt").write_text("not a table")
    return tmp_path


def test_the_ids_of_a_folder_are_those_of_its_files(written):
    """Other files in it do not count."""
    assert sorted(done.read_ids(written, "id").to_pylist()) == ["a", "b", "c"]
    assert done.read_ids([written / "2.parquet"], "id").to_pylist() == ["c"]


def test_what_is_not_there_yet_holds_nothing(tmp_path):
    """The first run is the same line as the next."""
    assert done.read_ids(tmp_path / "none", "id") is None
    assert done.read_ids(tmp_path, "id") is None


def test_a_file_that_was_cut_off_is_named_with_what_to_do(written):
    """A run was killed while it wrote: no file is left out in silence."""
    (written / "3.parquet").write_bytes(b"PAR1 and then")
    with pytest.raises(BulkInputError, match=r"3\.parquet.*Delete it"):
        done.read_ids(written, "id")


def test_a_file_without_the_column_is_named(written):
    """It is some other output."""
    with pytest.raises(BulkInputError, match="no column 'row'"):
        done.read_ids(written, "row")


def test_rows_that_are_done_are_left_out(monkeypatch):
    """Also where the ids were written in a wider type."""
    monkeypatch.setattr(done.ray, "get", lambda reference: reference)
    table = pa.table({"id": pa.array([1, 2, 3], pa.int32()), "prompt": ["a", "b", "c"]})
    left = done.drop_done(table, id_column="id", done=pa.array([1, 3], pa.int64()))
    assert left.to_pylist() == [{"id": 2, "prompt": "b"}]


@pytest.mark.parametrize(("column", "word"), [("row", "no such column"), ("id", "another type")])
def test_ids_that_cannot_be_compared_are_refused(monkeypatch, column, word):
    """Else every row would be asked again, and paid for."""
    monkeypatch.setattr(done.ray, "get", lambda reference: reference)
    with pytest.raises(BulkInputError, match=word):
        done.drop_done(pa.table({"id": [1]}), id_column=column, done=pa.array(["a"]))
