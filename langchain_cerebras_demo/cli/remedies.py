"""Remedies for errors of the service, for users of the command line."""

from __future__ import annotations

from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    CerebrasError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
)

_OF_REFUSALS: tuple[tuple[type[CerebrasError], str], ...] = (
    (
        AuthenticationError,
        "Copy the key again from https://cloud.cerebras.ai; `cerebras-demo keys` shows where it came from.",
    ),
    (PaymentRequiredError, "Check the billing page of https://cloud.cerebras.ai."),
    (PermissionDeniedError, "Check the key's permissions at https://cloud.cerebras.ai, and the proxy."),
)
_NO_KEY_SENT = "none was sent: set CEREBRAS_API_KEY"  # the client's own remedy for a 401

_OF_THE_REST: tuple[tuple[type[CerebrasError], str], ...] = (
    (NotFoundError, "Choose a model of `cerebras-demo models --remote` with --model."),
    (RateLimitError, "Wait until the limit resets."),
    (APITimeoutError, "Try again; if it persists, check the proxy and https://status.cerebras.ai."),
    (APIConnectionError, "Check the network and the proxy."),
)


def in_message(message: str) -> str:
    """Return the remedy for a message that begins with the class of a refusal, such as ``AuthenticationError: …``."""
    if _NO_KEY_SENT in message:
        return ""
    name = message.partition(":")[0]
    return next((remedy for kind, remedy in _OF_REFUSALS if kind.__name__ == name), "")


def of_refusal(error: Exception) -> str:
    """Return the remedy for a refused key or account, or no network; empty for other errors, whose messages contain it."""
    if _NO_KEY_SENT in str(error):
        return ""
    if type(error) is APIConnectionError:
        return "`cerebras-demo doctor` looks for the cause; --local needs no network once its model is downloaded."
    return next((remedy for kind, remedy in _OF_REFUSALS if isinstance(error, kind)), "")


def of_error(error: Exception) -> str:
    """Return the remedy for an error of a request."""
    return next((remedy for kind, remedy in (*_OF_REFUSALS, *_OF_THE_REST) if isinstance(error, kind)), "")
