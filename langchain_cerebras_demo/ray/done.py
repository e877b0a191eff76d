"""Resuming a job: the ids in the Parquet files written before, and the rows that are left."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import ray

from langchain_cerebras_demo.bulk.errors import BulkInputError

_Path = str | os.PathLike[str]


def read_ids(paths: _Path | Sequence[_Path], id_column: str) -> pa.Array | None:
    """Return the ids in these files; ``None`` if there are no files yet. They take 10 to 40 bytes per row of the driver's memory.

    Args:
        paths: Parquet files, or folders of them; also URIs that pyarrow supports (``s3://``, ``gs://``, ``hdfs://``).
        id_column: the column of the ids.

    Raises:
        BulkInputError: a file is not a complete Parquet file, or has no such column; the message names it.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    found = [chunk for path in given for file in _files(path) for chunk in _read(*file, id_column).chunks if len(chunk)]
    return pa.concat_arrays([chunk.cast(found[0].type) for chunk in found]) if found else None


def drop_done(table: pa.Table, *, id_column: str, done: Any) -> pa.Table:
    """Return the rows whose id is not in the array that ``done`` refers to. This runs as a Ray task.

    Raises:
        BulkInputError: there is no such column, or the type of its ids differs from those that were written.
    """
    if id_column not in table.column_names:
        raise BulkInputError(f"id_column={id_column!r}: there is no such column; use one of {table.column_names}")
    ids = table[id_column]
    try:
        before = ray.get(done).cast(ids.type)
    except pa.ArrowInvalid:
        raise BulkInputError(
            f"id_column={id_column!r} has the type {ids.type}, and the files of done have another type"
        ) from None
    return table.filter(pc.invert(pc.is_in(ids, value_set=before)))


def _files(path: _Path) -> list[tuple[pafs.FileSystem, str]]:
    text = os.fspath(path)
    filesystem, inside = pafs.FileSystem.from_uri(text) if "://" in text else (pafs.LocalFileSystem(), text)
    info = filesystem.get_file_info(inside)
    if info.type == pafs.FileType.NotFound:
        return []
    if info.type == pafs.FileType.File:
        return [(filesystem, inside)]
    within = filesystem.get_file_info(pafs.FileSelector(inside, recursive=True))
    return [(filesystem, one.path) for one in within if one.path.endswith(".parquet")]


def _read(filesystem: pafs.FileSystem, path: str, id_column: str) -> pa.ChunkedArray:
    try:
        file = pq.ParquetFile(path, filesystem=filesystem)
    except pa.ArrowInvalid:
        raise BulkInputError(
            f"{path!r} is not a complete Parquet file, because a run was killed while writing it. Delete it; its rows will be sent again"
        ) from None
    with file:
        if id_column not in file.schema_arrow.names:
            raise BulkInputError(
                f"{path!r} has no column {id_column!r}: use the output of a run with the same id_column"
            )
        return file.read(columns=[id_column])[id_column]
