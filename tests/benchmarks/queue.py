"""What the queue for rate limits costs: ``python -m tests.benchmarks.queue`` prints microseconds a call and megabytes.

CPU time, the best of some rounds: another program on the machine must not count.
"""

from __future__ import annotations

import asyncio
import time
import tracemalloc

from langchain_cerebras_demo import RateLimit, RateLimitSnapshot
from langchain_cerebras_demo.client.limiter import Limiter
from tests.support.announcements import announce

ROUNDS, CALLS, WAITERS = 7, 4_000, 10_000
SIX = {
    f"{unit}_{period}": (10**9 * length, 10**9 * length)
    for unit in ("requests", "tokens")
    for period, length in (("minute", 1), ("hour", 60), ("day", 1440))
}
SIX_GIVEN = RateLimit(**{f"{name.replace('_', '_per_')}": 10**14 for name in SIX})


async def microseconds(limit: RateLimit | None, snapshot: RateLimitSnapshot) -> float:
    """The time of one call's turn, answer and end."""
    limiter, best = Limiter(), float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            ticket = await limiter.acquire("account", "model", 300, limit)
            ticket.observe(snapshot)
            ticket.settle(100)
        best = min(best, (time.process_time() - began) / CALLS)
    return best * 1e6


async def megabytes() -> float:
    """What 10,000 callers hold that wait."""
    limiter = Limiter()
    ticket = await limiter.acquire("account", "model", 0, RateLimit())
    ticket.observe(announce(**{**SIX, "requests_hour": (60, 0)}))
    tracemalloc.start()
    tasks = [asyncio.create_task(limiter.acquire("account", "model", 300, RateLimit())) for _ in range(WAITERS)]
    await asyncio.sleep(0.1)
    held = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return held


def main() -> None:
    """Measure and print."""
    nothing = asyncio.run(microseconds(RateLimit(), RateLimitSnapshot()))
    print(f"no limits: {nothing:.1f} us a call")
    for name, limit, snapshot in (
        ("six windows announced (twelve headers)", RateLimit(), announce(**SIX)),
        ("six windows announced and six given", SIX_GIVEN, announce(**SIX)),
    ):
        print(f"{name}: {asyncio.run(microseconds(limit, snapshot)) - nothing:+.1f} us a call")
    print(f"{WAITERS:,} waiters: {asyncio.run(megabytes()):.0f} MB")


if __name__ == "__main__":
    main()
