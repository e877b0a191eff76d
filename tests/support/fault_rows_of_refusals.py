"""The refusals that the service has been seen to send: the 429s in its own words, the others by their codes."""

from __future__ import annotations

import json

from langchain_cerebras_demo.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)
from langchain_cerebras_demo.testing import RawAnswer, flat
from tests.support.faults import JSON, Ends, Fault, both

__all__ = ["REFUSALS"]

QUOTAS = {
    "Requests": ("too many requests sent", ("second", "minute", "hour", "day"), "request_quota_exceeded"),
    "Tokens": ("too many tokens processed", ("minute", "hour", "day"), "token_quota_exceeded"),
}


def limited(name: str, message: str, param: str, code: str) -> Fault:
    """A 429, tried again once unless it names a day's limit. None was ever seen with ``retry-after``."""
    body = json.dumps(flat(message, "too_many_requests_error", param, code)).encode()
    is_day = name.endswith(" per day")
    ends = Ends(RateLimitError, f"429: {message} ({'limit: ' if is_day else '2 attempts'}", sends=1 if is_day else 2)
    return both(f"429: {name}, as worded", f"429, `{code}`: “{message}”", RawAnswer(429, JSON, body), ends)


def refused(name: str, status: int, code: str, error: type[APIStatusError], hint: str = "") -> Fault:
    """A refusal that is never tried again."""
    body = json.dumps(flat("No.", "invalid_request_error", "", code)).encode()
    step, ends = RawAnswer(status, JSON, body), Ends(error, f"{status}: No.{hint}")
    return both(f"{status}: {name}", f"{status}, `{code}`", step, ends)


REFUSALS = [
    *(
        limited(f"{unit.lower()} per {period}", f"{unit} per {period} limit exceeded - {why}.", "quota", code)
        for unit, (why, periods, code) in QUOTAS.items()
        for period in periods
    ),
    limited(
        "the queue", "We're experiencing high traffic right now! Please try again soon.", "queue", "queue_exceeded"
    ),
    refused("a wrong key, as coded", 401, "wrong_api_key", AuthenticationError),
    refused("a model that does not exist", 404, "model_not_found", NotFoundError, " Served are qwen-3.8-27b"),
    refused("a model that has just been archived", 404, "model_archived", NotFoundError, " Served are qwen-3.8-27b"),
    refused("an image that is too large", 413, "image_too_large", BadRequestError),
    both(
        "403: a user agent that Cloudflare does not let through",
        "403, “error code: 1010” as text",
        RawAnswer(403, {"content-type": "text/plain"}, b"error code: 1010"),
        Ends(PermissionDeniedError, "403: error code: 1010"),
    ),
]
