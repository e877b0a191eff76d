"""The chain of key sources: the protocol of a source, the order of the sources, and a report on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from langchain_cerebras_demo.errors import CerebrasError, MissingKeyError
from langchain_cerebras_demo.keys.browser_session import BrowserSessionKey, refuse_automatic, refuse_unasked
from langchain_cerebras_demo.keys.secret import MARK, Secret, to_key
from langchain_cerebras_demo.keys.session import SessionCookieKey
from langchain_cerebras_demo.keys.sources import API_KEY_VARIABLE, AbsentKey, CallableKey, DroppedKey, EnvKey, StaticKey
from langchain_cerebras_demo.net.endpoint import takes_demo_key
from langchain_cerebras_demo.net.transport import Transport

HOW_TO_GET_A_KEY = (
    "Set CEREBRAS_API_KEY to a key (free at https://cloud.cerebras.ai), pass api_key=…, "
    'or use the embedded model, which needs no key: base_url="local".'
)


@runtime_checkable
class KeyResolver(Protocol):
    """A source of keys. It is asked again for every request.

    An optional ``async def refresh(self, stale: str) -> str`` is called when the service refused ``stale``: it returns
    a fresh key, or the same one if there is none.
    """

    async def resolve(self) -> str:
        """Return the key.

        Raises:
            MissingKeyError: there is none; a chain then asks the next source. Any other exception ends the chain.
        """


class ChainKeyResolver:
    """A chain of key sources, asked in order; the first that has a key wins.

    Args:
        sources: key resolvers, including the user's own.

    Raises:
        TypeError: a source without a ``resolve`` method.
    """

    def __init__(self, sources: Iterable[KeyResolver]) -> None:
        self.sources = tuple(sources)
        self._answered: KeyResolver | None = (
            None  # the source of the last key, the only one that is asked for a fresh one
        )
        for source in self.sources:
            if not isinstance(source, KeyResolver):
                raise TypeError(
                    f"{type(source).__name__} is not a key source: it has no `async def resolve(self) -> str`"
                )

    async def resolve(self) -> str:
        """Return the key of the first source that has one.

        Raises:
            MissingKeyError: no source has one; ``tried`` lists each with its reason.
            KeyFormatError: the first source that has one returned an invalid key.
        """
        tried: list[tuple[str, str]] = []
        remedies: list[str] = []
        for source in self.sources:
            try:
                found = await resolve_secret(source)  # checked here, where the source's name is known
                self._answered = source
                return found.reveal()
            except MissingKeyError as error:
                tried.extend(error.tried or [(name_of(source), str(error))])
                if not (isinstance(source, EnvKey) and source.name == API_KEY_VARIABLE):  # in HOW_TO_GET_A_KEY
                    remedies.append(error.remedy)
        raise _nothing_found(tried, remedies)

    def peek(self) -> Secret | None:
        """Return the key of the first source that has one; ``None`` if there is none, or a source before it may have to wait."""
        for source in self.sources:
            # A new source that answers without waiting is added here and in `peek_secret`.
            if type(source) is not StaticKey and type(source) is not EnvKey:
                return None
            if (found := source.peek()) is not None:
                self._answered = source
                return found
        return None

    async def refresh(self, stale: str) -> str:
        """Return a key to replace ``stale``, which the service refused, from the same source; ``stale`` if it has no other."""
        # Once a source has answered, no other silently replaces it.
        for source in self.sources if self._answered is None else (self._answered,):
            try:
                return _wrap(await _refreshed(source, stale), name_of(source)).reveal()
            except MissingKeyError:
                continue
        return stale

    @property
    def dropped(self) -> list[str]:
        """The names of the sources that came before the one that answered, and whose secret was dropped from a pickle."""
        names: list[str] = []
        for source in self.sources:
            if isinstance(source, ChainKeyResolver):
                names += source.dropped
            elif isinstance(source, DroppedKey):
                names.append(source.name)
            if source is self._answered:
                break
        return names

    async def aexplain(self) -> list[SourceReport]:
        """Return what each source has now, in order: the first key found is used, later sources are not asked.

        A session is asked for its demo key, as a call would do. No report contains any part of a key.
        """
        reports: list[SourceReport] = []
        winner = ""
        for source in self.sources:
            if winner:
                reports.append(SourceReport(name_of(source), "not asked", why=f"{winner} comes first"))
                continue
            reports.append(await _report(source))
            if reports[-1].state != "has none":
                winner = name_of(source)  # a source that fails ends the chain, too
        return reports

    def explain(self) -> list[SourceReport]:
        """Return the same as ``aexplain``, which runs in a thread with its own loop, so that it can be called anywhere."""
        context = copy_context()  # so that a resolver that explains its own chain is stopped, too
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(context.run, lambda: asyncio.run(self.aexplain())).result()

    def __repr__(self) -> str:
        return f"ChainKeyResolver({', '.join(map(name_of, self.sources))})"


async def resolve_secret(resolver: KeyResolver) -> Secret:
    """Return the resolver's key, checked and wrapped, so that no frame holds it unprotected.

    Raises:
        MissingKeyError: the resolver has none, or returned ``None``.
        KeyFormatError: it returned an invalid key.
    """
    with _asking(resolver):
        return _wrap(await resolver.resolve(), name_of(resolver))


def peek_secret(resolver: KeyResolver) -> Secret | None:
    """Return the key if it is at hand: given, or in the environment. ``None``: ask ``resolve_secret``, which may wait.

    Raises:
        KeyFormatError: the first source that has a key has an invalid one.
    """
    # Exactly these types: a subclass may have a `resolve` of its own. A new source that answers without waiting is added here
    # and in `ChainKeyResolver.peek`.
    if type(resolver) is StaticKey or type(resolver) is EnvKey or type(resolver) is ChainKeyResolver:
        return resolver.peek()
    return None


async def refresh_secret(resolver: KeyResolver, stale: Secret) -> Secret:
    """Return a key to replace ``stale``; the same one if the resolver has no other."""
    return _wrap(await _refreshed(resolver, stale.reveal()), name_of(resolver))


class _Question:
    """A resolver that is being asked."""

    def __init__(self, resolver: KeyResolver) -> None:
        self.resolver = resolver
        self.is_open = True


_questions: ContextVar[tuple[_Question, ...]] = ContextVar("cerebras_demo_key_questions", default=())


@contextmanager
def _asking(resolver: KeyResolver) -> Iterator[None]:
    """Stop a resolver that asks itself, for example through the model that uses it.

    Raises:
        RuntimeError: it is being asked already, further up in the same call.
    """
    asked = _questions.get()
    if any(question.resolver is resolver and question.is_open for question in asked):
        raise RuntimeError(
            f"{name_of(resolver)} asks itself for the key: a resolver must not use the model or the chain it belongs to"
        )
    question = _Question(resolver)
    token = _questions.set((*asked, question))
    try:
        yield
    finally:
        question.is_open = False  # a task that it started, and that is still running, may ask it again
        _questions.reset(token)


async def _report(source: KeyResolver) -> SourceReport:
    name = name_of(source)
    try:
        secret = await resolve_secret(source)
    except MissingKeyError as error:
        details = tuple(error.tried)
        if len(details) == 1:
            return SourceReport(name, "has none", why=details[0][1], remedy=error.remedy)
        return SourceReport(name, "has none", why="none of these", remedy=error.remedy, details=details)
    except CerebrasError as error:
        return SourceReport(name, "failed", why=f"{type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001 - from the user's code; the message may contain anything
        return SourceReport(name, "failed", why=f"it raised {type(error).__name__}")
    kind = "the demo key of a session (experimental)" if secret.demo else "a key"
    origin = getattr(source, "origin", None)
    return SourceReport(name, "used", found=MARK, why=f"{kind}, from {origin}" if origin else kind)


async def _refreshed(resolver: KeyResolver, stale: str) -> str:
    if not hasattr(resolver, "refresh"):
        return await resolver.resolve()  # a callable or a rotating file may have a newer one
    # The key it has now may already be newer than the refused one, if another call was faster.
    fresh = await resolver.refresh(stale)
    return stale if fresh is None else fresh  # None: there is no other


def _wrap(key: str | None, source: str) -> Secret:
    if key is None:
        raise MissingKeyError(f"{source} returned None instead of a key. {HOW_TO_GET_A_KEY}", tried=[(source, "None")])
    try:
        return to_key(key, source)
    finally:
        del key  # tracebacks that show locals must not show it


def name_of(resolver: object) -> str:
    """Return a source's name for messages: its ``name``, else its class."""
    name = getattr(resolver, "name", None)
    return name if isinstance(name, str) else type(resolver).__name__


def _nothing_found(tried: list[tuple[str, str]], remedies: list[str]) -> MissingKeyError:
    if not tried:
        return MissingKeyError(f"no key: no source was given. {HOW_TO_GET_A_KEY}", remedy=HOW_TO_GET_A_KEY)
    steps = "; ".join(f"{source}: {why}" for source, why in tried)
    others = dict.fromkeys(
        other.removeprefix(HOW_TO_GET_A_KEY).strip() for other in remedies
    )  # a chain in a chain has it too
    remedy = " ".join([HOW_TO_GET_A_KEY, *filter(None, others)])
    return MissingKeyError(f"no key was found. Tried, in order: {steps}. {remedy}", tried=tried, remedy=remedy)


State = Literal["used", "has none", "failed", "not asked"]


@dataclass(frozen=True)
class SourceReport:
    """What one source of a chain has. It never contains any part of a key.

    Args:
        source: its name.
        state: ``used`` (it has the key), ``has none``, ``failed``, or ``not asked`` (an earlier source has the key).
        found: a fixed mark if it has a key, else empty.
        why: what was found, or why nothing was.
        remedy: what to do if it has no key; empty if nothing can be done.
        details: where it looked and what it found, as (where, what).
    """

    source: str
    state: State
    found: str = ""
    why: str = ""
    remedy: str = ""
    details: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {**asdict(self), "details": [{"where": where, "what": what} for where, what in self.details]}


def to_key_chain(
    base_url: str,
    *,
    key_resolver: KeyResolver | None = None,
    api_key: Any = None,
    cookies: Any = None,
    transport: Transport | None = None,
    is_automatic: bool = False,
) -> ChainKeyResolver:
    """Return the chain of the sources that the arguments name, then the environment, then the user's own browser.

    Args:
        base_url: where the key will be sent: no browser is read for a host that its key must not be sent to.
        key_resolver: asked first.
        api_key: a key, or a callable that returns one.
        cookies: a mapping, a cookie file's path, or ``"browser"``.
        transport: sends the request for a demo key.
        is_automatic: whether the browser is read without an explicit request, as gpt4free does.

    Raises:
        KeyFormatError, TypeError, ValueError: the key or the cookies are invalid.
    """
    sources = _sources(base_url, key_resolver, api_key, cookies, transport, is_automatic=is_automatic)
    return ChainKeyResolver(sources)


def to_key_source(api_key: Any) -> KeyResolver:
    """Return the source for ``api_key``, which is a key or a callable that returns one."""
    if isinstance(api_key, DroppedKey):
        return api_key
    if callable(api_key) and not hasattr(api_key, "get_secret_value"):
        return CallableKey(api_key)
    return StaticKey(api_key)


def to_cookie_source(cookies: Any, transport: Transport | None) -> KeyResolver:
    """Return the source for ``cookies``: the demo key of the session that they belong to."""
    if isinstance(cookies, SessionCookieKey | BrowserSessionKey | DroppedKey):
        return cookies
    if isinstance(cookies, str) and cookies == "browser":
        return BrowserSessionKey(transport=transport)
    return SessionCookieKey(cookies, transport=transport)


def _sources(
    base_url: str, key_resolver: Any, api_key: Any, cookies: Any, transport: Transport | None, *, is_automatic: bool
) -> Iterator[KeyResolver]:
    if key_resolver is not None:
        yield key_resolver
    if api_key is not None:
        yield to_key_source(api_key)
    session = None if cookies is None else to_cookie_source(cookies, transport)
    if session is not None:
        yield session
    yield EnvKey()
    if isinstance(session, BrowserSessionKey):
        return  # explicitly requested, and so already in the chain
    if takes_demo_key(base_url):
        yield BrowserSessionKey(rule=refuse_automatic if is_automatic else refuse_unasked, transport=transport)
    else:
        yield AbsentKey(BrowserSessionKey.name, "skipped (base_url is not cerebras.ai)")
