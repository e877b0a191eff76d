"""The chain of key sources behind the arguments that users give, in the order that the documentation promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_cerebras_demo.keys import (
    AbsentKey,
    BrowserSessionKey,
    CallableKey,
    ChainKeyResolver,
    DroppedKey,
    EnvKey,
    KeyResolver,
    SessionCookieKey,
    StaticKey,
    refuse_automatic,
    refuse_unasked,
)
from langchain_cerebras_demo.net.endpoint import takes_demo_key
from langchain_cerebras_demo.net.transport import Transport


def to_key_chain(
    base_url: str,
    *,
    key_resolver: KeyResolver | None = None,
    api_key: Any = None,
    cookies: Any = None,
    transport: Transport | None = None,
    is_automatic: bool = False,
) -> ChainKeyResolver:
    """The sources that the arguments name, then the environment, then the user's own browser.

    Args:
        base_url: where the key will go: no browser is looked into for a host that its key must not go to.
        key_resolver: asked first.
        api_key: a key as it is, or a callable.
        cookies: a mapping, a cookie file's path, or ``"browser"``.
        transport: what carries the request for a demo key.
        is_automatic: whether the browser is looked into without being asked for, as gpt4free does.

    Raises:
        KeyFormatError, TypeError, ValueError: a key or cookies that cannot be any.
    """
    sources = _sources(base_url, key_resolver, api_key, cookies, transport, is_automatic=is_automatic)
    return ChainKeyResolver(sources)


def to_key_source(api_key: Any) -> KeyResolver:
    """The source behind ``api_key``: a key as it is, or a callable that is asked for one."""
    if isinstance(api_key, DroppedKey):
        return api_key
    if callable(api_key) and not hasattr(api_key, "get_secret_value"):
        return CallableKey(api_key)
    return StaticKey(api_key)


def to_cookie_source(cookies: Any, transport: Transport | None) -> KeyResolver:
    """The source behind ``cookies``: the demo key of the session that they belong to."""
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
        return  # asked for, in its place
    if takes_demo_key(base_url):
        yield BrowserSessionKey(rule=refuse_automatic if is_automatic else refuse_unasked, transport=transport)
    else:
        yield AbsentKey(BrowserSessionKey.name, "not looked for: a demo key goes to https://*.cerebras.ai alone")
