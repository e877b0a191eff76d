"""Values that belong to an event loop and are dropped with it."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_ATTRIBUTE = "_langchain_cerebras_demo_values"


class LoopLocal(Generic[T]):
    """One value per running event loop.

    The loop itself keeps it. A table of loops would keep them alive, because a value such as a connection refers to its
    loop. This way, a loop that is dropped without being closed leaves nothing behind.
    """

    def get(self) -> T | None:
        """Return the running loop's value, or ``None``."""
        value: T | None = self._values().get(self)
        return value

    def set(self, value: T) -> None:
        """Set the running loop's value, which must not refer to this object."""
        self._values()[self] = value

    def pop(self) -> T | None:
        """Remove and return the running loop's value."""
        value: T | None = self._values().pop(self, None)
        return value

    def _values(self) -> weakref.WeakKeyDictionary[LoopLocal[Any], Any]:
        loop: Any = asyncio.get_running_loop()
        values: weakref.WeakKeyDictionary[LoopLocal[Any], Any] | None = getattr(loop, _ATTRIBUTE, None)
        if values is None:
            values = weakref.WeakKeyDictionary()
            setattr(loop, _ATTRIBUTE, values)
        return values
