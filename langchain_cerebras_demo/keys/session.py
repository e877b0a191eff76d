"""The demo key of a signed-in session: cookies of inference.cerebras.ai in, a key for api.cerebras.ai out.

What gpt4free's provider did: GET the site's own session endpoint with the cookies and take ``user.demoApiKey`` of its
answer. EXPERIMENTAL: the endpoint is the site's private business and may go any day, and the service's terms may not allow
the key outside of its playground; that is the user's decision. A free key of https://cloud.cerebras.ai is the plain way.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from langchain_cerebras_demo.errors import (
    APIResponseValidationError,
    APITimeoutError,
    KeyFormatError,
    MissingKeyError,
)
from langchain_cerebras_demo.keys.cookies import NAME, VALUE, is_session_cookie, read_cookie_file, to_session
from langchain_cerebras_demo.keys.secret import DemoKey, Secret, to_key
from langchain_cerebras_demo.keys.single_flight import SingleFlight
from langchain_cerebras_demo.keys.sources import SecretSource
from langchain_cerebras_demo.net.ending import in_thread
from langchain_cerebras_demo.net.transport import HttpRequest, HttpResponse, Transport, default_transport, timeout
from langchain_cerebras_demo.wire import failure, lenient

SESSION_URL = "https://inference.cerebras.ai/api/auth/session"
"""The only address a cookie ever goes to."""

MAX_ANSWER_BYTES = 64 * 1024

REFRESH_SECONDS = 30.0
"""Within this time the same session is not asked for another key."""

_HELP = "Sign in at https://inference.cerebras.ai and give the cookies of that session again, or use an API key."


class DemoKeySource(SecretSource, ABC):
    """What buys a demo key and keeps it in memory, asked for once however many callers wait.

    A demo key says nothing of when it ends: it is good until the service refuses it.
    """

    def __init__(self) -> None:
        self._key: DemoKey | None = None
        self._refreshed_at = -math.inf
        self._flight: SingleFlight[DemoKey] = SingleFlight()

    async def resolve(self) -> str:
        """The demo key, fetched at the first call.

        Raises:
            MissingKeyError: the session is signed out, or its answer holds no key.
            APIError: the session endpoint failed, stayed silent or sent nonsense.
        """
        return self._key or await self._flight.run(self._renew)

    async def refresh(self, stale: str) -> str:
        """A key newer than ``stale``: the one another call has already fetched, else one fetched now.

        The same one where the last refresh was less than half a minute ago: the session has no other.
        """
        if self._key is not None and (self._key != stale or time.monotonic() - self._refreshed_at < REFRESH_SECONDS):
            return self._key
        return await self._flight.run(self._renew_refused)

    async def _renew(self) -> DemoKey:
        self._key = await self._fetch()
        return self._key

    async def _renew_refused(self) -> DemoKey:
        key = await self._renew()
        self._refreshed_at = time.monotonic()
        return key

    @abstractmethod
    async def _fetch(self) -> DemoKey:
        """A key bought now."""


class SessionCookieKey(DemoKeySource):
    """Buys the demo key of a signed-in session.

    Args:
        cookies: names and values of the session's cookies; or the path of a file that holds them, read again whenever a
            key is bought: Netscape's cookies.txt, or the JSON that cookie-export extensions write.
        transport: what carries the one request; by default the shared one.
        timeout: seconds for that request.

    Raises:
        TypeError: cookies that are no mapping of str to str; the message names the cookie.
        ValueError: a text that is no file's path.
        KeyFormatError: a cookie that no header can carry; the message names it and never shows its value.

    A copy in the process shares the key; a pickle drops cookies and keeps a path.
    """

    name = "cookies"

    def __init__(
        self,
        cookies: Mapping[str, str] | str | os.PathLike[str],
        *,
        transport: Transport | None = None,
        timeout: float = 15.0,
    ) -> None:
        super().__init__()
        self._path: Path | None = None
        self._cookies: Secret | None = None
        try:
            if isinstance(cookies, str | os.PathLike):
                self._path = to_cookie_path(cookies)
            elif cookies:
                self._cookies = Secret(to_cookie_header(cookies), "cookies")
        finally:
            del cookies  # a traceback that shows locals must not show them
        self._transport = transport
        self._timeout = timeout

    async def _fetch(self) -> DemoKey:
        if self._path is not None:
            self._cookies = await in_thread(_read_header, self._path)
        if self._cookies is None:
            raise _missing("no cookie was given")
        request = HttpRequest(
            "GET",
            SESSION_URL,
            headers={"Accept": "application/json"},
            secret_headers=self._cookie_header,
            connect_timeout=self._timeout,
            environment_proxy=False,  # a cookie travels to one host and through nobody's hands
        )
        try:
            async with timeout(self._timeout):
                return await self._ask(request)
        except asyncio.TimeoutError:
            pass  # not raised from here: what was cancelled would be its context, and hold the frames that hold the cookies
        raise APITimeoutError(f"{SESSION_URL} did not answer in {self._timeout:g} s. {_HELP}")

    def __reduce__(self) -> tuple[object, ...]:
        if self._path is None:
            return super().__reduce__()
        return (_from_file, (str(self._path), self._transport, self._timeout))

    async def _ask(self, request: HttpRequest) -> DemoKey:
        response = await (self._transport or default_transport()).send(request)
        try:
            # Any other body is a page, of whatever length, and says nothing.
            is_answer = response.status == 200 and "html" not in response.headers.get("content-type", "")
            return to_demo_key(response.status, response.headers, await _read_bounded(response) if is_answer else b"")
        finally:
            response.close()

    def _cookie_header(self) -> dict[str, str]:
        return {"Cookie": self._cookies.reveal()} if self._cookies else {}


def to_cookie_header(cookies: Mapping[str, str]) -> str:
    """The one ``Cookie`` header that a session's cookies make, byte for byte as given.

    Only the session's own cookies are taken where their names are known, else all.

    Raises:
        TypeError, KeyFormatError: as ``SessionCookieKey``.
    """
    problem = _problem_of(cookies)
    if problem:
        del cookies  # a traceback that shows locals must not show them
        raise problem
    # Where the session itself is there, nothing else needs to leave: no analytics, no preferences.
    of_session = [name for name in cookies if is_session_cookie(name)]
    return "; ".join(f"{name}={cookies[name]}" for name in of_session or cookies)


def to_cookie_path(given: str | os.PathLike[str]) -> Path:
    """The cookie file's path.

    Raises:
        ValueError: there is no such file. The text is shown only where it looks like a file's name: somebody may have given
            a cookie itself.
    """
    path = Path(given)
    if os.path.isfile(path):  # noqa: PTH113 - Path's own raises for a long text, and its message shows all of it
        return path
    is_name = path.suffix.lower() in {".txt", ".json"}
    shown = f"there is no file {path.name!r}" if is_name else "the text given is no file's path"
    del given, path  # a traceback that shows locals must not show them
    raise ValueError(
        f'cookies: {shown}. Give a mapping of names to values, the path of a cookies.txt or of exported JSON, or "browser"'
    )


def to_demo_key(status: int, headers: Mapping[str, str], body: bytes) -> DemoKey:
    """The key in the session endpoint's answer.

    Raises:
        MissingKeyError: the answer says, in any of its ways, that nobody is signed in.
        APIStatusError: the endpoint failed (5xx, 429).
        APIResponseValidationError: the key in it is no key.
    """
    found = _find_key(status, headers, body)
    del headers, body  # the session's next cookie and the user's name: a traceback that shows locals must not show them
    if isinstance(found, Exception):
        raise found
    return found


def _find_key(status: int, headers: Mapping[str, str], body: bytes) -> DemoKey | Exception:
    if status in {401, 403} or 300 <= status < 400:
        what = "redirected to a login page" if status < 400 else f"answered {status}"
        return _missing(f"the session is signed out or not accepted (the endpoint {what})")
    if status != 200:
        wish = {name: headers[name] for name in ("retry-after", "retry-after-ms", "date") if name in headers}
        error = failure.from_answer(status, wish, b"", now=time.time())  # its other words may repeat the cookie
        error.response = None
        return error
    try:
        answer = lenient.loads(body)
    except ValueError:
        return _missing("a page came instead of JSON: a login page, or a check that no robot asks")
    if not answer:  # NextAuth says {} and Auth.js null, both with status 200
        return _missing("the session is signed out or has expired")
    user = answer.get("user") if isinstance(answer, dict) else None
    key = user.get("demoApiKey") if isinstance(user, dict) else None
    if key is None:
        return _missing("the account has no demo key: the answer holds no user.demoApiKey")
    try:
        return DemoKey(to_key(key, "the session").reveal())
    except KeyFormatError as error:
        return APIResponseValidationError(f"{error}. {_HELP}", status_code=200)


def _problem_of(cookies: object) -> Exception | None:
    if not isinstance(cookies, Mapping):
        return TypeError(f"cookies is a {type(cookies).__name__}: give a mapping of cookie names to values")
    return next(filter(None, (_cookie_problem(name, cookies[name]) for name in cookies)), None)


def _cookie_problem(name: object, value: object) -> Exception | None:
    if not isinstance(name, str):
        return TypeError(f"a cookie's name is a {type(name).__name__}: give a mapping of str to str")
    if not NAME.fullmatch(name):
        shown = name.partition("=")[0]  # behind it stands a value that got into the name
        return KeyFormatError(f"{shown!r} cannot be a cookie's name: give letters, digits and !#$%&'*+-.^_`|~ only")
    if not isinstance(value, str):
        return TypeError(f"the value of cookie {name!r} is a {type(value).__name__}: give a str")
    if not VALUE.fullmatch(value):
        return KeyFormatError(f"the value of cookie {name!r} has a line break, a semicolon or a letter outside ASCII")
    if is_session_cookie(name) and value[:1] in {'"', "'"}:  # other cookies may hold them; the session's never does
        return KeyFormatError(f"the value of cookie {name!r} has quotes around it: give the value alone")
    return None


async def _read_bounded(response: HttpResponse) -> bytes:
    body = bytearray()
    piece = b""
    try:
        while piece := await response.read():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise APIResponseValidationError(
                    f"{SESSION_URL} sent more than {MAX_ANSWER_BYTES:,} bytes", status_code=response.status
                )
        return bytes(body)
    finally:
        del body, piece  # a traceback that shows locals must not show them


def _from_file(path: str, transport: Transport | None, seconds: float) -> SessionCookieKey:
    return SessionCookieKey(path, transport=transport, timeout=seconds)


def _read_header(path: Path) -> Secret | None:
    try:
        held = to_session(read_cookie_file(path), time.time())
    except (OSError, ValueError) as error:
        why = f"the cookie file {path} cannot be read ({getattr(error, 'strerror', None) or error})"
        raise _missing(why, "Give a cookies.txt, or the JSON that a cookie-export extension writes.") from None
    if not held:
        raise _missing(f"the cookie file {path} has no cookie of inference.cerebras.ai that is still valid")
    return Secret(to_cookie_header(held), "cookies")


def _missing(why: str, remedy: str = _HELP) -> MissingKeyError:
    return MissingKeyError(f"no demo key: {why}. {remedy}", tried=[("cookies", why)], remedy=remedy)
