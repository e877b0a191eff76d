"""Values that belong to an event loop, and go with it."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_ATTRIBUTE = "_langchain_cerebras_demo_values"


class LoopLocal(Generic[T]):
    """One value a running event loop.

    The loop itself keeps it. A table of loops on our side would keep them alive: what is kept for a loop, such as a
    connection, refers to it. So a loop that is dropped without being closed leaves nothing behind.
    """

    def get(self) -> T | None:
        """The running loop's value; ``None`` where it has none."""
        value: T | None = self._values().get(self)
        return value

    def set(self, value: T) -> None:
        """Give the running loop its value, which must not refer to this object."""
        self._values()[self] = value

    def pop(self) -> T | None:
        """Take the running loop's value away."""
        value: T | None = self._values().pop(self, None)
        return value

    def _values(self) -> weakref.WeakKeyDictionary[LoopLocal[Any], Any]:
        loop: Any = asyncio.get_running_loop()
        values: weakref.WeakKeyDictionary[LoopLocal[Any], Any] | None = getattr(loop, _ATTRIBUTE, None)
        if values is None:
            values = weakref.WeakKeyDictionary()
            setattr(loop, _ATTRIBUTE, values)
        return values
