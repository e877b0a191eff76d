"""The bodies of Cerebras' errors, in both shapes that it uses.

Bodies are flat for 4xx (gateway, validation, quota) and enveloped for errors of the servers behind the gateway, as in recorded
answers; summaries of the documentation describe one shape for all.
"""

from __future__ import annotations

from typing import Any


def flat(message: str, kind: str, param: str, code: str) -> dict[str, Any]:
    """Return a flat body; ``kind`` is the API's ``type``."""
    return {"message": message, "type": kind, "param": param, "code": code}


def enveloped(status: int, message: str = "", kind: str = "", param: str = "", code: str = "") -> dict[str, Any]:
    """Return an enveloped body, as in a 500 and in an error inside a 200; ``kind`` is the API's ``type``."""
    error = {"message": message, "type": kind, "param": param, "code": code, "id": ""}
    return {"status_code": status, "error": error}


def quota_exceeded(unit: str, period: str) -> dict[str, Any]:
    """Return the body of a 429 for a limit, in the wording that users report.

    Args:
        unit: ``requests`` or ``tokens``.
        period: ``second``, ``minute``, ``hour`` or ``day``.
    """
    what = "too many requests sent" if unit == "requests" else "too many tokens processed"
    message = f"{unit.title()} per {period} limit exceeded - {what}."
    return flat(message, f"too_many_{unit}_error", "quota", f"{unit.removesuffix('s')}_quota_exceeded")


REQUESTS_EXCEEDED = quota_exceeded("requests", "minute")
"""The body of a 429 for too many requests per minute."""

TOKENS_EXCEEDED = quota_exceeded("tokens", "minute")
"""The body of a 429 for too many tokens per minute."""

QUEUE_EXCEEDED = flat(
    "We're experiencing high traffic right now! Please try again soon.",
    "too_many_requests_error",
    "queue",
    "queue_exceeded",
)
"""The body of a 429 for a busy service, as users report it."""

# 401 is as recorded; for 402, 403, 408 and 409 there are no recordings, so their messages are made up, in the recorded
# shape; those of 400 and 422 are, because a real one names a parameter of the request.
_FLAT: dict[int, tuple[str, str, str, str]] = {
    400: (
        "The request is not valid (scripted by LoopbackCerebras).",
        "invalid_request_error",
        "validation_error",
        "wrong_api_format",
    ),
    401: ("Wrong API Key", "invalid_request_error", "api_key", "wrong_api_key"),
    402: ("Payment required: no credit left.", "payment_required_error", "quota", "payment_required"),
    403: ("You may not do this.", "permission_denied_error", "api_key", "permission_denied"),
    404: ("Model x does not exist or you do not have access to it.", "not_found_error", "model", "model_not_found"),
    408: ("The request took too long.", "timeout_error", "", "request_timeout"),
    409: ("The request is in conflict with another one.", "conflict_error", "", "conflict"),
    413: ("Too many images or too large.", "invalid_request_error", "messages", "content_too_large"),
    422: (
        "The request is not valid (scripted by LoopbackCerebras).",
        "invalid_request_error",
        "validation_error",
        "wrong_api_format",
    ),
}


def documented_body(status: int) -> dict[str, Any]:
    """Return the body of this status: flat for 4xx (429: too many requests per minute), enveloped for the rest."""
    if status == 429:
        return REQUESTS_EXCEEDED
    if status in _FLAT:
        return flat(*_FLAT[status])
    if 400 <= status < 500:
        return flat(f"Refused with {status}.", "invalid_request_error", "", "refused")
    return enveloped(status, "Encountered a server error, please try again.", "server_error")


class RefusedError(Exception):
    """A request that the loopback Cerebras refuses before any scenario.

    Attributes:
        status: The HTTP status.
        body: The JSON body.
    """

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
