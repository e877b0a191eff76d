"""Every exception of the package.

    CerebrasError
    ├─ MissingKeyError · ModelAuthenticationError     no source had a key: what was tried, in order, and what to do
    ├─ KeyFormatError  · ModelAuthenticationError     a key that cannot be a header value; never shows it
    ├─ KeyHostError    · ModelPermissionDeniedError   a key was about to leave for a host that it does not belong to
    ├─ LocalServerError                               the embedded model could not be started or died
    ├─ InvalidRequestError · ModelInvalidRequestError refused before anything was sent; also a ValueError
    │  └─ InvalidRequestTypeError                     an unknown parameter or a value of a wrong type; also a TypeError
    ├─ ModelRefusalError · ModelRefusalError          the model declined to give the structured answer it was asked for
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

Behind the dot: the class of ``langchain_core.exceptions`` that each also is, so LangChain's middleware knows it, and
``is_retryable`` answers what middleware asks: may a fresh call succeed?

The names are those of the vendors' SDKs. No exception holds a key or a cookie. All of them pickle: ``args`` is the
message alone and everything else stands in ``__dict__``.
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
"""Seconds. A limit of the day, or a ``retry-after``, that needs more is not waited for."""

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
    """Another library's exception, or one of Python's, by its type, its message and the lines it came from.

    It is only ever the ``__cause__`` of an error. The original is not kept: aiohttp's exceptions hold the request's headers,
    key included, and Python's may hold the answer.
    """

    @classmethod
    def of(
        cls, error: BaseException, hide: Callable[[bytes], bytes] | None = None, *, depth: int = _MAX_CAUSES
    ) -> OriginalError:
        """Return what can be shown of an exception, and of what caused it.

        Args:
            error: The original.
            hide: Removes the key from a text. Without it only the operating system's messages are kept, and no frames: others
                may repeat what was sent.
            depth: How many causes of causes are kept.
        """
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        is_systems = (
            isinstance(error, OSError) and error.errno is not None
        )  # time-outs are OSErrors with a text of anybody's
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

    ``tried`` lists (source, why it had none) in the order they were asked; ``remedy`` is what to do about it.
    """

    def __init__(self, message: str = "", *, tried: Sequence[tuple[str, str]] = (), remedy: str = "") -> None:
        super().__init__(message)
        self.tried = tuple(tried)
        self.remedy = remedy


class KeyFormatError(CerebrasError, langchain.ModelAuthenticationError):
    """A key or a cookie that cannot be a header value: empty, with a line break or a space, or non-ASCII. Never shows it."""


class KeyHostError(CerebrasError, langchain.ModelPermissionDeniedError):
    """A key was about to leave for a host that it does not belong to. Nothing was sent."""


class LocalServerError(CerebrasError):
    """The embedded model's server could not be installed, fetched, started or kept alive; says what to do."""


class InvalidRequestError(CerebrasError, langchain.ModelInvalidRequestError, ValueError):
    """The request was refused before anything was sent: the message names the parameter or the message, and the remedy.

    A fresh call with the same arguments cannot succeed. Refusals that depend on the catalogue or on the API's documentation,
    either of which may be out of date, are skipped with ``check_requests=False``.
    """


class InvalidRequestTypeError(InvalidRequestError, TypeError):
    """A call's argument or message has a name that the API does not know, or a value of a wrong type."""


class ModelRefusalError(CerebrasError, _Refusal):
    """The model declined to answer, in a call that needs its answer: one with ``with_structured_output``.

    A plain call returns the refusing message as it is. ``raw_message`` is that message, ``None`` where there was only text.
    Also LangChain's ``ModelRefusalError`` (langchain-core 1.7.5 and newer), or its ``OutputParserException`` before.
    """

    def __init__(self, message: str = "", *, raw_message: Any = None) -> None:
        super().__init__(message)
        self.raw_message = raw_message


class APIError(CerebrasError):
    """Something went wrong between sending a request and the last byte of its answer.

    ``partial`` holds what had come before the failure: an ``AIMessageChunk`` from the chat model, the text from the
    client and the provider, ``None`` where nothing had come. ``attempts`` counts the sends that were made, ``waited`` the
    seconds that were spent waiting to send: for a rate limit, and between attempts.

    ``request_id`` is the service's name for the request: its ``x-request-id`` header, else ``cf-ray``, else
    ``inference-id``, else the ``id`` that the error itself names. ``usage`` holds the token counts that had come, with
    ``prompt_tokens``, ``completion_tokens`` and ``total_tokens``. Both are ``None`` where the service has not told them.
    """

    partial: AIMessageChunk | str | None = None
    attempts: int = 1
    waited: float = 0.0
    request_id: str | None = None
    usage: Any = None


class APIConnectionError(APIError, langchain.ModelConnectionError, ConnectionError):
    """The service could not be reached, or the connection broke before the answer began.

    As a ``ConnectionError`` it is retried by LangGraph's default policy, time-outs included: that policy retries no other
    ``OSError``. ``errno`` is ``None``; the operating system's own error is the ``__cause__``.

    ``on_reused_connection`` says that the request went out on a connection that had been used before, which the server may
    have closed meanwhile.
    """

    on_reused_connection: bool = False


class APITimeoutError(APIConnectionError, langchain.ModelTimeoutError, TimeoutError):
    """Connecting, the first event, the gap between two events or the whole call took too long."""


class StreamInterruptedError(APIConnectionError):
    """The stream was cut off, or ended with neither a ``finish_reason`` nor ``[DONE]``; ``partial`` holds what came."""


class APIResponseValidationError(APIError):
    """The answer is not what the API promises: not JSON, not UTF-8, without choices, an HTML page, too large.

    ``status_code`` is the HTTP status it came with, ``None`` where it came inside a stream.
    """

    def __init__(self, message: str = "", *, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class ErrorResponse:
    """What LangChain's tracers read of a failed answer: status, headers without cookies, the text.

    Detached from any connection, so that an exception can be kept, pickled and logged.
    """

    def __init__(self, status_code: int, headers: Mapping[str, str], text: str) -> None:
        self.status_code = status_code
        self.headers = dict(headers)
        self.text = text

    def json(self) -> Any:
        """The body as JSON. Raises ``ValueError`` where it is none."""
        return json.loads(self.text)

    def __repr__(self) -> str:
        return f"<ErrorResponse {self.status_code}>"


class APIStatusError(APIError):
    """The service answered with an error, by HTTP status or as an event inside a stream.

    ``status_code`` is the HTTP status, or the one the error event speaks of. ``code``, ``type`` and ``param`` are the
    service's own words. ``retry_after`` is the wait it asks for in seconds, ``limits`` what it said of the rate limits, ``body`` the
    decoded JSON (the text where it was none), and ``response`` a small detached copy for tracers.
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
        if self.status_code in {408, 409}:  # as the vendors' SDKs: a timeout of theirs, a conflict that passes
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
    """400: the service refuses the request as it stands (also 413: too many or too large images)."""

    status_code = 400


class ContextOverflowError(BadRequestError, langchain.ContextOverflowError):
    """Prompt and answer do not fit the model's context window; LangChain's summarisation reacts to it."""


class AuthenticationError(APIStatusError, langchain.ModelAuthenticationError):
    """401: the key is not accepted."""

    status_code = 401


class PaymentRequiredError(APIStatusError):
    """402: the account has no credit left. A fresh call does not help."""

    status_code = 402


class PermissionDeniedError(APIStatusError, langchain.ModelPermissionDeniedError):
    """403: the key may not do this, or something in front of the service refuses the client."""

    status_code = 403


class NotFoundError(APIStatusError, langchain.ModelNotFoundError):
    """404: no such model for this key, or no such address."""

    status_code = 404


class UnprocessableEntityError(APIStatusError, langchain.ModelInvalidRequestError):
    """422: the request is well-formed and still not acceptable."""

    status_code = 422


class RateLimitError(APIStatusError, langchain.ModelRateLimitError):
    """429: a limit of the account is used up, or the service is busy.

    ``limit`` says which, and is its name in words: ``requests per minute``, ``tokens per day``, ``the service's queue``.
    """

    status_code = 429
    limit: Limit | None = None

    @property
    def is_worth_waiting(self) -> bool:
        """Whether a wait of at most two minutes may do: where the service says how long, that decides, else whether the limit is one of the day."""
        if self.retry_after is not None:
            return self.retry_after <= LONGEST_WAIT
        return self.limit is None or self.limit.period != "day"


class QueueFullError(RateLimitError):
    """As many calls of this client wait as ``max_queue`` allows. Nothing was sent; ``attempts`` is 0.

    A web server answers its own client with 503. ``limit`` is what the calls in the queue wait for, ``None`` for a slot.
    """


class InternalServerError(APIStatusError, langchain.ModelAPIError):
    """5xx: the service failed. Also an error event that names no status."""

    status_code = 500


def is_retryable(error: BaseException) -> bool:
    """Return whether a fresh attempt may succeed where ``error`` was raised.

    For retry policies that are given a function, such as ``RetryPolicy(retry_on=is_retryable)`` of LangGraph. An error of any
    LangChain model answers for itself. Of other exceptions, Python's ``ConnectionError`` and ``TimeoutError`` may pass; the
    rest is taken for a bug, and raised at once.
    """
    if isinstance(error, langchain.ModelError):
        return error.is_retryable
    return isinstance(error, ConnectionError | TimeoutError)
