"""Every exception of the package.

    CerebrasError
    ├─ MissingKeyError · ModelAuthenticationError     no source had a key: what was tried, in order, and what to do
    ├─ KeyFormatError  · ModelAuthenticationError     a key that cannot be a header value; never shows it
    ├─ KeyHostError    · ModelPermissionDeniedError   a key would have been sent to a host that it does not belong to
    ├─ LocalServerError                               the embedded model could not be started, or has ended
    ├─ InvalidRequestError · ModelInvalidRequestError refused before anything was sent; also a ValueError
    │  └─ InvalidRequestTypeError                     an unknown parameter or a value of a wrong type; also a TypeError
    ├─ ModelRefusalError · ModelRefusalError          the model declined to give structured output
    └─ APIError
       ├─ APIConnectionError        · ModelConnectionError   also Python's ConnectionError
       │  ├─ APITimeoutError        · ModelTimeoutError      also Python's TimeoutError
       │  └─ StreamInterruptedError   cut off, or neither a finish_reason nor [DONE]
       ├─ APIResponseValidationError  not JSON, not UTF-8, no choices, an HTML page
       └─ APIStatusError              the service answered with an error
          ├─ BadRequestError (400)          · ModelInvalidRequestError
          │  └─ ContextOverflowError        · LangChain's ContextOverflowError
          ├─ AuthenticationError (401)      · ModelAuthenticationError
          ├─ PaymentRequiredError (402)     · ModelError
          ├─ PermissionDeniedError (403)    · ModelPermissionDeniedError
          ├─ NotFoundError (404)            · ModelNotFoundError
          ├─ UnprocessableEntityError (422) · ModelInvalidRequestError
          ├─ RateLimitError (429)           · ModelRateLimitError
          │  └─ QueueFullError                too many calls of this client wait already; nothing was sent
          └─ InternalServerError (5xx)      · ModelAPIError

    OriginalError                                     never raised: the ``__cause__`` in place of another library's exception

After the dot: the class of ``langchain_core.exceptions`` that each also derives from, so that LangChain's middleware
recognizes it. ``is_retryable`` says whether a fresh call may succeed.

The names are those of the vendors' SDKs. No exception holds a key or a cookie. All of them can be pickled: ``args`` holds
only the message, and everything else is in ``__dict__``. ``docs/troubleshooting.md`` has a section on each.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core import exceptions as langchain

from langchain_cerebras_demo.records import Limit, RateLimitSnapshot

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "CerebrasError",
    "ContextOverflowError",
    "ErrorResponse",
    "InternalServerError",
    "InvalidRequestError",
    "InvalidRequestTypeError",
    "KeyFormatError",
    "KeyHostError",
    "LocalServerError",
    "MissingKeyError",
    "ModelRefusalError",
    "NotFoundError",
    "OriginalError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "QueueFullError",
    "RateLimitError",
    "StreamInterruptedError",
    "UnprocessableEntityError",
    "is_retryable",
]

LONGEST_WAIT = 120.0
"""Seconds. A daily limit, or a ``retry-after``, that needs a longer wait raises an error instead."""

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk

    _Refusal = langchain.ModelRefusalError
else:  # langchain-core has the class from 1.7.5 on; its parsers raised OutputParserException before
    _Refusal = getattr(langchain, "ModelRefusalError", langchain.OutputParserException)

MAX_MESSAGE_CHARACTERS = 2000

_MAX_CAUSE_CHARACTERS = 300
_MAX_CAUSES = 10


class CerebrasError(langchain.ModelError):
    """The base of all exceptions of this package. ``str()`` stays under 2,000 characters."""

    def __init__(self, message: str = "") -> None:
        if len(message) >= MAX_MESSAGE_CHARACTERS:
            message = message[: MAX_MESSAGE_CHARACTERS - 3] + " …"
        super().__init__(message)


class OriginalError(Exception):
    """The type, the message and the traceback of another library's exception, or of one of Python's.

    It is only used as the ``__cause__`` of an error. The original is not kept, because aiohttp's exceptions hold the
    request's headers, including the key, and Python's may hold the answer.
    """

    @classmethod
    def of(
        cls, error: BaseException, hide: Callable[[bytes], bytes] | None = None, *, depth: int = _MAX_CAUSES
    ) -> OriginalError:
        """Return what can be shown of an exception, and of what caused it.

        Args:
            error: The original.
            hide: Removes the key from a text. Without it, only messages of the operating system are kept, and no frames,
                because others may repeat what was sent.
            depth: The number of causes that are kept.
        """
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        is_systems = (
            isinstance(error, OSError) and error.errno is not None
        )  # timeouts are OSErrors too, but their text may come from any library
        message = str(error) if is_systems or (hide is not None and kind.__module__ == "builtins") else ""
        if hide is not None:
            message = hide(message.encode("utf-8", "replace")).decode("utf-8", "replace")
        original = cls(f"{name}: {message[:_MAX_CAUSE_CHARACTERS]}" if message else name)
        if hide is not None:
            traceback.clear_frames(error.__traceback__)
            original.__traceback__ = error.__traceback__
        linked = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if linked is not None and depth:
            original.__cause__ = cls.of(linked, hide, depth=depth - 1)
        return original


class MissingKeyError(CerebrasError, langchain.ModelAuthenticationError):
    """No source had a key.

    ``tried`` lists the pairs (source, why it had none) in the order of the sources; ``remedy`` is what to do.
    """

    def __init__(self, message: str = "", *, tried: Sequence[tuple[str, str]] = (), remedy: str = "") -> None:
        super().__init__(message)
        self.tried = tuple(tried)
        self.remedy = remedy


class KeyFormatError(CerebrasError, langchain.ModelAuthenticationError):
    """A key or a cookie cannot be a header value: empty, with a line break or a space, or non-ASCII. It is never shown."""


class KeyHostError(CerebrasError, langchain.ModelPermissionDeniedError):
    """A key would have been sent to a host that it does not belong to. Nothing was sent."""


class LocalServerError(CerebrasError):
    """The embedded model could not be installed, downloaded, started or kept running. The message says what to do."""


class InvalidRequestError(CerebrasError, langchain.ModelInvalidRequestError, ValueError):
    """The request was refused before it was sent. The text names the parameter or the message, and the remedy.

    A fresh call with the same arguments cannot succeed. Refusals that depend on the catalogue or on the API's documentation,
    either of which may be out of date, are skipped with ``check_requests=False``.
    """


class InvalidRequestTypeError(InvalidRequestError, TypeError):
    """A parameter's name is unknown to the API, or a parameter or message has a value of the wrong type."""


def to_refusal(problem: Exception) -> InvalidRequestError:
    """Return the error of a call that is refused for this ``ValueError`` or ``TypeError``, with the same text."""
    kind = InvalidRequestTypeError if isinstance(problem, TypeError) else InvalidRequestError
    return kind(str(problem))


class ModelRefusalError(CerebrasError, _Refusal):
    """The model declined to give structured output (``with_structured_output``), or a content filter stopped the answer.

    Other calls return the refusing message. ``raw_message`` is that message, ``None`` if there was only text.
    Also LangChain's ``ModelRefusalError`` (langchain-core 1.7.5 and newer), or its ``OutputParserException`` before.
    """

    def __init__(self, message: str = "", *, raw_message: Any = None) -> None:
        super().__init__(message)
        self.raw_message = raw_message


class APIError(CerebrasError):
    """A call failed while waiting to send, while sending, or before the end of the answer.

    ``partial`` holds what had arrived before the failure: an ``AIMessageChunk`` from the chat model, the text from the
    client and the provider, ``None`` if nothing had arrived. ``attempts`` is the number of requests that the call sent,
    ``waited`` the seconds spent waiting to send: for a rate limit, and between attempts.

    ``request_id`` is the service's id for the request: its ``x-request-id`` header, else ``cf-ray``, else
    ``inference-id``, else the ``id`` in the error itself. ``usage`` holds the token counts that had arrived, with
    ``prompt_tokens``, ``completion_tokens`` and ``total_tokens``. Both are ``None`` if the service has not sent them.
    """

    partial: AIMessageChunk | str | None = None
    attempts: int = 0
    waited: float = 0.0
    request_id: str | None = None
    usage: Any = None


class APIConnectionError(APIError, langchain.ModelConnectionError, ConnectionError):
    """The service could not be reached, or the connection broke before the answer began.

    LangGraph's default policy retries it, including timeouts, because it is a ``ConnectionError``; other ``OSError`` are not
    retried there. ``errno`` is ``None``; the operating system's own error is the ``__cause__``.

    ``on_reused_connection`` says whether the request was sent on a connection that had been used before, which the server
    may have closed meanwhile.
    """

    on_reused_connection: bool = False


class APITimeoutError(APIConnectionError, langchain.ModelTimeoutError, TimeoutError):
    """Connecting, the first event, the gap between two events or the whole call took too long."""


class StreamInterruptedError(APIConnectionError):
    """The stream was cut off, or ended with neither a ``finish_reason`` nor ``[DONE]``. ``partial`` holds what had arrived."""


class APIResponseValidationError(APIError):
    """The answer is not what the API promises: not valid JSON, not UTF-8, without choices, an HTML page, or too large.

    ``status_code`` is the answer's HTTP status, ``None`` inside a stream.
    """

    def __init__(self, message: str = "", *, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class ErrorResponse:
    """A copy of a failed answer for LangChain's tracers: status, headers without cookies, and text.

    It does not refer to a connection, so an exception can be stored, pickled and logged.
    """

    def __init__(self, status_code: int, headers: Mapping[str, str], text: str) -> None:
        self.status_code = status_code
        self.headers = dict(headers)
        self.text = text

    def json(self) -> Any:
        """Return the body as JSON. Raises ``ValueError`` if it is not valid JSON."""
        return json.loads(self.text)

    def __repr__(self) -> str:
        return f"<ErrorResponse {self.status_code}>"


class APIStatusError(APIError):
    """The service answered with an error, as an HTTP status or as an event inside a stream.

    ``status_code`` is the HTTP status, or the one that the error event names. ``code``, ``type`` and ``param`` are as the
    service sent them. ``retry_after`` is the wait that it asks for in seconds, ``limits`` the rate limits that it reported,
    ``body`` the decoded JSON (or the text, if it is not valid JSON), and ``response`` a copy for tracers.
    """

    status_code: int = 0

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int | None = None,
        code: str | None = None,
        type: str | None = None,  # noqa: A002 - the API's own word
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        limits: RateLimitSnapshot | None = None,
        body: Any = None,
        response: ErrorResponse | None = None,
    ) -> None:
        super().__init__(message)
        if status_code is not None:
            self.status_code = status_code
        if self.status_code in {408, 409}:  # as in the vendors' SDKs: a timeout of the server, a temporary conflict
            self.is_retryable = True
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        self.limits = limits
        self.body = body
        self.response = response


class BadRequestError(APIStatusError, langchain.ModelInvalidRequestError):
    """400: the service rejects the request (also 413: too many or too large images)."""

    status_code = 400


class ContextOverflowError(BadRequestError, langchain.ContextOverflowError):
    """400: prompt and answer do not fit the model's context window. LangChain's summarisation reacts to this class."""


class AuthenticationError(APIStatusError, langchain.ModelAuthenticationError):
    """401: the key is not accepted."""

    status_code = 401


class PaymentRequiredError(APIStatusError):
    """402: the account has no credit left. A fresh call fails as well."""

    status_code = 402


class PermissionDeniedError(APIStatusError, langchain.ModelPermissionDeniedError):
    """403: the key is not allowed to do this, or something in front of the service rejects the client."""

    status_code = 403


class NotFoundError(APIStatusError, langchain.ModelNotFoundError):
    """404: no such model for this key, or no such address."""

    status_code = 404


class UnprocessableEntityError(APIStatusError, langchain.ModelInvalidRequestError):
    """422: the request is well-formed but not acceptable."""

    status_code = 422


class RateLimitError(APIStatusError, langchain.ModelRateLimitError):
    """429: a limit of the account is used up, or the service is busy.

    ``limit`` is the limit's name: ``requests per minute``, ``tokens per day``, ``the service's queue`` and so on.
    """

    status_code = 429
    limit: Limit | None = None

    @property
    def is_worth_waiting(self) -> bool:
        """Whether waiting at most two minutes may help: by ``retry_after`` if it is known, else unless the limit is a daily one."""
        if self.retry_after is not None:
            return self.retry_after <= LONGEST_WAIT
        return self.limit is None or self.limit.period != "day"


class QueueFullError(RateLimitError):
    """As many calls of this client wait as ``max_queue`` allows. Nothing was sent, and ``attempts`` is 0.

    ``limit`` is the limit that the waiting calls wait for, ``None`` for a slot. A web server should answer its own client with
    503.
    """


class InternalServerError(APIStatusError, langchain.ModelAPIError):
    """5xx: the service failed. Also raised for an error event that names no status."""

    status_code = 500


def is_retryable(error: BaseException) -> bool:
    """Return whether a fresh attempt may succeed where ``error`` was raised.

    For retry policies that accept a function, such as LangGraph's ``RetryPolicy(retry_on=is_retryable)``. For errors of
    LangChain models, their own ``is_retryable`` decides. Of other exceptions, ``ConnectionError`` and ``TimeoutError`` are
    retried; all others are taken for bugs and are not.
    """
    if isinstance(error, langchain.ModelError):
        return error.is_retryable
    return isinstance(error, ConnectionError | TimeoutError)
