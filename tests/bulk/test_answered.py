"""The index of answers finds every row and every prompt, in memory and in the database."""

from __future__ import annotations

import hashlib
from contextlib import closing

import pytest

from langchain_cerebras_demo.bulk import answered as module
from langchain_cerebras_demo.bulk.answered import Answered, Known

HASHES = [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(200)]


@pytest.mark.parametrize("batch", [1, 7, 10_000])
@pytest.mark.parametrize("size", [1, 2**20])
def test_every_prompt_that_was_added_is_found_and_no_other(monkeypatch, batch, size):
    """Whatever part of them is in the database, and also if the filter lets all of them pass."""
    monkeypatch.setattr(module, "_PROMPTS_A_WRITE", batch)
    monkeypatch.setattr(module, "_FILTER_BYTES", size)
    with closing(Answered()) as answered:
        for place, prompt_hash in enumerate(HASHES[:100]):
            answered.add_prompt(prompt_hash, place)
        assert [answered.find_prompt(one) for one in HASHES] == [*range(100), *[None] * 100]
        answered.add_prompt(HASHES[3], 300)
        assert answered.find_prompt(HASHES[3]) == 300


def test_a_row_is_found_by_its_id_as_text_or_number():
    """A CSV file has texts only, and a JSON file may have numbers."""
    with closing(Answered()) as answered:
        assert not answered.has_rows
        assert answered.find_row(7) is None
        assert answered.add_row(7, "h", 10)
        assert not answered.add_row("7", "h", 20)
        assert answered.has_rows
        assert answered.find_row("7") == answered.find_row(7) == Known("h", 20)
        assert "7" in answered
        assert "8" not in answered
