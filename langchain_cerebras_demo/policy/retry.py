"""Whether a failed request is sent again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_cerebras_demo.errors import LONGEST_WAIT, APIConnectionError, APIError, APIStatusError, RateLimitError


@dataclass(frozen=True)
class RetryPolicy:
    """Decide whether a failed request is sent again. It never sleeps itself.

    Args:
        max_retries: sends after the first one; 3 means at most four sends.
        max_refusals: the number of 429s after which a row of a bulk run or a Ray job fails. In these, a 429 does not use up
            a retry.
        first_wait: the longest first wait, in seconds; it doubles with every attempt.
        longest_wait: the longest wait that the server did not ask for, in seconds.
        longest_retry_after: the longest ``retry-after`` that is respected, in seconds.
    """

    max_retries: int = 2
    max_refusals: int = 10
    first_wait: float = 0.5
    longest_wait: float = 8.0
    longest_retry_after: float = LONGEST_WAIT

    def wait(self, error: APIError, sends: int, chance: float, *, refusals: int | None = None) -> float | None:
        """Return the seconds until the next attempt, or ``None`` to stop.

        Args:
            error: why the attempt failed; ``is_retryable`` says whether a fresh one may succeed.
            sends: requests sent so far, without those that do not count against ``max_retries``.
            chance: a number from 0 to 1, drawn by the caller: full jitter, so that callers do not wake together
                (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
            refusals: the 429s so far, this one included, where they count against ``max_refusals``; otherwise ``None``.
        """
        failed, most = (sends, self.max_retries) if refusals is None else (refusals, self.max_refusals - 1)
        if failed > most or not error.is_retryable:
            return None
        if isinstance(error, RateLimitError) and not error.is_worth_waiting:
            return None
        if isinstance(error, APIConnectionError) and error.on_reused_connection:
            return 0.0  # the server closed it while it was idle: there is nothing to wait for
        doublings = min(failed - 1, 64)  # 2.0 ** 1024 is an OverflowError
        backoff = min(self.longest_wait, self.first_wait * 2.0**doublings) * chance
        retry_after = error.retry_after if isinstance(error, APIStatusError) else None
        if retry_after is None:
            return backoff
        return None if retry_after > self.longest_retry_after else retry_after + backoff
