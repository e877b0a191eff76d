"""Fixtures for bulk tests: a model that uses the loopback Cerebras, and files of rows."""

from __future__ import annotations

import json

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo


@pytest.fixture
async def model(server):
    """A model that never waits, so that tests are fast; tests of limits make their own."""
    made = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, rate_limit=None)
    yield made
    await made.aclose()


@pytest.fixture
def write(tmp_path):
    """Writes a file of rows, as JSON lines, or as the bytes it is given."""

    def write(rows, name="in.jsonl"):
        path = tmp_path / name
        path.write_bytes(
            rows if isinstance(rows, bytes) else b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        )
        return path

    return write


@pytest.fixture
def output(tmp_path):
    """The path of the output."""
    return tmp_path / "out.jsonl"


@pytest.fixture
def read():
    """The records of a file, by id; every line has to be whole, and no id may stand in two."""

    def read(path):
        data = path.read_bytes()
        assert data.endswith(b"\n") or not data
        records = [json.loads(line) for line in data.splitlines()]
        found = {record["id"]: record for record in records}
        assert len(found) == len(records)
        return found

    return read
