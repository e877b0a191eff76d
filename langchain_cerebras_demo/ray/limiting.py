"""One queue for all actors: a named Ray actor holds the limiter that a single process would have.

Every request of a worker, including retries, waits there for its turn, and the limits that the service announces are reported
there, so requests are paced as in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import RayActorError

from langchain_cerebras_demo.client.limiter import Limiter, Queueing, Ticket, unbounded, use_limiter
from langchain_cerebras_demo.errors import APIError, APIStatusError
from langchain_cerebras_demo.policy import RateLimit
from langchain_cerebras_demo.records import RateLimitSnapshot

NAMESPACE = "langchain_cerebras_demo"
"""The Ray namespace of the named actors: all jobs of a cluster find them there."""

# Requests that wait in one actor, of all workers together. Ray's own 1,000 would be 15 workers with 64 rows in flight.
_MAX_WAITING = 10_000
_ENDINGS = "endings"  # their own concurrency group, so that they do not queue behind the requests that wait
_LINGER_SECONDS = 0.05
_MAX_LOSSES = 30  # one second apart: an actor that has not restarted by then has no node to run on


@dataclass(frozen=True)
class Acquire:
    """A request for a permit, as sent to the actor.

    Args:
        model: the model's id.
        cost_tokens: as for ``Limiter.acquire``.
        limit: the user's numbers.
        seconds: time left for the call, not a point in time: the clocks of two machines cannot be compared.
        place: the place in the queue of the request that was refused before.
        max_wait: seconds that it may wait.
    """

    model: str
    cost_tokens: float
    limit: RateLimit
    seconds: float | None
    place: int | None
    max_wait: float | None = None


@dataclass(frozen=True)
class Permit:
    """The permission to send one request, as sent by the actor.

    Args:
        number: identifies the ticket that the actor keeps.
        waited: seconds spent in the queue.
        place: the place in the queue.
    """

    number: int
    waited: float
    place: int


@dataclass(frozen=True)
class Ending:
    """How a request ended, as reported to the actor.

    Args:
        number: the number of its permit.
        limits: the rate-limit headers of a 200; ``None`` if there were none.
        refusal: the error that the service answered with.
        total_tokens: the answer's usage, if known.
        cached_tokens: of these, what the service had in its cache.
    """

    number: int
    limits: RateLimitSnapshot | None = None
    refusal: APIStatusError | None = None
    total_tokens: float | None = None
    cached_tokens: float = 0.0


class LimiterActor:
    """The named actor: a ``Limiter``, and the tickets of the requests in flight."""

    def __init__(self) -> None:
        self._limiter = Limiter()
        self._tickets: dict[int, Ticket] = {}
        # Random, so that a restarted actor does not mistake the endings of its predecessor's permits for its own.
        self._numbers = itertools.count(random.getrandbits(60))

    async def acquire(self, request: Acquire, endings: list[Ending]) -> Permit | APIError:
        """Wait for a request's turn. An error is returned, because Ray would wrap one that is raised.

        Args:
            request: what is asked for.
            endings: the same worker's requests that have ended in the meantime.
        """
        await self.end(endings)
        deadline = None if request.seconds is None else asyncio.get_running_loop().time() + request.seconds
        try:
            ticket = await self._limiter.acquire(
                "",
                request.model,
                request.cost_tokens,
                request.limit,
                deadline,
                place=request.place,
                max_wait=request.max_wait,
            )
        except APIError as problem:
            return problem.with_traceback(None)
        number = next(self._numbers)
        self._tickets[number] = ticket
        return Permit(number, ticket.waited, ticket.place)

    async def end(self, endings: list[Ending]) -> None:
        """Record how requests ended. Unknown numbers are ignored: this actor's predecessor issued them."""
        for ending in endings:
            ticket = self._tickets.pop(ending.number, None)
            if ticket is None:
                continue
            if ending.limits is not None:
                ticket.observe(ending.limits)
            if ending.refusal is not None:
                ticket.refused(ending.refusal)
            elif ending.total_tokens is not None:
                ticket.settle(ending.total_tokens, ending.cached_tokens)
            ticket.close()


def find_limiter(account: str) -> Any:
    """Return the handle of the account's actor, which is started if there is none. It ends with the job that started it.

    Args:
        account: any name; all jobs of a cluster that give the same one share a queue for each model and ``RateLimit``.
    """
    remote: Any = ray.remote  # its overloads do not know concurrency groups
    return (
        remote(concurrency_groups={_ENDINGS: 1})(LimiterActor)
        .options(
            name=f"limits of {account}",
            namespace=NAMESPACE,
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=_MAX_WAITING,
        )
        .remote()
    )


class SharedLimiter(Limiter):
    """The limiter of a worker that asks the account's actor for permits.

    Requests without the user's numbers are paced in this process: what the service announces can be shared without asking
    other processes (``policy.limits``).

    Args:
        actor: the handle of the account's actor.
        account: its name, to find or start another one if it dies.
    """

    def __init__(self, actor: Any, account: str) -> None:
        super().__init__()
        self._actor = actor
        self._account = account
        self._endings: list[Ending] = []

    async def acquire(
        self,
        account: str,
        model: str,
        cost_tokens: float,
        limit: RateLimit | None,
        deadline: float | None = None,
        *,
        place: int | None = None,
        max_wait: float | None = None,
        queueing: Queueing = unbounded,
    ) -> Ticket:
        """As ``Limiter.acquire``.

        Raises:
            RayActorError: the actor died again and again, and no other one could be started.
        """
        if limit is None or limit == RateLimit():
            return await super().acquire(
                account, model, cost_tokens, limit, deadline, place=place, max_wait=max_wait, queueing=queueing
            )
        request = Acquire(model, cost_tokens, limit, None, place, max_wait)
        with queueing(None):  # whether it waits there or not: only the actor knows
            return await self._ask(request, deadline)

    async def _ask(self, request: Acquire, deadline: float | None) -> Ticket:
        """Return the ticket that the actor gives."""
        loop = asyncio.get_running_loop()
        losses = 0
        while True:
            actor = self._actor
            try:
                seconds = None if deadline is None else deadline - loop.time()
                endings, self._endings = self._endings, []
                answer = await actor.acquire.remote(replace(request, seconds=seconds), endings)
                break
            except RayActorError:
                losses += 1
                if losses > _MAX_LOSSES:
                    raise
                await asyncio.sleep(1)
                if self._actor is actor:  # otherwise another row has replaced it already
                    self._actor = find_limiter(self._account)
        if isinstance(answer, APIError):
            raise answer
        return SharedTicket(self, loop, answer)

    def end(self, ending: Ending, loop: asyncio.AbstractEventLoop) -> None:
        """Report to the actor that a request ended, together with the next request, or soon. Callable from any thread.

        Reporting each one by itself would halve the actor's throughput, which Ray's calls determine.
        """
        self._endings.append(ending)
        if len(self._endings) == 1:
            with contextlib.suppress(RuntimeError):  # the loop is closed: no further request will be sent
                loop.call_soon_threadsafe(loop.call_later, _LINGER_SECONDS, self._report)

    def _report(self) -> None:
        endings, self._endings = self._endings, []
        if endings:  # without waiting for it: an actor that died has no tickets to end
            self._actor.end.options(concurrency_group=_ENDINGS).remote(endings)


class SharedTicket(Ticket):
    """A permit of the account's actor. How the request ended is reported once, at its end."""

    def __init__(self, limiter: SharedLimiter, loop: asyncio.AbstractEventLoop, permit: Permit) -> None:
        self.waited = permit.waited
        self.place = permit.place
        self._shared = limiter
        self._loop = loop
        self._number = permit.number
        self._limits: RateLimitSnapshot | None = None
        self._is_open = True

    def observe(self, snapshot: RateLimitSnapshot) -> None:
        """As ``Ticket.observe``; kept until the end, which is near: answers that are not streamed arrive whole."""
        self._limits = snapshot

    def refused(self, error: APIStatusError) -> None:
        """As ``Ticket.refused``."""
        self._end(Ending(self._number, self._limits, refusal=error))

    def settle(self, total_tokens: float, cached_tokens: float = 0.0) -> None:
        """As ``Ticket.settle``."""
        self._end(Ending(self._number, self._limits, total_tokens=total_tokens, cached_tokens=cached_tokens))

    def close(self) -> None:
        """As ``Ticket.close``."""
        self._end(Ending(self._number, self._limits))

    def _end(self, ending: Ending) -> None:
        if self._is_open:
            self._is_open = False
            self._shared.end(ending, self._loop)


def share_limits(actor: Any, account: str) -> None:
    """Make all further requests of this process wait for the account's actor. For the process of one Ray actor."""
    use_limiter(SharedLimiter(actor, account))
