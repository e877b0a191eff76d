"""The demo key of the session in the user's own browser, and the rules for when a browser may be read."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from langchain_cerebras_demo.errors import KeyFormatError, MissingKeyError
from langchain_cerebras_demo.keys.blocking import start_in_thread
from langchain_cerebras_demo.keys.secret import DemoKey
from langchain_cerebras_demo.keys.session import SESSION_URL, DemoKeySource, SessionCookieKey
from langchain_cerebras_demo.net.shutdown import is_ending
from langchain_cerebras_demo.net.transport import Transport, timeout

BROWSER_VARIABLE = "CEREBRAS_DEMO_BROWSER"
"""``0`` forbids reading browsers everywhere, ``1`` allows it in the chat model."""

_NAME = "browser session"
_SIGN_IN = "Sign in at https://inference.cerebras.ai with Firefox or Chromium on this machine, or use an API key."

# The number of sessions that are tried, newest first: each is a request to the site.
_MOST_SESSIONS = 5

_log = logging.getLogger("langchain_cerebras_demo")


class Refusal(NamedTuple):
    """Why no browser is read, and what to do about it."""

    why: str
    remedy: str


Rule = Callable[[], "Refusal | None"]
"""Returns why a browser must not be read now, or ``None``; called before every reading."""


def refuse_where_off() -> Refusal | None:
    """Refuse if the variable switches it off or the extra is missing: the rule for ``cookies="browser"`` and code."""
    switch = _switch()
    if switch == "0":
        return Refusal(f"switched off by {BROWSER_VARIABLE}=0", f"Unset {BROWSER_VARIABLE} to allow it.")
    if switch not in {"", "1"}:
        remedy = f"Set it to 0 (never read a browser) or 1, or unset {BROWSER_VARIABLE}."
        return Refusal(f"{BROWSER_VARIABLE}={switch!r} is neither 0 nor 1", remedy)
    if importlib.util.find_spec("browser_cookie3") is None:
        return Refusal(
            'the extra "browser" is not installed', 'Install it: pip install "langchain-cerebras-demo[browser]".'
        )
    return None


def refuse_unasked() -> Refusal | None:
    """Refuse unless the variable allows it: the rule for the chat model, which may run in a server that answers strangers."""
    if not _switch():
        remedy = (
            f'Signed in at inference.cerebras.ai in a browser on this machine? Pass cookies="browser", or set '
            f"{BROWSER_VARIABLE}=1."
        )
        return Refusal("not enabled", remedy)
    return refuse_where_off()


def refuse_automatic() -> Refusal | None:
    """Refuse in CI and as root in another user's home: the rule for gpt4free's provider and the command line."""
    refusal = refuse_where_off()
    if refusal or _switch():
        return refusal
    ask = f"Set {BROWSER_VARIABLE}=1 to allow it."
    if os.environ.get("CI", "").lower() not in {"", "0", "false"}:
        return Refusal("skipped in CI", ask)
    if hasattr(os, "geteuid") and os.geteuid() == 0 and _owner_of_home() != 0:
        return Refusal("skipped for root in another user's home", ask)
    return None


class BrowserSessionKey(DemoKeySource):
    """The demo key of the cerebras.ai session in the user's own browser (experimental).

    All profiles of all installed browsers are read and the newest session is used; which one is logged once, at INFO. Only
    cookies of cerebras.ai are read, they are sent to the session endpoint only, and none is kept.

    Args:
        reader: finds the sessions; by default ``keys.browser.find_sessions``. It runs in a thread of its own.
        rule: decides whether a browser may be read; by default, if the extra is installed and not switched off.
        transport: sends the request for the key; by default the shared transport.
        timeout: seconds for that request.
        reading_timeout: seconds for reading the browsers: a keyring may ask the user for a password.

    Copies in the process share the key; a pickle reads the browsers of the machine where it is loaded.
    """

    name = _NAME

    def __init__(
        self,
        *,
        reader: Callable[[], Any] | None = None,
        rule: Rule = refuse_where_off,
        transport: Transport | None = None,
        timeout: float = 15.0,
        reading_timeout: float = 20.0,
    ) -> None:
        super().__init__()
        self.origin: str | None = None
        """The browser and the profile of the key."""
        self._reader = reader
        self._rule = rule
        self._transport = transport
        self._timeout = timeout
        self._reading_timeout = reading_timeout

    async def _fetch(self) -> DemoKey:
        refusal = self._rule()
        if refusal:
            raise _missing(refusal.why, refusal.remedy)
        found = await self._read()
        tried: list[tuple[str, str]] = []
        for session in found.sessions[:_MOST_SESSIONS]:
            try:
                source = SessionCookieKey(session.cookies, transport=self._transport, timeout=self._timeout)
                key = DemoKey(await source.resolve())
            except MissingKeyError as error:
                tried.append((str(session), error.tried[0][1]))
            except KeyFormatError as error:
                tried.append((str(session), str(error)))
            else:
                self._tell(str(session))
                return key
        tried += found.passed_over
        why = "no browser of this user holds a signed-in session" if tried else "no browser was found"
        raise MissingKeyError(
            "; ".join([f"no demo key: {why}", *(f"{where}: {what}" for where, what in tried)]) + f". {_SIGN_IN}",
            tried=tried or [(_NAME, why)],
            remedy=_SIGN_IN,
        )

    async def _read(self) -> Any:
        """Return what the reader finds, in time."""
        try:
            reading = start_in_thread(self._reader or _find_sessions, _NAME)
        except RuntimeError:
            if not is_ending():
                raise
            raise _missing("no browser is read while the interpreter ends", "Use an API key there.") from None
        try:
            async with timeout(self._reading_timeout):
                outcome = await reading
            return outcome.get()
        except asyncio.TimeoutError:
            pass
        why = f"the browsers could not be read within {self._reading_timeout:g} s: does a keyring ask for its password?"
        raise _missing(why, _SIGN_IN)

    def _tell(self, origin: str) -> None:
        if origin != self.origin:
            _log.info(
                "the key is the demo key (experimental) of the cerebras.ai session of %s; its cookies were sent to %s only. "
                "%s=0 switches this off",
                origin,
                SESSION_URL,
                BROWSER_VARIABLE,
            )
        self.origin = origin

    def __reduce__(self) -> tuple[object, ...]:
        given = (self._reader, self._rule, self._transport, self._timeout, self._reading_timeout)
        return (_rebuilt, given)


def _rebuilt(
    reader: Callable[[], Any] | None, rule: Rule, transport: Transport | None, seconds: float, reading_seconds: float
) -> BrowserSessionKey:
    return BrowserSessionKey(
        reader=reader, rule=rule, transport=transport, timeout=seconds, reading_timeout=reading_seconds
    )


def _find_sessions() -> Any:
    from langchain_cerebras_demo.keys.browser import find_sessions  # noqa: PLC0415 - SQLite and more, for few

    return find_sessions()


def _switch() -> str:
    return os.environ.get(BROWSER_VARIABLE, "").strip()


def _owner_of_home() -> int:
    try:
        return Path.home().stat().st_uid
    except (OSError, RuntimeError):
        return 0


def _missing(why: str, remedy: str) -> MissingKeyError:
    return MissingKeyError(f"no demo key: {why}. {remedy}", tried=[(_NAME, why)], remedy=remedy)
