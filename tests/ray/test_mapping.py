"""``ray_map_chat``: models that hold a key are refused, and which limits are shared."""

from __future__ import annotations

import pickle

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo, RateLimit
from langchain_cerebras_demo.errors import KeyHostError
from langchain_cerebras_demo.keys import CallableKey, StaticKey

pytest.importorskip("ray", reason="Ray Data is not installed: pip install 'langchain-cerebras-demo[ray]'")

from langchain_cerebras_demo.ray.mapping import to_model

KEY = "csk-explicit-0123456789ab"


@pytest.mark.parametrize(
    "given",
    [
        {"api_key": KEY},
        {"api_key": lambda: KEY},
        {"cookies": {"session": "abc"}},
        {"key_resolver": CallableKey(lambda: KEY)},
        {"default_headers": {"X-Key": KEY}},
    ],
    ids=lambda given: next(iter(given)),
)
def test_a_model_that_holds_a_key_is_refused(given):
    """By an error that says where the key is to be put, and does not show it."""
    with pytest.raises(KeyHostError, match=r"environment of `ray start`.*KeyFile") as refused:
        to_model(ChatCerebrasDemo(**given), "auto")
    assert KEY not in str(refused.value)


def test_a_resolver_that_drops_its_key_travels_without_it():
    """``StaticKey`` leaves its key at home; nothing that is pickled holds it."""
    model, _ = to_model(ChatCerebrasDemo(key_resolver=StaticKey(KEY)), "auto")
    assert KEY.encode() not in pickle.dumps(model)


@pytest.mark.parametrize(
    ("own", "given", "expected", "is_shared"),
    [
        ("auto", "auto", RateLimit(), False),
        ("auto", {"requests_per_minute": 60}, RateLimit(60), True),
        (RateLimit(60), "auto", RateLimit(60), True),
        (RateLimit(60), RateLimit(tokens_per_minute=9), RateLimit(tokens_per_minute=9), True),
        (RateLimit(60), None, None, False),
    ],
)
def test_numbers_are_shared_and_what_the_service_announces_is_not(own, given, expected, is_shared):
    """The argument goes over the model's own; ``None`` paces nothing."""
    model, shared = to_model(ChatCerebrasDemo(rate_limit=own), given)
    assert (model.rate_limit, shared) == (expected, is_shared)
