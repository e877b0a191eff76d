"""The demo key of a signed-in session: cookies of inference.cerebras.ai in, a key for api.cerebras.ai out.

As gpt4free's provider did: GET the site's own session endpoint with the cookies, and use ``user.demoApiKey`` of the answer.
EXPERIMENTAL: the endpoint is not a public API and may disappear any day, and the service's terms may not allow the key
outside of its playground; that is the user's decision. A free key from https://cloud.cerebras.ai is the regular way.
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
from langchain_cerebras_demo.net.shutdown import in_thread
from langchain_cerebras_demo.net.transport import HttpRequest, HttpResponse, Transport, default_transport, timeout
from langchain_cerebras_demo.wire import failure, repair

SESSION_URL = "https://inference.cerebras.ai/api/auth/session"
"""The only URL that cookies are sent to."""

MAX_ANSWER_BYTES = 64 * 1024

REFRESH_SECONDS = 30.0
"""Within this time, a session is not asked for another key."""

_HELP = "Sign in at https://inference.cerebras.ai and pass the cookies of that session again, or use an API key."


class DemoKeySource(SecretSource, ABC):
    """A source that fetches a demo key and keeps it in memory; concurrent callers share one request.

    A demo key has no stated expiry: it is valid until the service refuses it.
    """

    def __init__(self) -> None:
        self._key: DemoKey | None = None
        self._refreshed_at = -math.inf
        self._flight: SingleFlight[DemoKey] = SingleFlight()

    async def resolve(self) -> str:
        """Return the demo key, fetched on the first call.

        Raises:
            MissingKeyError: the session is signed out, or its answer has no key.
            APIError: the session endpoint failed, did not answer, or sent an invalid answer.
        """
        return self._key or await self._flight.run(self._renew)

    async def refresh(self, stale: str) -> str:
        """Return a key newer than ``stale``: one that another call has already fetched, else one fetched now.

        Return the same one if the last refresh was less than half a minute ago: the session has no other.
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
        """Return a newly fetched key."""


class SessionCookieKey(DemoKeySource):
    """The demo key of a signed-in session.

    Args:
        cookies: names and values of the session's cookies; or the path of a file with them, read again whenever a key is
            fetched: Netscape's cookies.txt, or the JSON that cookie-export extensions write.
        transport: sends the request; by default the shared transport.
        timeout: seconds for that request.

    Raises:
        TypeError: the cookies are not a mapping of str to str; the message names the cookie.
        ValueError: the text is not the path of a file.
        KeyFormatError: no header can carry a cookie; the message names it and never shows its value.

    Copies in the process share the key; a pickle drops cookies and keeps a path.
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
            del cookies  # tracebacks that show locals must not show them
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
            environment_proxy=False,  # a cookie is sent to one host, and through no proxy
        )
        try:
            async with timeout(self._timeout):
                return await self._ask(request)
        except asyncio.TimeoutError:
            pass  # raised below: here, the cancelled request would be its context, and keep the frames that hold the cookies
        raise APITimeoutError(f"{SESSION_URL} did not answer in {self._timeout:g} s. {_HELP}")

    def __reduce__(self) -> tuple[object, ...]:
        if self._path is None:
            return super().__reduce__()
        return (_from_file, (str(self._path), self._transport, self._timeout))

    async def _ask(self, request: HttpRequest) -> DemoKey:
        response = await (self._transport or default_transport()).send(request)
        try:
            # Any other body is a page of unknown length, without information.
            is_answer = response.status == 200 and "html" not in response.headers.get("content-type", "")
            return to_demo_key(response.status, response.headers, await _read_bounded(response) if is_answer else b"")
        finally:
            response.close()

    def _cookie_header(self) -> dict[str, str]:
        return {"Cookie": self._cookies.reveal()} if self._cookies else {}


def to_cookie_header(cookies: Mapping[str, str]) -> str:
    """Return the ``Cookie`` header of a session's cookies, byte for byte as given.

    If there are cookies with known session names, only those are used; otherwise all are.

    Raises:
        TypeError, KeyFormatError: as ``SessionCookieKey``.
    """
    problem = _problem_of(cookies)
    if problem:
        del cookies  # tracebacks that show locals must not show them
        raise problem
    # With the session itself, no other cookie has to be sent: no analytics, no preferences.
    of_session = [name for name in cookies if is_session_cookie(name)]
    return "; ".join(f"{name}={cookies[name]}" for name in of_session or cookies)


def to_cookie_path(given: str | os.PathLike[str]) -> Path:
    """Return the cookie file's path.

    Raises:
        ValueError: there is no such file. The text is shown only if it looks like a file name: it could be a cookie itself.
    """
    path = Path(given)
    if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a long text, and the message shows all of it
        return path
    is_name = path.suffix.lower() in {".txt", ".json"}
    shown = f"there is no file {path.name!r}" if is_name else "the text is not the path of a file"
    del given, path  # tracebacks that show locals must not show them
    raise ValueError(
        f'cookies: {shown}. Pass a mapping of names to values, the path of a cookies.txt or of exported JSON, or "browser"'
    )


def to_demo_key(status: int, headers: Mapping[str, str], body: bytes) -> DemoKey:
    """Return the key in the session endpoint's answer.

    Raises:
        MissingKeyError: nobody is signed in, or the account has no demo key.
        APIStatusError: the endpoint failed (5xx, 429).
        APIResponseValidationError: the key in it is invalid.
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
        error = failure.from_answer(status, wish, b"", now=time.time())  # the body may repeat the cookie
        error.response = None
        return error
    try:
        answer = repair.loads(body)
    except ValueError:
        return _missing("the answer was a page instead of JSON: a login page, or a bot check")
    if not answer:  # NextAuth says {} and Auth.js null, both with status 200
        return _missing("the session is signed out or has expired")
    user = answer.get("user") if isinstance(answer, dict) else None
    key = user.get("demoApiKey") if isinstance(user, dict) else None
    if key is None:
        return _missing("the account has no demo key: the answer has no user.demoApiKey")
    try:
        return DemoKey(to_key(key, "the session").reveal())
    except KeyFormatError as error:
        return APIResponseValidationError(f"{error}. {_HELP}", status_code=200)


def _problem_of(cookies: object) -> Exception | None:
    if not isinstance(cookies, Mapping):
        return TypeError(f"cookies is a {type(cookies).__name__}: pass a mapping of cookie names to values")
    return next(filter(None, (_cookie_problem(name, cookies[name]) for name in cookies)), None)


def _cookie_problem(name: object, value: object) -> Exception | None:
    if not isinstance(name, str):
        return TypeError(f"a cookie's name is a {type(name).__name__}: pass a mapping of str to str")
    if not NAME.fullmatch(name):
        shown = name.partition("=")[0]  # a value may follow by mistake
        return KeyFormatError(f"{shown!r} cannot be a cookie's name: use letters, digits and !#$%&'*+-.^_`|~ only")
    if not isinstance(value, str):
        return TypeError(f"the value of cookie {name!r} is a {type(value).__name__}: pass a str")
    if not VALUE.fullmatch(value):
        return KeyFormatError(
            f"the value of cookie {name!r} has a line break, a semicolon or a character outside ASCII"
        )
    if is_session_cookie(name) and value[:1] in {'"', "'"}:  # other cookies may have them; the session's never does
        return KeyFormatError(f"the value of cookie {name!r} has quotes around it: pass the value alone")
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
        del body, piece  # tracebacks that show locals must not show them


def _from_file(path: str, transport: Transport | None, seconds: float) -> SessionCookieKey:
    return SessionCookieKey(path, transport=transport, timeout=seconds)


def _read_header(path: Path) -> Secret | None:
    try:
        held = to_session(read_cookie_file(path), time.time())
    except (OSError, ValueError) as error:
        why = f"the cookie file {path} cannot be read ({getattr(error, 'strerror', None) or error})"
        raise _missing(why, "Use a cookies.txt, or the JSON that a cookie-export extension writes.") from None
    if not held:
        raise _missing(f"the cookie file {path} has no cookie of inference.cerebras.ai that is still valid")
    return Secret(to_cookie_header(held), "cookies")


def _missing(why: str, remedy: str = _HELP) -> MissingKeyError:
    return MissingKeyError(f"no demo key: {why}. {remedy}", tried=[("cookies", why)], remedy=remedy)
