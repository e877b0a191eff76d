"""How long each stage of a call may take."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields

from langchain_cerebras_demo.wire.request import nearest


@dataclass(frozen=True)
class Timeout:
    """Time limits of one call, each in seconds; ``None`` means no limit.

    Comments and keep-alives of a stream do not count as progress.

    Args:
        connect: the longest time to open a connection: TCP and TLS.
        first_event: the longest time from sending an attempt to its first event, or to its last byte without streaming.
        idle: the longest time between two events of a stream.
        total: the longest time from the moment the call gets its slot (``max_concurrency``) to its end, including retries and
            waits for a rate limit.

    Raises:
        TypeError, ValueError: a limit is not a positive, finite number.
    """

    connect: float | None = 60.0
    first_event: float | None = 60.0
    idle: float | None = 60.0
    total: float | None = None

    def __post_init__(self) -> None:
        for bound in fields(self):
            _check(f"timeout.{bound.name}", getattr(self, bound.name))

    @classmethod
    def from_value(cls, value: Timeout | float | Mapping[str, float | None] | None) -> Timeout:
        """Return a ``Timeout``.

        Args:
            value: a ``Timeout``, a mapping of its fields, a number for connect, first_event and idle, or ``None`` for no limits.

        Raises:
            TypeError, ValueError: any other value; the message names it.
        """
        if isinstance(value, Timeout):
            return value
        if isinstance(value, Mapping):
            names = [bound.name for bound in fields(cls)]
            for name in value:
                if name not in names:
                    hint = nearest(str(name), names)
                    raise ValueError(f"timeout[{name!r}] is not a limit: the limits are {', '.join(names)}{hint}")
            return cls(**value)
        _check("timeout", value)
        return cls(connect=value, first_event=value, idle=value)


def _check(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is not a number of seconds: give a number, a Timeout or None")
    if not 0 < value <= sys.float_info.max:  # neither NaN nor an int too large to be added to a clock
        raise ValueError(f"{name}={value!r}: give a positive number of seconds, or None for no limit")
