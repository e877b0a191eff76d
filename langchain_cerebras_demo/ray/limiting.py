"""One queue for all actors: a named Ray actor with a limiter.

Each request of a worker, including retries, waits there for its turn. Workers report the announced limits to it, so that requests
are paced as in a single process.
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
"""The Ray namespace of the named actors, which all jobs of a cluster share."""

# The most requests of all workers that wait in one actor. Ray's default of 1,000 would be enough for 15 workers with 64 rows each.
_MAX_WAITING = 10_000
_ENDINGS = "endings"  # a separate concurrency group, so that they do not queue behind waiting requests
_LINGER_SECONDS = 0.05
_MAX_LOSSES = 30  # one second apart; an actor that has not restarted by then has no node to run on


@dataclass(frozen=True)
class Acquire:
    """A request for a permit, as sent to the actor.

    Args:
        model: the model id.
        cost_tokens: as for ``Limiter.acquire``.
        limit: the user's limits.
        seconds: the time left for the call; not a point in time, because the clocks of machines differ.
        place: the place in the queue of an earlier request that was refused.
        max_wait: the longest wait in seconds.
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
        limits: the limits that a 200 announced; ``None`` if there were none.
        refusal: the service's error answer.
        total_tokens: the tokens of prompt and answer, if known.
        cached_tokens: those of them that the service had in its cache.
    """

    number: int
    limits: RateLimitSnapshot | None = None
    refusal: APIStatusError | None = None
    total_tokens: float | None = None
    cached_tokens: float = 0.0


class LimiterActor:
    """The named actor, with a ``Limiter`` and the tickets of the requests in flight."""

    def __init__(self) -> None:
        self._limiter = Limiter()
        self._tickets: dict[int, Ticket] = {}
        # Random, so that a restarted actor does not confuse its permits with those of its predecessor.
        self._numbers = itertools.count(random.getrandbits(60))

    async def acquire(self, request: Acquire, endings: list[Ending]) -> Permit | APIError:
        """Wait for a request's turn. An error is returned instead of raised, because Ray would wrap it.

        Args:
            request: the request for a permit.
            endings: requests of the same worker that have ended in the meantime.
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
        """Record how requests ended. Unknown numbers are ignored, because they are of this actor's predecessor."""
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
    """Return the handle of the account's actor, and start it if necessary. It ends with the job that started it.

    Args:
        account: any name; jobs of a cluster with the same name share a queue for each model and ``RateLimit``.
    """
    remote: Any = ray.remote  # its overloads lack concurrency groups
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
    """The limiter of a worker, which requests permits from the account's actor.

    Requests without limits of the user are paced in this process, because processes can share the announced limits without
    communicating (``policy.limits``).

    Args:
        actor: the handle of the account's actor.
        account: the account's name, to find or start another actor if this one dies.
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
        """Wait for a request's turn; see ``Limiter.acquire``.

        Raises:
            RayActorError: the actor died repeatedly, and no other one could be started.
        """
        if limit is None or limit == RateLimit():
            return await super().acquire(
                account, model, cost_tokens, limit, deadline, place=place, max_wait=max_wait, queueing=queueing
            )
        request = Acquire(model, cost_tokens, limit, None, place, max_wait)
        with queueing(None):  # in any case, because only the actor knows whether the request waits
            return await self._ask(request, deadline)

    async def _ask(self, request: Acquire, deadline: float | None) -> Ticket:
        """Return a ticket from the actor."""
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
        """Report to the actor that a request ended, together with the next request or after a short time. Callable from any thread.

        Separate reports would halve the actor's throughput, which is limited by Ray's calls.
        """
        self._endings.append(ending)
        if len(self._endings) == 1:
            with contextlib.suppress(RuntimeError):  # the loop is closed, so no request will be sent any more
                loop.call_soon_threadsafe(loop.call_later, _LINGER_SECONDS, self._report)

    def _report(self) -> None:
        endings, self._endings = self._endings, []
        if endings:  # without waiting, because an actor that has died has no tickets to close
            self._actor.end.options(concurrency_group=_ENDINGS).remote(endings)


class SharedTicket(Ticket):
    """A ticket for a permit of the account's actor. It reports once how the request ended."""

    def __init__(self, limiter: SharedLimiter, loop: asyncio.AbstractEventLoop, permit: Permit) -> None:
        self.waited = permit.waited
        self.place = permit.place
        self._shared = limiter
        self._loop = loop
        self._number = permit.number
        self._limits: RateLimitSnapshot | None = None
        self._is_open = True

    def observe(self, snapshot: RateLimitSnapshot) -> None:
        """Keep the limits for the report at the end, which follows soon because answers are not streamed."""
        self._limits = snapshot

    def refused(self, error: APIStatusError) -> None:
        """See ``Ticket.refused``."""
        self._end(Ending(self._number, self._limits, refusal=error))

    def settle(self, total_tokens: float, cached_tokens: float = 0.0) -> None:
        """See ``Ticket.settle``."""
        self._end(Ending(self._number, self._limits, total_tokens=total_tokens, cached_tokens=cached_tokens))

    def close(self) -> None:
        """See ``Ticket.close``."""
        self._end(Ending(self._number, self._limits))

    def _end(self, ending: Ending) -> None:
        if self._is_open:
            self._is_open = False
            self._shared.end(ending, self._loop)


def share_limits(actor: Any, account: str) -> None:
    """Make all further requests of this process wait for permits of the account's actor. For the process of a Ray actor."""
    use_limiter(SharedLimiter(actor, account))
