"""What an answer announces of the account's limits, in short."""

from __future__ import annotations

from langchain_cerebras_demo.records import AnnouncedLimit, Limit, RateLimitSnapshot

__all__ = ["announce"]


def announce(date=None, **windows):
    """A snapshot: ``announce(requests_minute=(5, 4), tokens_day=(1000, 10, 3600.0))`` gives limit, remaining and reset."""
    named = ((Limit[name.upper().replace("_", "_PER_")], figures) for name, figures in windows.items())
    return RateLimitSnapshot(tuple(AnnouncedLimit(name, *figures) for name, figures in named), date)
