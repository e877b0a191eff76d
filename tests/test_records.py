"""The record of what the service last said of its rate limits."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from langchain_cerebras_demo import RateLimitSnapshot
from langchain_cerebras_demo.records import AnnouncedLimit, Limit
from tests.support.announcements import announce


def test_a_limit_is_its_name_in_words():
    """It compares, hashes, prints and travels as that."""
    limit = Limit.REQUESTS_PER_MINUTE
    assert limit == "requests per minute"
    assert f"{limit}" == str(limit) == "requests per minute"
    assert {limit: 1}["requests per minute"] == 1
    assert pickle.loads(pickle.dumps(limit)) is limit


def test_a_window_has_a_unit_and_a_period_and_nothing_else_has():
    """Requests and tokens, a second, a minute, an hour and a day."""
    windows = [limit for limit in Limit if limit.unit]
    assert {(limit.unit, limit.period) for limit in windows} == {
        (unit, period) for unit in ("requests", "tokens") for period in ("second", "minute", "hour", "day")
    }
    assert Limit.TOKENS_PER_HOUR.seconds == 3600
    for other in set(Limit) - set(windows):
        assert (other.unit, other.period, other.seconds) == (None, None, 0)


def test_a_snapshot_tells_what_was_announced_of_a_limit_by_its_name():
    """And nothing of the others."""
    snapshot = announce(requests_minute=(5, 4), tokens_day=(1000, 10, 3600.0))
    assert snapshot["requests per minute"] == AnnouncedLimit(Limit.REQUESTS_PER_MINUTE, 5, 4, None)
    assert snapshot[Limit.TOKENS_PER_DAY].reset == 3600.0
    assert snapshot["tokens per hour"] == AnnouncedLimit(Limit.TOKENS_PER_HOUR)
    with pytest.raises(ValueError, match="per fortnight"):
        snapshot["requests per fortnight"]


def test_the_figures_of_the_older_form_keep_their_names():
    """Six attributes."""
    snapshot = announce(requests_day=(1, 2, 3.5), tokens_minute=(4, 5, 6.5))
    day = (snapshot.limit_requests_day, snapshot.remaining_requests_day, snapshot.reset_requests_day)
    minute = (snapshot.limit_tokens_minute, snapshot.remaining_tokens_minute, snapshot.reset_tokens_minute)
    assert (*day, *minute) == (1, 2, 3.5, 4, 5, 6.5)
    assert RateLimitSnapshot().limit_requests_day is None


def test_a_snapshot_is_true_as_soon_as_one_figure_was_announced():
    """A zero is a figure: nothing is left."""
    assert announce(tokens_hour=(None, 0))
    assert not RateLimitSnapshot()


def test_a_snapshot_cannot_be_changed():
    """It says what was; the next answer brings another."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        RateLimitSnapshot().windows = ()


def test_a_snapshot_compares_copies_and_travels():
    """It hangs on exceptions, which are pickled; when it came does not count."""
    snapshot = announce(requests_day=(5,), tokens_minute=(None, None, 1.5))
    assert snapshot != announce(requests_day=(5,))
    assert snapshot == announce(5.0, requests_day=(5,), tokens_minute=(None, None, 1.5))
    for other in (pickle.loads(pickle.dumps(snapshot)), copy.copy(snapshot), copy.deepcopy(snapshot)):
        assert other == snapshot
        assert hash(other) == hash(snapshot)
