"""What still works while the interpreter ends: no thread can be started any more, and nothing be given to one."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from langchain_cerebras_demo.errors import CerebrasError

T = TypeVar("T")

ENDED = "no call can be made any more: the interpreter ends. Make it before the program's end"


def is_ending() -> bool:
    """Whether the main thread has done its work: exit functions, ``__del__`` and threads that are left still run."""
    # Thread pools are shut first and nothing public says so; whoever waits in one is waited for.
    are_pools_shut = getattr(concurrent.futures.thread, "_shutdown", False)
    return are_pools_shut or sys.is_finalizing() or not threading.main_thread().is_alive()


def refuse_at_the_end() -> None:
    """Does nothing, but for the interpreter's very last moments: nothing can be imported then, and no other thread runs.

    Raises:
        CerebrasError: these are its last moments.
    """
    if sys.is_finalizing():
        raise CerebrasError(ENDED)


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """What ``function`` returns, from a thread of its own; while the interpreter ends, from this one."""
    return function(*args) if is_ending() else await asyncio.to_thread(function, *args)
