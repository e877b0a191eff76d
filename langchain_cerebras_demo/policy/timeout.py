"""How long each stage of a call may take."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Timeout:
    """Bounds of one call, each in seconds; ``None`` is no bound.

    Comments and keep-alives of a stream do not count as progress.

    Args:
        connect: to open a connection: TCP and TLS.
        first_event: from sending an attempt until its first event (for a whole answer: until its last byte).
        idle: between two events of a stream.
        total: the whole call, retries included.

    Raises:
        ValueError: a bound that is no positive, finite number.
    """

    connect: float | None = 60.0
    first_event: float | None = 60.0
    idle: float | None = 60.0
    total: float | None = None

    def __post_init__(self) -> None:
        for bound in fields(self):
            _check(f"timeout.{bound.name}", getattr(self, bound.name))

    @classmethod
    def from_value(cls, value: Timeout | float | None) -> Timeout:
        """A ``Timeout`` from what users give: one, a number for connect, first_event and idle alike, or ``None``.

        Raises:
            TypeError, ValueError: anything else; the message names it.
        """
        if isinstance(value, Timeout):
            return value
        _check("timeout", value)
        return cls(connect=value, first_event=value, idle=value)


def _check(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is no number of seconds: give a number, a Timeout or None")
    if not 0 < value <= sys.float_info.max:  # neither NaN nor an int that no clock can be added to
        raise ValueError(f"{name}={value!r}: give a positive number of seconds, or None for no bound")
