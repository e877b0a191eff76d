"""The plain sources: a key as it is, a callable, the environment."""

from __future__ import annotations

import asyncio
import copy
import functools
import os
import pickle
import threading
from contextvars import ContextVar

import pytest
from pydantic import SecretStr

from langchain_cerebras_demo.errors import KeyFormatError, MissingKeyError
from langchain_cerebras_demo.keys import (
    API_KEY_VARIABLE,
    MARK,
    AbsentKey,
    CallableKey,
    ChainKeyResolver,
    DroppedKey,
    EnvKey,
    SessionCookieKey,
    StaticKey,
    peek_secret,
    refresh_secret,
    resolve_secret,
    sources,
)
from langchain_cerebras_demo.keys.secret import to_key
from tests.support.leaks import all_that_shows

SENTINEL = "csk-never-shown"
tenant: ContextVar[str] = ContextVar("tenant")
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.mark.parametrize("given", [SENTINEL, SecretStr(SENTINEL)])
async def test_a_static_key_is_the_key_as_given(given):
    """A str or a ``SecretStr``, and the same for every request."""
    source = StaticKey(given)
    assert [await source.resolve() for _ in range(3)] == [SENTINEL] * 3
    assert repr(source) == str(source) == f"StaticKey({MARK})"


@pytest.mark.parametrize("kept", ['"{}"', "Bearer {}", "export CEREBRAS_API_KEY={}", "{} # mine"])
async def test_a_variable_that_holds_more_than_the_key_is_named(monkeypatch, kept):
    """It was copied along from a file or a page; it is not sent, and not shown."""
    monkeypatch.setenv(API_KEY_VARIABLE, f" {kept.format(SENTINEL)}\n")
    with pytest.raises(KeyFormatError, match=f"the key from {API_KEY_VARIABLE} has .*: pass the key alone") as caught:
        await EnvKey().resolve()
    assert SENTINEL not in str(caught.value)


async def test_a_refused_static_key_has_no_other_in_its_place():
    """The same key is returned, so the 401 is raised: an explicit key is never replaced by another."""
    stale = to_key(SENTINEL, "api_key")
    assert (await refresh_secret(StaticKey(SENTINEL), stale)).matches(stale)


def test_a_static_key_that_is_none_is_refused_at_once():
    """At construction and by name, not at the first request."""
    with pytest.raises(KeyFormatError, match="the key from my_field is empty"):
        StaticKey("", name="my_field")


class Counter:
    """A callable source that gives another key each time."""

    def __init__(self, wrap=lambda key: key):
        self.calls = 0
        self._wrap = wrap

    def __call__(self):
        self.calls += 1
        return self._wrap(f"key-{self.calls}")

    async def later(self):
        await asyncio.sleep(0)
        return self()

    def future(self):
        return asyncio.ensure_future(self.later())


@pytest.mark.parametrize("kind", ["__call__", "later", "future"])
@pytest.mark.parametrize("wrap", [str, SecretStr])
async def test_a_callable_is_asked_again_for_every_request(kind, wrap):
    """Sync, async, or a plain function that returns an awaitable; of a str or a ``SecretStr``."""
    source = CallableKey(getattr(Counter(wrap), kind), quick=kind == "future")  # which needs the running loop
    assert [await source.resolve() for _ in range(3)] == ["key-1", "key-2", "key-3"]


async def test_a_refused_key_of_a_callable_makes_it_be_asked_once_more():
    """The callable may have a newer key by then, which is used."""
    counter = Counter()
    source = CallableKey(counter)
    stale = await resolve_secret(source)
    assert (await refresh_secret(source, stale)).reveal() == "key-2"
    assert counter.calls == 2


async def test_ten_calls_ask_a_function_that_blocks_at_once_and_the_loop_runs_on():
    """Each waits until all ten have begun and the loop has let them go."""
    together, go = threading.Barrier(11), threading.Event()

    def blocks():
        together.wait(10)
        assert go.wait(10)
        return f"key-{threading.get_ident()}"

    source = CallableKey(blocks)
    calls = [asyncio.create_task(source.resolve()) for _ in range(10)]
    await asyncio.sleep(0)
    together.wait(10)  # on the loop, which has started ten threads by now
    go.set()
    assert len(set(await asyncio.gather(*calls))) == 10


async def test_calls_at_once_have_the_key_of_their_own_context():
    """A function may look up whose call it is: no tenant gets another's key."""
    together = threading.Barrier(5)

    def of_tenant():
        together.wait(10)
        return f"key-{tenant.get()}"

    async def call(name):
        tenant.set(name)
        return await source.resolve()

    source = CallableKey(of_tenant)
    assert await asyncio.gather(*map(call, "abcde")) == [f"key-{name}" for name in "abcde"]


class AsyncCallable:
    async def __call__(self):
        return f"key-{threading.get_ident()}"


async def of_this_thread():
    return f"key-{threading.get_ident()}"


@pytest.mark.parametrize(
    ("function", "quick", "on_loop"),
    [
        (lambda: f"key-{threading.get_ident()}", False, False),
        (lambda: f"key-{threading.get_ident()}", True, True),
        (of_this_thread, False, True),
        (functools.partial(of_this_thread), False, True),
        (AsyncCallable(), False, True),
    ],
    ids=["plain", "quick", "async", "partial", "object"],
)
async def test_only_functions_that_may_block_run_in_a_thread(function, quick, on_loop):
    """Not those that are async, nor those that are said to be quick."""
    key = await CallableKey(function, quick=quick).resolve()
    assert (key == f"key-{threading.get_ident()}") is on_loop


async def test_a_function_that_hangs_takes_a_bounded_number_of_threads(monkeypatch):
    """Callers that give up leave their threads behind: the next one waits for one of them to end."""
    monkeypatch.setattr(sources, "_MOST_THREADS", 2)
    begun, go = threading.Semaphore(0), threading.Event()
    calls = 0

    def hangs():
        nonlocal calls
        calls += 1
        begun.release()
        assert go.wait(10)
        return "the-key"

    source = CallableKey(hangs)
    left = [asyncio.create_task(source.resolve()) for _ in range(2)]
    for _ in left:
        assert await asyncio.to_thread(begun.acquire, timeout=10)
    for task in left:
        task.cancel()
    later = asyncio.create_task(source.resolve())
    await asyncio.wait(left)
    for _ in range(10):
        await asyncio.sleep(0)
    assert (calls, later.done()) == (2, False)
    go.set()
    assert await later == "the-key"
    assert calls == 3


class VaultError(Exception):
    """An exception of the user's own."""


@pytest.mark.parametrize("kind", [VaultError, KeyboardInterrupt, OSError, MissingKeyError])
@pytest.mark.parametrize("later", [False, True])
async def test_what_a_callable_raises_goes_through(kind, later):
    """The very object, not wrapped: the user's code knows its own exceptions."""
    error = kind("the vault is closed")

    def fails():
        raise error

    async def fails_later():
        await asyncio.sleep(0)
        raise error

    with pytest.raises(kind) as caught:
        await CallableKey(fails_later if later else fails).resolve()
    assert caught.value is error


@pytest.mark.parametrize("given", [None, 5, b"key"])
async def test_what_a_callable_returns_has_to_be_a_key(given):
    """The message names the argument and the type that came."""
    with pytest.raises(KeyFormatError, match=f"the key from api_key is a {type(given).__name__}, not a str"):
        await CallableKey(lambda: given).resolve()


@pytest.mark.parametrize("wrong", [None, 5, [SENTINEL]])
def test_a_source_that_cannot_be_called_is_refused(wrong):
    """The message names the argument and the type, and not what is in it."""
    with pytest.raises(TypeError, match=f"my_field is a {type(wrong).__name__}") as caught:
        CallableKey(wrong, name="my_field")
    assert SENTINEL not in str(caught.value)


def test_a_callable_source_shows_its_name_and_no_argument():
    """A ``partial`` may hold a key."""
    assert SENTINEL not in repr(CallableKey(functools.partial(str, SENTINEL)))
    assert "Counter.later" in repr(CallableKey(Counter().later))


async def test_a_pickled_callable_source_is_as_quick_as_it_was():
    """The pickle of an earlier version, which says nothing of it, is not."""
    for quick in (True, False):
        source = pickle.loads(pickle.dumps(CallableKey(name_of_thread, quick=quick)))
        assert (await source.resolve() == name_of_thread()) is quick
    rebuild, (function, name, keep_for, _) = CallableKey(name_of_thread).__reduce__()
    assert await rebuild(function, name, keep_for).resolve() == "api_key"


def name_of_thread():
    return threading.current_thread().name


async def test_the_environment_is_read_each_time(monkeypatch):
    """A key that is set, changed or removed while the process runs counts from the next request."""
    source = EnvKey()
    with pytest.raises(MissingKeyError):
        await source.resolve()
    monkeypatch.setenv(API_KEY_VARIABLE, "first")
    assert await source.resolve() == "first"
    monkeypatch.setenv(API_KEY_VARIABLE, "second")
    assert await source.resolve() == "second"
    monkeypatch.delenv(API_KEY_VARIABLE)
    with pytest.raises(MissingKeyError):
        await source.resolve()


@pytest.mark.parametrize("value", [f" {SENTINEL}", f"{SENTINEL}\n", f"\t{SENTINEL} \r\n"])
async def test_white_space_around_a_key_of_the_environment_is_dropped(monkeypatch, value):
    """It comes from files and shells, and no key has any."""
    monkeypatch.setenv(API_KEY_VARIABLE, value)
    assert await EnvKey().resolve() == SENTINEL


@pytest.mark.parametrize("value", ["", " ", "\n", " \t\r\n"])
async def test_an_empty_variable_counts_as_none(monkeypatch, value):
    """CI systems and compose files write 'not set' like this; the message differs, to help users who think that it is set."""
    monkeypatch.setenv(API_KEY_VARIABLE, value)
    with pytest.raises(MissingKeyError) as caught:
        await EnvKey().resolve()
    assert caught.value.tried == ((API_KEY_VARIABLE, "set, but empty"),)
    assert API_KEY_VARIABLE in str(caught.value)


async def test_a_wrong_key_of_the_environment_is_named_by_its_variable(monkeypatch):
    """An error and not a missing key: somebody meant it."""
    monkeypatch.setenv("MY_KEY", f"{SENTINEL} {SENTINEL}")
    with pytest.raises(KeyFormatError, match="the key from MY_KEY has a space") as caught:
        await EnvKey("MY_KEY").resolve()
    assert SENTINEL not in all_that_shows(caught.value)


async def test_a_refused_key_of_the_environment_is_read_again(monkeypatch):
    """The same key stays an error; a variable that is not set cannot have been where the refused key came from."""
    monkeypatch.setenv(API_KEY_VARIABLE, "first")
    assert await EnvKey().refresh("first") == "first"
    monkeypatch.delenv(API_KEY_VARIABLE)
    with pytest.raises(MissingKeyError):
        await EnvKey().refresh("of another source")


class ReadingList(dict):
    """An environment that notes which variables were read."""

    def __init__(self, content):
        super().__init__(content)
        self.read = []

    def __getitem__(self, name):
        self.read.append(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self.read.append(name)
        return super().get(name, default)


async def test_no_variable_of_another_vendor_is_ever_read(monkeypatch):
    """A key of theirs must not leave for Cerebras: only our own variable is looked at."""
    names = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY", "API_KEY", "OPENAI_ORG_ID", "CEREBRAS_API_KEY_OLD"]
    variables = ReadingList({**os.environ, **dict.fromkeys(names, SENTINEL)})
    monkeypatch.setattr(os, "environ", variables)
    with pytest.raises(MissingKeyError):
        await EnvKey().resolve()
    variables[API_KEY_VARIABLE] = "ours"
    assert await EnvKey().resolve() == "ours"
    assert set(variables.read) == {API_KEY_VARIABLE}


SOURCES = {
    "api_key": StaticKey(SENTINEL),
    "my_field": StaticKey(SENTINEL, name="my_field"),
    "cookies": SessionCookieKey({"next-auth.session-token": SENTINEL}),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_copy_in_the_process_shares_the_key(name):
    """``copy``, ``deepcopy`` and what does them (model_copy, with_config): the same object, so one key and one request."""
    source = SOURCES[name]
    assert copy.copy(source) is source
    assert copy.deepcopy({"key": source})["key"] is source


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_pickle_drops_the_key_and_the_copy_says_so(name, protocol):
    """The bytes hold nothing of it, and the copy's error names what was dropped and what to do."""
    pickled = pickle.dumps(SOURCES[name], protocol)
    assert SENTINEL.encode() not in pickled
    dropped = pickle.loads(pickled)
    assert isinstance(dropped, DroppedKey)
    assert repr(dropped) == f"DroppedKey({name!r})"
    with pytest.raises(MissingKeyError, match=f"{name}: it was dropped when the object was pickled") as caught:
        await dropped.resolve()
    assert [source for source, _ in caught.value.tried] == [name]
    with pytest.raises(MissingKeyError):
        await pickle.loads(pickle.dumps(dropped, protocol)).resolve()


async def test_a_pickled_environment_source_reads_the_environment_of_where_it_wakes_up(monkeypatch):
    """It holds a name and no key, so that workers bring keys of their own."""
    monkeypatch.setenv("MY_KEY", SENTINEL)
    pickled = pickle.dumps(EnvKey("MY_KEY"))
    assert SENTINEL.encode() not in pickled
    monkeypatch.setenv("MY_KEY", "the worker's")
    with pytest.raises(KeyFormatError):
        await pickle.loads(pickled).resolve()
    monkeypatch.setenv("MY_KEY", "of-the-worker")
    assert await pickle.loads(pickled).resolve() == "of-the-worker"


def test_a_key_that_is_at_hand_is_found_without_waiting(monkeypatch):
    """A given key and the environment answer at once, in the order of the chain; the environment's is read anew each time."""
    monkeypatch.setenv("CEREBRAS_API_KEY", "csk-first-of-all")
    chain = ChainKeyResolver([EnvKey(), StaticKey("csk-given-one")])
    found = peek_secret(chain)
    assert found.reveal() == "csk-first-of-all"
    assert peek_secret(chain) is found
    monkeypatch.setenv("CEREBRAS_API_KEY", "csk-the-second")
    assert peek_secret(chain).reveal() == "csk-the-second"
    monkeypatch.setenv("CEREBRAS_API_KEY", " ")
    assert peek_secret(chain).reveal() == "csk-given-one"


def test_a_source_that_may_wait_is_not_passed_over():
    """Neither a source of the user's own nor a subclass of ours is answered for; with no key at all the chain has to say why."""

    class Own(StaticKey):
        async def resolve(self) -> str:
            return "csk-of-the-subclass"

    static = StaticKey("csk-given-one")
    for first in (Own("csk-made-up"), CallableKey(lambda: "csk-made-up"), AbsentKey("session", "skipped")):
        assert peek_secret(first) is None
        assert peek_secret(ChainKeyResolver([first, static])) is None
    assert peek_secret(ChainKeyResolver([EnvKey("NO_SUCH_VARIABLE")])) is None


def test_an_environment_source_that_has_answered_can_be_pickled_without_its_key(monkeypatch):
    """The value that was checked stays in the process."""
    monkeypatch.setenv("CEREBRAS_API_KEY", "csk-first-of-all")
    source = EnvKey()
    assert peek_secret(source).reveal() == "csk-first-of-all"
    written = pickle.dumps(source)
    assert b"csk-first" not in written
    monkeypatch.setenv("CEREBRAS_API_KEY", "csk-the-second")
    assert peek_secret(pickle.loads(written)).reveal() == "csk-the-second"
    assert peek_secret(copy.copy(source)).reveal() == "csk-the-second"
