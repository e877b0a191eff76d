"""How long each stage may take: positive seconds or no bound."""

from __future__ import annotations

import dataclasses
import math
import pickle
import re
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_cerebras_demo.policy import Timeout

STAGES = ["connect", "first_event", "idle", "total"]
NO_BOUNDS = [0, 0.0, -0.0, -1, math.nan, math.inf, -math.inf, 10**400]
NO_NUMBERS = ["60", True, False, b"1", (5, 60), [5], Decimal(5), 1j]


def test_the_defaults_bound_each_stage_and_not_the_whole_call():
    """A long answer that keeps coming is no failure."""
    assert Timeout() == Timeout(connect=60.0, first_event=60.0, idle=60.0, total=None)
    assert [field.name for field in dataclasses.fields(Timeout)] == STAGES


@pytest.mark.parametrize("number", [5, 0.001, 1e-300, sys.float_info.max])
def test_a_plain_number_bounds_connecting_the_first_event_and_the_gaps(number):
    """The whole call stays unbounded."""
    assert Timeout.from_value(number) == Timeout(connect=number, first_event=number, idle=number, total=None)


def test_none_is_no_bound_at_all():
    """As `None` for each stage."""
    assert Timeout.from_value(None) == Timeout(connect=None, first_event=None, idle=None, total=None)


def test_a_timeout_is_taken_as_it_is():
    """The very object."""
    given_timeout = Timeout(total=5)
    assert Timeout.from_value(given_timeout) is given_timeout


@pytest.mark.parametrize("given_timeout", [Timeout(connect=5, total=None), Timeout(5, None, 0.5, 9), Timeout()])
def test_a_mapping_of_its_fields_is_the_same_timeout(given_timeout):
    """As a saved model has it."""
    assert Timeout.from_value(dataclasses.asdict(given_timeout)) == given_timeout
    assert Timeout.from_value({"connect": 5}) == Timeout(connect=5)


def test_an_unknown_name_in_a_mapping_is_refused_with_the_names_that_exist():
    """And the nearest of them."""
    with pytest.raises(
        ValueError,
        match=r"timeout\['conect'\] is not a limit: the limits are connect, first_event, idle, "
        r"total; did you mean 'connect'\?",
    ):
        Timeout.from_value({"conect": 5})
    with pytest.raises(
        ValueError, match=r"timeout\[7\] is not a limit: the limits are connect, first_event, idle, total$"
    ):
        Timeout.from_value({7: 5})
    with pytest.raises(ValueError, match=r"timeout\.idle=-1: give a positive number of seconds"):
        Timeout.from_value({"idle": -1})


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("bound", NO_BOUNDS)
def test_a_bound_that_is_not_positive_and_finite_is_refused_by_its_name(stage, bound):
    """None of them can be added to a clock."""
    with pytest.raises(ValueError, match=re.escape(f"timeout.{stage}={bound!r}: give a positive number of seconds")):
        Timeout(**{stage: bound})


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("bound", [*NO_NUMBERS, {"connect": 5}])
def test_a_bound_that_is_no_number_is_refused_by_its_name(stage, bound):
    """A bool is not a number, and a tuple or a string is not interpreted."""
    with pytest.raises(TypeError, match=re.escape(f"timeout.{stage}={bound!r} is not a number of seconds")):
        Timeout(**{stage: bound})


@pytest.mark.parametrize("value", [*NO_BOUNDS, *NO_NUMBERS], ids=lambda value: repr(value)[:20])
def test_what_is_neither_a_number_nor_a_timeout_is_refused(value):
    """`timeout` itself is named, and no stage that the user never wrote."""
    with pytest.raises((TypeError, ValueError), match=r"^timeout=.*give a"):
        Timeout.from_value(value)


@given(st.floats())
def test_any_float_is_a_bound_exactly_if_positive_and_finite(bound):
    """Whatever a computation of the user's came to."""
    if bound > 0 and math.isfinite(bound):
        assert Timeout(idle=bound).idle == bound
    else:
        with pytest.raises(ValueError, match=r"^timeout\.idle="):
            Timeout(idle=bound)


def test_a_timeout_cannot_be_changed_and_travels():
    """Models share it, hash it and send it to other processes."""
    timeout = Timeout(total=5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        timeout.total = 6
    assert pickle.loads(pickle.dumps(timeout)) == timeout
    assert hash(timeout) == hash(Timeout(total=5))
