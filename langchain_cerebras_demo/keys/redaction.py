"""Removes a key from what a program shows of a failed call."""

from __future__ import annotations

import contextlib
from typing import TypeVar

from langchain_cerebras_demo.errors import APIError, OriginalError
from langchain_cerebras_demo.keys.secret import Secret
from langchain_cerebras_demo.wire.failure import hidden

E = TypeVar("E", bound=Exception)


def redact(problem: E, key: Secret | None) -> E:
    """Return ``problem`` without the key in its message, in its causes, and in the local variables of its frames.

    The frames stay, so that the traceback shows the lines; their variables are cleared, since those of reading and decoding
    hold the answer as it came. What it was raised from is replaced by an ``OriginalError``. The fields of an
    ``APIStatusError`` hold no key: see ``wire.failure``.
    """
    hide = key.hide if key is not None else bytes
    problem.args = tuple(hide(arg) if isinstance(arg, bytes) else hidden(arg, hide) for arg in problem.args)
    if isinstance(problem, APIError):
        problem.request_id = hidden(problem.request_id, hide)
    else:  # a bug, of ours or of a transport: JSONDecodeError, for one, has the whole answer as an attribute
        vars(problem).update({name: hidden(value, hide) for name, value in vars(problem).items()})
    cause = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)
    if cause is not None and not isinstance(cause, OriginalError):
        cause = OriginalError.of(cause, hide)
    problem.__cause__, problem.__context__ = cause, None
    _clear_variables(problem)
    return problem


def _clear_variables(problem: BaseException) -> None:
    """Clear the frames below the caller's, which have all ended.

    An exception that was raised before, as a transport of a user may do, brings the frames of earlier calls along. Those may
    be waiting to try again, and clearing a frame that waits would end it.
    """
    top = trace = problem.__traceback__
    while top is not None and trace is not None and (trace := trace.tb_next) is not None:
        if trace.tb_frame.f_code is top.tb_frame.f_code:
            return
        with contextlib.suppress(RuntimeError):  # it is still executing
            trace.tb_frame.clear()
