"""``explain`` says of each source what it found, and never a character of a key."""

from __future__ import annotations

import asyncio

import pytest

from langchain_cerebras_demo.keys import MARK, AbsentKey, CallableKey, ChainKeyResolver, EnvKey, StaticKey

SECRET = "csk-never-shown"


class Broken:
    """A source whose own words may hold anything."""

    name = "vault"

    async def resolve(self):
        raise RuntimeError(f"refused {SECRET}")


def states(reports):
    return [(report.source, report.state) for report in reports]


def test_each_source_is_told_in_order_and_the_first_with_a_key_is_used(monkeypatch):
    """Those before it say why they had none and what to do, those behind it are not asked."""
    monkeypatch.setenv("MY_KEY", "other")
    chain = ChainKeyResolver([AbsentKey("vault", "closed", "Open it."), StaticKey(SECRET), EnvKey("MY_KEY")])
    reports = chain.explain()
    assert states(reports) == [("vault", "has none"), ("api_key", "used"), ("MY_KEY", "not asked")]
    assert (reports[0].why, reports[0].remedy) == ("closed", "Open it.")
    assert reports[1].found == MARK
    assert reports[2].why == "api_key comes first"
    assert SECRET not in repr(reports)
    assert SECRET not in repr([report.to_dict() for report in reports])


def test_a_source_that_fails_ends_the_chain_and_its_words_are_not_repeated():
    """As a call would: nothing steps in behind a failure. Somebody else's words may hold the key."""
    reports = ChainKeyResolver([Broken(), StaticKey(SECRET)]).explain()
    assert states(reports) == [("vault", "failed"), ("api_key", "not asked")]
    assert reports[0].why == "it raised RuntimeError"
    assert SECRET not in repr(reports)


async def test_it_may_be_asked_inside_a_running_loop():
    """A notebook has one: ``explain`` runs in a loop of its own, ``aexplain`` in this one."""
    chain = ChainKeyResolver([EnvKey("NOT_SET"), StaticKey(SECRET)])
    assert chain.explain() == await chain.aexplain()


async def test_a_callables_key_may_be_kept_for_a_while():
    """It is asked for once however many wait, and again at once when the service refuses it."""
    asked = []

    async def ask():
        asked.append(1)
        await asyncio.sleep(0)
        return f"key-{len(asked)}"

    source = CallableKey(ask, keep_for=3600)
    assert set(await asyncio.gather(*(source.resolve() for _ in range(200)))) == {"key-1"}
    assert await source.refresh("key-1") == "key-2"
    assert await source.refresh("key-1") == "key-2"  # another call's refusal of the old one
    assert len(asked) == 2


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused_by_name(seconds):
    """With the value."""
    with pytest.raises(ValueError, match="keep_for="):
        CallableKey(lambda: SECRET, keep_for=seconds)
