"""Whether an attempt that failed is made again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_cerebras_demo.errors import APIConnectionError, APIError, APIStatusError

LONGEST_WISH = 120.0
"""Seconds. A ``retry-after``, or a wait for a limit of the day, above it is a refusal."""


@dataclass(frozen=True)
class RetryPolicy:
    """Decides; it never sleeps.

    Args:
        max_retries: sends after the first one; 3 means at most four sends.
        first_wait: upper bound of the first wait, in seconds; it doubles an attempt.
        longest_wait: upper bound of any wait of our own choosing, in seconds.
        longest_wish: a ``retry-after`` above it, in seconds, is not worth waiting for: the error is raised with the figure.
    """

    max_retries: int = 2
    first_wait: float = 0.5
    longest_wait: float = 8.0
    longest_wish: float = LONGEST_WISH

    def wait(self, error: APIError, sends: int, chance: float) -> float | None:
        """Return the seconds until the next attempt, or ``None`` to stop.

        Args:
            error: why the attempt failed; ``is_retryable`` is its own word on whether a fresh one may succeed.
            sends: how many have been made.
            chance: a number from 0 to 1, drawn by the caller: full jitter, so that callers do not wake together
                (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
        """
        if sends > self.max_retries or not error.is_retryable:
            return None
        if isinstance(error, APIConnectionError) and error.on_reused_connection:
            return 0.0  # the server has closed it while it was idle: nothing has to get better first
        doublings = min(sends - 1, 64)  # more is no longer wait, and 2.0 ** 1024 an OverflowError
        backoff = min(self.longest_wait, self.first_wait * 2.0**doublings) * chance
        wish = error.retry_after if isinstance(error, APIStatusError) else None
        if wish is None:
            return backoff
        return None if wish > self.longest_wish else wish + backoff
