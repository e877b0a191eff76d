"""The fault matrix: whatever breaks, in all four ways of calling, is a whole answer or a typed error."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.support.fault_rows import ANSWERS
from tests.support.fault_rows_input import INPUT
from tests.support.fault_rows_more import RETRIES, TIME
from tests.support.faults import KEY, WAYS, ask, scene, to_page
from tests.support.leaks import all_that_shows

GROUPS = {
    "An answer is whole or an error": ANSWERS,
    "Time": TIME,
    "Tried again, or not": RETRIES,
    "Whatever stands in between": INPUT,
}
FAULTS = [fault for faults in GROUPS.values() for fault in faults]
PAGE = Path(__file__).parents[1] / "docs" / "faults.md"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_ends_as_the_page_says(fault, way, server, monkeypatch):
    """The class, the words, what had come, the sends, the wait; and never a key in it."""
    monkeypatch.setattr(random, "random", lambda: 0.01)  # the jitter: only a wish of the server's takes time
    ends = fault.way(way).ends
    with scene(fault, way, server) as model:
        if ends.error is None:
            assert ask(model, way) == ends.words
        else:
            with pytest.raises(ends.error) as caught:
                ask(model, way)
            error = caught.value
            assert type(error) is ends.error or ends.error.__name__ == "APIStatusError"
            assert ends.words in str(error)
            assert (error.partial.content if error.partial is not None else None) == ends.partial
            assert error.attempts == ends.sends
            assert error.waited >= ends.waited
            assert KEY not in all_that_shows(error)
        if fault.stage is None:
            assert len(server.requests) == ends.sends
            assert server.unused_steps == 0


def test_there_are_sixty_faults_and_no_two_are_the_same():
    """By name and by what happens on the wire."""
    assert len(FAULTS) >= 60
    assert len({fault.name for fault in FAULTS}) == len({fault.wire for fault in FAULTS}) == len(FAULTS)


def test_the_page_is_what_the_matrix_says():
    """Written here, from what the tests above hold the package to; in CI one that was not committed is a failure."""
    page = to_page(GROUPS)
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if page != old:
        if os.environ.get("CI"):
            pytest.fail("docs/faults.md is not what the tests say: run tests/test_faults.py and commit it")
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page, encoding="utf-8")
