"""Where a key comes from: the protocol, and the chain that asks one source after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from langchain_cerebras_demo.errors import MissingKeyError
from langchain_cerebras_demo.keys.secret import Secret, to_key

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
        for source in self.sources:
            try:
                found = await resolve_secret(source)  # checked here, where the source has a name
                self._answered = source
                return found.reveal()
            except MissingKeyError as error:
                tried.extend(error.tried or [(name_of(source), str(error))])
        raise _nothing_found(tried)

    async def refresh(self, stale: str) -> str:
        """A key in place of ``stale``, which the service refused, from the source that gave it; the same if it has no other."""
        # Once one has answered, no other steps in behind the user's back, should it have none any more.
        for source in self.sources if self._answered is None else (self._answered,):
            try:
                return _wrap(await _refreshed(source, stale), name_of(source)).reveal()
            except MissingKeyError:
                continue
        return stale

    def __repr__(self) -> str:
        return f"ChainKeyResolver({', '.join(map(name_of, self.sources))})"


async def resolve_secret(resolver: KeyResolver) -> Secret:
    """The resolver's key, checked and wrapped, so that no frame holds it in the open.

    Raises:
        MissingKeyError: the resolver has none, or returned ``None``.
        KeyFormatError: it returned what cannot be a key.
    """
    return _wrap(await resolver.resolve(), name_of(resolver))


async def refresh_secret(resolver: KeyResolver, stale: Secret) -> Secret:
    """A key in place of ``stale``; the same one where the resolver has no other."""
    return _wrap(await _refreshed(resolver, stale.reveal()), name_of(resolver))


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


def _nothing_found(tried: list[tuple[str, str]]) -> MissingKeyError:
    if not tried:
        return MissingKeyError(f"no key: no source was given. {HOW_TO_GET_A_KEY}")
    steps = "; ".join(f"{source}: {why}" for source, why in tried)
    return MissingKeyError(f"no key was found. Tried, in order: {steps}. {HOW_TO_GET_A_KEY}", tried=tried)
