"""The interpreter's shutdown, when no thread can be started and no work can be submitted to one."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from langchain_cerebras_demo.errors import CerebrasError

T = TypeVar("T")

ENDED = "no call can be made while the interpreter shuts down: make it before the end of the program"


def is_ending() -> bool:
    """Return whether the main thread has finished: only exit functions, ``__del__`` and remaining threads still run."""
    # Thread pools are shut down first, which has no public flag; calls that run in one are waited for.
    are_pools_shut = getattr(concurrent.futures.thread, "_shutdown", False)
    return are_pools_shut or sys.is_finalizing() or not threading.main_thread().is_alive()


def refuse_at_the_end() -> None:
    """Raise an error if the interpreter is finalizing: nothing can be imported then, and no other thread runs.

    Raises:
        CerebrasError: the interpreter is finalizing.
    """
    if sys.is_finalizing():
        raise CerebrasError(ENDED)


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Call ``function`` in another thread, or in this one if the interpreter is shutting down, and return its result."""
    return function(*args) if is_ending() else await asyncio.to_thread(function, *args)
