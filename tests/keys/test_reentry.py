"""A resolver that raises, blocks, returns nothing or asks itself ends in one clear error."""

from __future__ import annotations

import asyncio

import pytest

from langchain_cerebras_demo.errors import KeyFormatError, MissingKeyError
from langchain_cerebras_demo.keys import CallableKey, ChainKeyResolver, Secret, resolve_secret


class Source:
    """A resolver of the user's own that does what a test says."""

    name = "mine"

    def __init__(self, action=None):
        self.action = action

    async def resolve(self):
        return await self.action()


def reentered(how):
    source = Source()
    chain = ChainKeyResolver([source])

    async def explain():
        report = (await chain.aexplain())[0]
        return report.why

    async def explain_in_a_thread():
        return chain.explain()[0].why

    async def in_a_task():
        return await asyncio.create_task(chain.resolve())

    async def in_a_thread():
        return await asyncio.to_thread(lambda: asyncio.run(chain.resolve()))

    async def through_another():
        return (await resolve_secret(CallableKey(chain.resolve))).reveal()

    actions = {
        "the chain": chain.resolve,
        "a task": in_a_task,
        "a thread": in_a_thread,
        "another source": through_another,
        "explain": explain,
        "explain in a thread": explain_in_a_thread,
    }
    source.action = actions[how]
    return chain


@pytest.mark.parametrize("how", ["the chain", "a task", "a thread", "another source"])
async def test_a_resolver_that_asks_itself_is_stopped(how):
    """At the second question, by its name, and not by the interpreter's depth."""
    with pytest.raises(RuntimeError, match="asks itself for the key: a resolver must not use the model") as caught:
        await asyncio.wait_for(reentered(how).resolve(), 5)
    assert not isinstance(caught.value, RecursionError)


@pytest.mark.parametrize("how", ["explain", "explain in a thread"])
async def test_a_resolver_that_explains_its_own_chain_is_stopped_too(how):
    """The inner report says that it failed, and what it returned of it is no key."""
    with pytest.raises(KeyFormatError):
        await asyncio.wait_for(reentered(how).resolve(), 5)


async def test_a_resolver_may_be_asked_by_many_at_once():
    """Concurrent calls are no re-entry."""
    gate = asyncio.Event()

    async def wait():
        await gate.wait()
        return "key"

    chain = ChainKeyResolver([Source(wait)])
    calls = [asyncio.create_task(chain.resolve()) for _ in range(20)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*calls) == ["key"] * 20


async def test_a_task_that_outlives_the_question_may_ask_again():
    """As one that renews a key in the background."""
    gate, tasks = asyncio.Event(), []

    async def start():
        if not tasks:
            tasks.append(asyncio.create_task(later()))
        return "key"

    source = Source(start)

    async def later():
        await gate.wait()
        return await resolve_secret(source)

    assert (await resolve_secret(source)).reveal() == "key"
    gate.set()
    assert (await tasks[0]).matches(Secret("key", "test"))


async def test_one_source_may_stand_twice_in_a_chain():
    """One after the other is no re-entry."""

    async def nothing():
        raise MissingKeyError("none")

    source = Source(nothing)
    with pytest.raises(MissingKeyError) as caught:
        await ChainKeyResolver([source, source]).resolve()
    assert len(caught.value.tried) == 2


async def test_after_an_error_a_resolver_may_be_asked_again():
    """The guard is gone with the question."""
    outcomes = [ZeroDivisionError(), "key"]

    async def act():
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    source = Source(act)
    with pytest.raises(ZeroDivisionError):
        await resolve_secret(source)
    assert (await resolve_secret(source)).reveal() == "key"


async def test_a_resolver_that_blocks_for_ever_can_be_left():
    """Its caller's timeout reaches it, and it may be asked again."""
    source = Source(asyncio.Event().wait)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(ChainKeyResolver([source]).resolve(), 0.02)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(ChainKeyResolver([source]).resolve(), 0.02)


@pytest.mark.parametrize(("given", "kind"), [(None, MissingKeyError), ("a\n", KeyFormatError), (5, KeyFormatError)])
async def test_what_is_no_key_is_an_error_by_the_resolvers_name(given, kind):
    """``None``, a line break, a number."""

    async def give():
        return given

    with pytest.raises(kind, match="mine"):
        await ChainKeyResolver([Source(give)]).resolve()
