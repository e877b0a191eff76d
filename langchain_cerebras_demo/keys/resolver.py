"""Where a key comes from: the protocol, and the chain that asks one source after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Protocol, runtime_checkable

from langchain_cerebras_demo.errors import CerebrasError, MissingKeyError
from langchain_cerebras_demo.keys.report import SourceReport
from langchain_cerebras_demo.keys.secret import MARK, Secret, to_key

HOW_TO_GET_A_KEY = (
    "Get a free key at https://cloud.cerebras.ai and set CEREBRAS_API_KEY, or pass api_key=…; "
    'or use the embedded model, which needs none: base_url="local".'
)


@runtime_checkable
class KeyResolver(Protocol):
    """Anything that can give a key. It is asked again for every request.

    An optional ``async def refresh(self, stale: str) -> str`` is called when the service refused ``stale``: it returns
    a fresh key, or the same one if there is none.
    """

    async def resolve(self) -> str:
        """The key.

        Raises:
            MissingKeyError: it has none; a chain then asks the next source. Any other exception ends the chain.
        """


class ChainKeyResolver:
    """Asks its sources in order; the first that has a key answers.

    Args:
        sources: resolvers, the user's own among them.

    Raises:
        TypeError: a source without a ``resolve`` method.
    """

    def __init__(self, sources: Iterable[KeyResolver]) -> None:
        self.sources = tuple(sources)
        self._answered: KeyResolver | None = None  # who gave the last key: only that one is asked for a fresher one
        for source in self.sources:
            if not isinstance(source, KeyResolver):
                raise TypeError(f"{type(source).__name__} is no key source: it has no `async def resolve(self) -> str`")

    async def resolve(self) -> str:
        """The key of the first source that has one.

        Raises:
            MissingKeyError: none has; ``tried`` lists each with its reason.
            KeyFormatError: the first that has one gave what cannot be a key.
        """
        tried: list[tuple[str, str]] = []
        remedies: list[str] = []
        for source in self.sources:
            try:
                found = await resolve_secret(source)  # checked here, where the source has a name
                self._answered = source
                return found.reveal()
            except MissingKeyError as error:
                tried.extend(error.tried or [(name_of(source), str(error))])
                remedies.append(error.remedy)
        raise _nothing_found(tried, remedies)

    async def refresh(self, stale: str) -> str:
        """A key in place of ``stale``, which the service refused, from the source that gave it; the same if it has no other."""
        # Once one has answered, no other steps in behind the user's back, should it have none any more.
        for source in self.sources if self._answered is None else (self._answered,):
            try:
                return _wrap(await _refreshed(source, stale), name_of(source)).reveal()
            except MissingKeyError:
                continue
        return stale

    async def aexplain(self) -> list[SourceReport]:
        """What each source says now, in order: the first that has a key is used, those behind it are not asked.

        A session is asked for its demo key, as a call would do. No report holds a character of a key.
        """
        reports: list[SourceReport] = []
        winner = ""
        for source in self.sources:
            if winner:
                reports.append(SourceReport(name_of(source), "not asked", why=f"{winner} comes first"))
                continue
            reports.append(await _report(source))
            if reports[-1].state != "has none":
                winner = name_of(source)  # one that fails ends the chain, too
        return reports

    def explain(self) -> list[SourceReport]:
        """As ``aexplain``, from a loop and a thread of its own, so that it may be called anywhere."""
        context = copy_context()  # so that a resolver that explains the chain it belongs to is stopped, too
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(context.run, lambda: asyncio.run(self.aexplain())).result()

    def __repr__(self) -> str:
        return f"ChainKeyResolver({', '.join(map(name_of, self.sources))})"


async def resolve_secret(resolver: KeyResolver) -> Secret:
    """The resolver's key, checked and wrapped, so that no frame holds it in the open.

    Raises:
        MissingKeyError: the resolver has none, or returned ``None``.
        KeyFormatError: it returned what cannot be a key.
    """
    with _asking(resolver):
        return _wrap(await resolver.resolve(), name_of(resolver))


async def refresh_secret(resolver: KeyResolver, stale: Secret) -> Secret:
    """A key in place of ``stale``; the same one where the resolver has no other."""
    return _wrap(await _refreshed(resolver, stale.reveal()), name_of(resolver))


class _Question:
    """A resolver while it is being asked."""

    def __init__(self, resolver: KeyResolver) -> None:
        self.resolver = resolver
        self.is_open = True


_questions: ContextVar[tuple[_Question, ...]] = ContextVar("cerebras_demo_key_questions", default=())


@contextmanager
def _asking(resolver: KeyResolver) -> Iterator[None]:
    """Stops a resolver that asks itself, be it by asking the very model that it is to give a key to.

    Raises:
        RuntimeError: it is being asked already, further up in this very call.
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
        question.is_open = False  # a task that it started and that outlives it may ask it again
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
    except Exception as error:  # noqa: BLE001 - of somebody else's code, whose words may hold anything
        return SourceReport(name, "failed", why=f"it raised {type(error).__name__}")
    kind = "the demo key of a session (experimental)" if secret.demo else "a key"
    origin = getattr(source, "origin", None)
    return SourceReport(name, "used", found=MARK, why=f"{kind}, from {origin}" if origin else kind)


async def _refreshed(resolver: KeyResolver, stale: str) -> str:
    if not hasattr(resolver, "refresh"):
        return await resolver.resolve()  # asked again: a callable or a rotating file may know a newer one
    # The key it has now may already be newer than the refused one: another call was faster.
    fresh = await resolver.refresh(stale)
    return stale if fresh is None else fresh  # None: it has no other


def _wrap(key: str | None, source: str) -> Secret:
    if key is None:
        raise MissingKeyError(f"{source} returned None instead of a key. {HOW_TO_GET_A_KEY}", tried=[(source, "None")])
    try:
        return to_key(key, source)
    finally:
        del key  # a traceback that shows locals must not show it


def name_of(resolver: object) -> str:
    """How a source is called in messages: its ``name``, else its class."""
    name = getattr(resolver, "name", None)
    return name if isinstance(name, str) else type(resolver).__name__


def _nothing_found(tried: list[tuple[str, str]], remedies: list[str]) -> MissingKeyError:
    if not tried:
        return MissingKeyError(f"no key: no source was given. {HOW_TO_GET_A_KEY}", remedy=HOW_TO_GET_A_KEY)
    steps = "; ".join(f"{source}: {why}" for source, why in tried)
    remedy = " ".join(dict.fromkeys(filter(None, [*remedies, HOW_TO_GET_A_KEY])))
    return MissingKeyError(f"no key was found. Tried, in order: {steps}. {remedy}", tried=tried, remedy=remedy)
