"""Ctrl-C and SIGTERM, heard instead of obeyed."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def heard(on_signal: Callable[[int], None]) -> Iterator[None]:
    """While it lasts, SIGINT and SIGTERM call ``on_signal`` with their number; on other threads than the main one, nothing.

    ``signal.signal`` and not the loop's ``add_signal_handler``, which Windows does not have: the handler has to wake the loop
    itself, by ``call_soon_threadsafe``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, lambda heard_number, _frame: on_signal(heard_number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
