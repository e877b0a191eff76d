"""The chain of key sources: its order, who answers, who is asked again when a key was refused, and what it explains."""

from __future__ import annotations

import asyncio
import pickle

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.errors import KeyFormatError, MissingKeyError
from langchain_cerebras_demo.keys import (
    API_KEY_VARIABLE,
    HOW_TO_GET_A_KEY,
    MARK,
    AbsentKey,
    BrowserSessionKey,
    CallableKey,
    ChainKeyResolver,
    EnvKey,
    KeyResolver,
    Secret,
    SessionCookieKey,
    StaticKey,
    refresh_secret,
    resolve_secret,
)
from langchain_cerebras_demo.keys.chain import name_of, to_key_chain
from tests.support.scripted import ScriptedTransport, json_answer

API = "https://api.cerebras.ai/v1"
COOKIES = {"authjs.session-token": "never-shown"}


def names(chain):
    return [name_of(source) for source in chain.sources]


def test_the_order_is_the_documented_one():
    """Resolver, key, cookies, environment, browser."""
    chain = to_key_chain(API, key_resolver=StaticKey("a", name="mine"), api_key="b", cookies=COOKIES)
    assert names(chain) == ["mine", "api_key", "cookies", "CEREBRAS_API_KEY", "browser session"]


def test_a_browser_that_was_asked_for_stands_where_cookies_stand():
    """And is not asked a second time at the end."""
    chain = to_key_chain(API, cookies="browser")
    assert names(chain) == ["browser session", "CEREBRAS_API_KEY"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/v1", "https://gateway.example/v1", "http://api.cerebras.ai/v1", "local"]
)
def test_no_browser_is_looked_into_for_a_host_that_its_key_must_not_go_to(url):
    """Also where it would be automatic."""
    assert isinstance(to_key_chain(url, is_automatic=True).sources[-1], AbsentKey)


def test_the_chat_model_looks_into_no_browser_unasked(monkeypatch):
    """It may live in a server that answers strangers; its report says how to ask."""
    monkeypatch.setattr(BrowserSessionKey, "_read", lambda _: pytest.fail("it has looked"))
    report = ChatCerebrasDemo().explain_keys()[-1]
    assert (report.source, report.state, report.why) == ("browser session", "has none", "not enabled")
    assert 'cookies="browser"' in report.remedy


def test_the_variable_asks_for_it_in_the_chat_model(monkeypatch):
    """``CEREBRAS_DEMO_BROWSER=1``; 0 forbids it even where the code asks."""
    looked = []

    async def read(_):
        looked.append(1)
        raise TimeoutError

    pytest.importorskip("browser_cookie3", reason='needs the extra: pip install "langchain-cerebras-demo[browser]"')
    monkeypatch.setattr(BrowserSessionKey, "_read", read)
    monkeypatch.setenv("CEREBRAS_DEMO_BROWSER", "1")
    ChatCerebrasDemo().explain_keys()
    assert looked == [1]
    monkeypatch.setenv("CEREBRAS_DEMO_BROWSER", "0")
    ChatCerebrasDemo(cookies="browser").explain_keys()
    assert looked == [1]


STALE = Secret("stale", "test")


class Source:
    """A resolver of the user's own; gives its keys one after the other, raises the exceptions among them."""

    def __init__(self, *keys, name=None):
        self.keys = list(keys)
        self.asked = 0
        if name:
            self.name = name

    async def resolve(self):
        self.asked += 1
        key = self.keys.pop(0) if len(self.keys) > 1 else self.keys[0]
        if isinstance(key, BaseException):
            raise key
        return key


class Refreshing(Source):
    """One that also has ``refresh``."""

    def __init__(self, *keys, fresh):
        super().__init__(*keys)
        self.fresh = fresh
        self.stale = []

    async def refresh(self, stale):
        self.stale.append(stale)
        if isinstance(self.fresh, BaseException):
            raise self.fresh
        return self.fresh


def nothing(why="I have none"):
    return MissingKeyError(why)


def signed_in(*keys):
    """A session whose endpoint gives these demo keys one after the other."""
    transport = ScriptedTransport(*(json_answer({"user": {"demoApiKey": key}}) for key in keys))
    return SessionCookieKey({"next-auth.session-token": "t"}, transport=transport), transport


async def test_the_first_source_that_has_a_key_answers():
    """Earlier sources report that they have none; later ones are not asked."""
    sources = [Source(nothing()), Source("second"), Source("third")]
    assert await ChainKeyResolver(sources).resolve() == "second"
    assert [source.asked for source in sources] == [1, 1, 0]


async def test_every_source_is_asked_again_for_every_request():
    """A source that had no key may have one later."""
    chain = ChainKeyResolver([Source(nothing(), "now"), Source("other")])
    assert [await chain.resolve() for _ in range(3)] == ["other", "now", "now"]


async def test_what_was_tried_is_listed_in_order_with_what_to_do():
    """``tried`` for programs and the message for people: each source by name, why it had none, and the ways to a key."""
    sources = [Source(nothing("the vault is empty"), name="vault"), Source(None), EnvKey("MY_KEY"), Source(nothing())]
    with pytest.raises(MissingKeyError) as caught:
        await ChainKeyResolver(sources).resolve()
    assert [name for name, _ in caught.value.tried] == ["vault", "Source", "MY_KEY", "Source"]
    assert caught.value.tried[0] == ("vault", "the vault is empty")
    assert caught.value.tried[2] == ("MY_KEY", "not set")
    message = str(caught.value)
    places = [message.index(word) for word in ("vault: the vault is empty", "Source: None", "MY_KEY: not set")]
    assert places == sorted(places)
    assert f"{HOW_TO_GET_A_KEY} Set it: export MY_KEY=…" in message


async def test_each_remedy_is_given_once_and_the_browser_session_last():
    """The variable, the argument, the embedded model; then the session, which is the exception."""
    inner = ChainKeyResolver([EnvKey(), AbsentKey("browser", "not enabled", "Set CEREBRAS_DEMO_BROWSER=1.")])
    with pytest.raises(MissingKeyError) as caught:
        await ChainKeyResolver([EnvKey(), inner]).resolve()
    assert caught.value.remedy == f"{HOW_TO_GET_A_KEY} Set CEREBRAS_DEMO_BROWSER=1."
    assert str(caught.value).count("base_url=") == 1


async def test_a_chain_in_a_chain_lists_its_own_sources():
    """What was tried is a flat list, however it was put together."""
    inner = ChainKeyResolver([EnvKey("A_KEY"), EnvKey("B_KEY")])
    with pytest.raises(MissingKeyError) as caught:
        await ChainKeyResolver([inner, EnvKey("C_KEY")]).resolve()
    assert [name for name, _ in caught.value.tried] == ["A_KEY", "B_KEY", "C_KEY"]


async def test_an_empty_chain_says_that_no_source_was_given():
    """And what to do."""
    with pytest.raises(MissingKeyError, match="no source was given") as caught:
        await ChainKeyResolver([]).resolve()
    assert caught.value.tried == ()
    assert HOW_TO_GET_A_KEY in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("the vault is closed"), KeyFormatError("cut"), KeyboardInterrupt()])
async def test_any_other_exception_ends_the_chain(error):
    """A failed source may still have a key, so the next one's could be the wrong key."""
    behind = Source("other")
    with pytest.raises(type(error)) as caught:
        await ChainKeyResolver([Source(error), behind]).resolve()
    assert caught.value is error
    assert behind.asked == 0


async def test_a_key_that_is_none_ends_the_chain_by_the_name_of_its_source():
    """An unusable key was meant: it is an error of that source, and not of the chain."""
    behind = Source("other")
    with pytest.raises(KeyFormatError, match="the key from vault has a line break"):
        await ChainKeyResolver([Source("a\n", name="vault"), behind]).resolve()
    assert behind.asked == 0


@pytest.mark.parametrize("in_chain", [False, True])
async def test_a_resolver_that_returns_none_has_no_key(in_chain):
    """As if it had raised ``MissingKeyError``; in a chain the next source is asked."""
    source = Source(None, name="vault")
    with pytest.raises(MissingKeyError) as caught:
        await resolve_secret(ChainKeyResolver([source]) if in_chain else source)
    assert caught.value.tried == (("vault", "None"),)
    assert await ChainKeyResolver([source, Source("other")]).resolve() == "other"


@pytest.mark.parametrize("in_chain", [False, True])
@pytest.mark.parametrize("wrong", [5, b"key", ["key"], object()])
async def test_a_resolver_that_returns_no_str_is_named(wrong, in_chain):
    """With the type that came."""
    source = Source(wrong, name="vault")
    with pytest.raises(KeyFormatError, match=f"the key from vault is a {type(wrong).__name__}, not a str"):
        await resolve_secret(ChainKeyResolver([source]) if in_chain else source)


@pytest.mark.parametrize("wrong", ["csk-key", None, 5, object(), lambda: "key"])
def test_an_object_without_resolve_is_no_source(wrong):
    """Refused when the chain is made, by its type and not by what is in it."""
    with pytest.raises(TypeError, match=f"{type(wrong).__name__} is not a key source") as caught:
        ChainKeyResolver([Source("key"), wrong])
    assert "csk-key" not in str(caught.value)


def test_our_own_sources_and_the_chain_satisfy_the_protocol():
    """And so does any object with ``async def resolve``."""
    sources = [StaticKey("key"), CallableKey(str), EnvKey(), signed_in()[0], ChainKeyResolver([]), Source("key")]
    assert all(isinstance(source, KeyResolver) for source in sources)


def test_a_chain_shows_the_names_of_its_sources():
    """And no key."""
    chain = ChainKeyResolver([StaticKey("csk-key"), EnvKey(), Source("csk-key")])
    assert repr(chain) == "ChainKeyResolver(api_key, CEREBRAS_API_KEY, Source)"


async def test_a_pickled_chain_keeps_its_sources_and_drops_their_keys(monkeypatch):
    """The copy asks the environment of its own process, and reports what was dropped if that has no key."""
    chain = pickle.loads(pickle.dumps(ChainKeyResolver([StaticKey("csk-key"), EnvKey()])))
    with pytest.raises(MissingKeyError, match="api_key: it was dropped") as caught:
        await chain.resolve()
    assert [name for name, _ in caught.value.tried] == ["api_key", API_KEY_VARIABLE]
    monkeypatch.setenv(API_KEY_VARIABLE, "of-the-worker")
    assert await chain.resolve() == "of-the-worker"


async def test_a_refused_explicit_key_never_falls_through(monkeypatch):
    """Neither the environment nor a session is asked in its place: the 401 is the news."""
    monkeypatch.setenv(API_KEY_VARIABLE, "of-the-environment")
    session, transport = signed_in("demo")
    chain = ChainKeyResolver([StaticKey("explicit"), EnvKey(), session])
    stale = await resolve_secret(chain)
    assert (await refresh_secret(chain, stale)).reveal() == "explicit"
    assert transport.requests == []


async def test_a_refused_key_of_the_environment_never_falls_through(monkeypatch):
    """A session's demo key is not used instead."""
    monkeypatch.setenv(API_KEY_VARIABLE, "of-the-environment")
    session, transport = signed_in("demo")
    chain = ChainKeyResolver([EnvKey(), session])
    stale = await resolve_secret(chain)
    assert (await refresh_secret(chain, stale)).reveal() == "of-the-environment"
    assert transport.requests == []


async def test_a_refused_key_of_a_callable_is_asked_for_once_more():
    """Only by that callable, whether or not it has another key."""
    source, behind = Source("first", "second"), Source("other")
    chain = ChainKeyResolver([CallableKey(source.resolve), behind])
    stale = await resolve_secret(chain)
    assert (await refresh_secret(chain, stale)).reveal() == "second"
    assert (source.asked, behind.asked) == (2, 0)


async def test_a_refused_demo_key_is_fetched_again_behind_sources_that_have_none():
    """An unset variable or an empty vault in front of the session did not give the key: they do not answer for it."""
    session, transport = signed_in("demo-1", "demo-2")
    chain = ChainKeyResolver([Source(nothing()), EnvKey(), session])
    stale = await resolve_secret(chain)
    fresh = await refresh_secret(chain, stale)
    assert (stale.reveal(), fresh.reveal()) == ("demo-1", "demo-2")
    assert fresh.demo
    assert len(transport.requests) == 2


async def test_a_resolver_with_refresh_is_told_which_key_was_refused():
    """So it can tell a late refusal from a new one."""
    source = Refreshing("first", fresh="second")
    assert (await refresh_secret(ChainKeyResolver([source]), STALE)).reveal() == "second"
    assert source.stale == ["stale"]
    assert source.asked == 0


async def test_a_resolver_without_refresh_is_asked_again():
    """A rotating file or a vault may know a newer key."""
    source = Source("first", "second")
    assert (await refresh_secret(source, await resolve_secret(source))).reveal() == "second"


async def test_where_no_source_has_another_key_the_refused_one_comes_back():
    """Equal keys are how the caller sees that there is nothing to try."""
    chain = ChainKeyResolver([Refreshing("a", fresh=nothing()), Source(nothing()), Source(None)])
    assert (await refresh_secret(chain, STALE)).matches(STALE)


@pytest.mark.parametrize("fresh", [RuntimeError("the vault is closed"), "two words", 5])
async def test_a_refresh_that_fails_ends_the_chain(fresh):
    """As in ``resolve``: an exception or an invalid key is that source's error."""
    behind = Source("other")
    with pytest.raises((RuntimeError, KeyFormatError), match=r"vault|Refreshing"):
        await refresh_secret(ChainKeyResolver([Refreshing("a", fresh=fresh), behind]), STALE)
    assert behind.asked == 0


SECRET = "csk-never-shown"


class Broken:
    """A source whose messages may contain anything."""

    name = "vault"

    async def resolve(self):
        raise RuntimeError(f"refused {SECRET}")


def states(reports):
    return [(report.source, report.state) for report in reports]


def test_each_source_is_told_in_order_and_the_first_with_a_key_is_used(monkeypatch):
    """Sources before it report why they had none and what to do; sources after it are not asked."""
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
    """As in a call: no other source replaces a failed one. Messages of users' code may contain the key."""
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
