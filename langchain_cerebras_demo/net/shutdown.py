"""The interpreter's last moments: no thread can be started any more, and no work be given to one."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from langchain_cerebras_demo.errors import CerebrasError

T = TypeVar("T")

ENDED = "no call can be made while the interpreter ends: make it before the end of the program"


def is_ending() -> bool:
    """Return whether the main thread has finished: only exit functions, ``__del__`` and remaining threads still run."""
    # Thread pools are shut down first, which has no public flag; calls that run in one are waited for.
    are_pools_shut = getattr(concurrent.futures.thread, "_shutdown", False)
    return are_pools_shut or sys.is_finalizing() or not threading.main_thread().is_alive()


def refuse_at_the_end() -> None:
    """Raise an error in the interpreter's very last moments, when nothing can be imported and no other thread runs.

    Raises:
        CerebrasError: these are its last moments.
    """
    if sys.is_finalizing():
        raise CerebrasError(ENDED)


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Return what ``function`` returns, called in another thread, or in this one while the interpreter ends."""
    return function(*args) if is_ending() else await asyncio.to_thread(function, *args)
