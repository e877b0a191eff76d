"""Taking a key out of what a program shows of a failed call."""

from __future__ import annotations

from typing import TypeVar

from langchain_cerebras_demo.errors import APIError
from langchain_cerebras_demo.keys.secret import Secret
from langchain_cerebras_demo.wire.failure import hidden

E = TypeVar("E", bound=APIError)


def redact(problem: E, key: Secret | None) -> E:
    """``problem`` without the key, should its message repeat it.

    What it was raised from goes too: the frames of reading and decoding hold the answer as it came. The fields of an
    ``APIStatusError`` hold no key: see ``wire.failure``.
    """
    problem.__cause__ = problem.__context__ = problem.__traceback__ = None
    if key is not None:
        problem.args = tuple(hidden(arg, key.hide) for arg in problem.args)
        problem.request_id = hidden(problem.request_id, key.hide)
    return problem
