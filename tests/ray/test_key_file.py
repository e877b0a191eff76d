"""``KeyFile``: a key by reference."""

from __future__ import annotations

import os
import pickle

import pytest

from langchain_cerebras_demo.errors import KeyFormatError, MissingKeyError

pytest.importorskip("ray", reason="Ray Data is not installed: pip install 'langchain-cerebras-demo[ray]'")

from langchain_cerebras_demo.ray import KeyFile

KEY = "csk-in-a-file-0123456789"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    return path


async def test_the_key_is_read_without_its_line_break(path):
    """As an editor leaves the file."""
    assert await KeyFile(path).resolve() == KEY


async def test_a_rotated_key_is_read_again(path):
    """A mounted secret changes while a run is under way."""
    source = KeyFile(path)
    await source.resolve()
    path.write_text("csk-another-0123456789")
    assert await source.resolve() == "csk-another-0123456789"
    assert await source.refresh(KEY) == "csk-another-0123456789"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize(
    ("mode", "is_fine"), [(0o600, True), (0o400, True), (0o640, True), (0o604, False), (0o620, False)]
)
async def test_a_file_that_others_may_read_is_refused(path, mode, is_fine):
    """The message says the mode and the remedy, and not the key."""
    path.chmod(mode)
    if is_fine:
        assert await KeyFile(path).resolve() == KEY
        return
    with pytest.raises(KeyFormatError, match=f"mode {mode:04o}.*chmod 600") as refused:
        await KeyFile(path).resolve()
    assert KEY not in str(refused.value)


async def test_a_missing_file_is_a_missing_key(tmp_path):
    """With the path and what to do: it has to be on every node."""
    with pytest.raises(MissingKeyError, match="every node"):
        await KeyFile(tmp_path / "none").resolve()


async def test_what_is_no_key_is_refused_without_showing_it(path):
    """Binary files and texts with spaces."""
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(KeyFormatError, match="is not a text"):
        await KeyFile(path).resolve()
    path.write_text("secret words")
    with pytest.raises(KeyFormatError) as refused:
        await KeyFile(path).resolve()
    assert "secret words" not in str(refused.value)


async def test_only_the_path_travels(path):
    """Even when the key was read before."""
    source = KeyFile(path)
    await source.resolve()
    pickled = pickle.dumps(source)
    assert KEY.encode() not in pickled
    assert await pickle.loads(pickled).resolve() == KEY
    assert KEY not in repr(source)
