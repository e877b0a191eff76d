"""The cerebras.ai session of the user's own browser, read only when requested, and only from the cookies of ``HOSTS``.

Reading does not write to a profile, wait for a lock, decrypt cookies of other sites or store what was read.
``profiles.py`` lists the profiles; ``firefox.py`` and ``chromium.py`` read the cookies of each family.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from langchain_cerebras_demo.keys.browser import chromium, firefox
from langchain_cerebras_demo.keys.browser.database import UnreadableError
from langchain_cerebras_demo.keys.browser.profiles import Profile, find_profiles
from langchain_cerebras_demo.keys.cookies import Cookie, is_session_cookie, to_session

__all__ = ["BrowserSession", "FoundSessions", "find_sessions"]


@dataclass(frozen=True)
class BrowserSession:
    """Cookies of one profile that a browser would send to the session endpoint.

    Args:
        browser: its name for messages.
        profile: the profile's folder, and the container if there is one.
        cookies: names and values.
        last_used: Unix time in seconds when the browser last used one of them.
    """

    browser: str
    profile: str
    cookies: Mapping[str, str] = field(repr=False)
    last_used: float

    def __str__(self) -> str:
        return f"{self.browser}, profile {self.profile}"


@dataclass(frozen=True)
class FoundSessions:
    """The result of reading all browsers.

    Args:
        sessions: the newest first.
        passed_over: profiles without a session, each as (where, why).
    """

    sessions: list[BrowserSession]
    passed_over: list[tuple[str, str]]


@dataclass(frozen=True)
class _Candidate:
    """A profile's cookies before decryption."""

    profile: Profile
    container: str
    known: list[Cookie]
    store: chromium.Store | None

    def named_cookies(self, now: float) -> Mapping[str, str]:
        return to_session(self.known, now)

    def session(self, now: float) -> BrowserSession:
        cookies = self.known if self.store is None else chromium.decrypt(self.profile, self.store)
        name = f"{self.profile.name}, container {self.container}" if self.container else self.profile.name
        last_used = max(cookie.last_used for cookie in cookies)
        return BrowserSession(self.profile.browser, name, to_session(cookies, now), last_used)


def find_sessions() -> FoundSessions:
    """Return the sessions in all profiles of all installed browsers of this user. A keyring's dialog may block it for ever.

    If any profile has a session cookie by its name, only such profiles are decrypted and returned; otherwise all profiles
    with cookies of ``HOSTS``.
    """
    now = time.time()
    passed_over: list[tuple[str, str]] = []
    candidates: list[_Candidate] = []
    for profile in find_profiles():
        try:
            found = [one for one in _candidates(profile, now) if one.named_cookies(now)]
        except (UnreadableError, OSError) as error:
            passed_over.append((str(profile), str(error) if isinstance(error, UnreadableError) else _words(error)))
            continue
        candidates += found
        if not found:
            passed_over.append((str(profile), "no cookies of cerebras.ai that are still valid"))
    signed_in = [one for one in candidates if any(map(is_session_cookie, one.named_cookies(now)))]
    sessions: list[BrowserSession] = []
    for candidate in signed_in or candidates:
        try:
            session = candidate.session(now)
        except UnreadableError as error:
            passed_over.append((str(candidate.profile), str(error)))
        else:
            sessions.append(session)
    return FoundSessions(sorted(sessions, key=lambda one: -one.last_used), passed_over)


def _candidates(profile: Profile, now: float) -> Iterator[_Candidate]:
    if profile.family == "firefox":
        for container, cookies in firefox.read_jars(profile).items():
            yield _Candidate(profile, container, cookies, None)
    else:
        store = chromium.read_store(profile, now)
        yield _Candidate(profile, "", store.cookies(), store)


def _words(error: OSError) -> str:
    return f"it cannot be read ({error.strerror or type(error).__name__})"
