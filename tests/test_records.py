"""The record of what the service last said of its rate limits."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from langchain_cerebras_demo import RateLimitSnapshot

FIELDS = [
    "limit_requests_day",
    "remaining_requests_day",
    "reset_requests_day",
    "limit_tokens_minute",
    "remaining_tokens_minute",
    "reset_tokens_minute",
]


def test_a_snapshot_holds_six_figures_and_each_may_be_missing():
    """The six documented headers, under their own names."""
    assert [field.name for field in dataclasses.fields(RateLimitSnapshot)] == FIELDS
    assert all(getattr(RateLimitSnapshot(), name) is None for name in FIELDS)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("figure", [0, 5])
def test_a_snapshot_is_true_as_soon_as_one_figure_was_announced(name, figure):
    """A zero is a figure: nothing is left."""
    assert RateLimitSnapshot(**{name: figure})
    assert not RateLimitSnapshot()


@pytest.mark.parametrize("name", FIELDS)
def test_a_snapshot_cannot_be_changed(name):
    """It says what was; the next answer brings another."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(RateLimitSnapshot(), name, 5)


def test_a_snapshot_compares_copies_and_travels():
    """It hangs on exceptions, which are pickled."""
    snapshot = RateLimitSnapshot(limit_requests_day=5, reset_tokens_minute=1.5)
    assert snapshot != RateLimitSnapshot(limit_requests_day=5)
    for other in (pickle.loads(pickle.dumps(snapshot)), copy.copy(snapshot), copy.deepcopy(snapshot)):
        assert other == snapshot
        assert hash(other) == hash(snapshot)
