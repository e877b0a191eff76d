"""One queue for all actors: the limiter of a process, kept by a named actor.

The actor holds the very ``Limiter`` that a single process has. What a worker sends waits there for its turn, retries too, and
what the service says of its limits comes back there, so the pacing is that of one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError

from langchain_cerebras_demo.client.limiter import Limiter, Ticket, use_limiter
from langchain_cerebras_demo.errors import APIError, APIStatusError
from langchain_cerebras_demo.policy import RateLimit
from langchain_cerebras_demo.records import RateLimitSnapshot

NAMESPACE = "langchain_cerebras_demo"
"""Of the named actors, so that all jobs of a cluster find them."""

# Requests that wait in one actor, of all workers together. Ray's own 1,000 would be 15 workers with 64 rows in flight.
_MOST_WAITING = 10_000
_ENDINGS = "endings"  # a concurrency group of its own: they must not stand behind those that wait
_LINGER_SECONDS = 0.05
_MOST_LOSSES = 30  # a second apart: an actor that is not back by then has no node to run on


@dataclass(frozen=True)
class Wish:
    """A request that wants to go, as it travels.

    Args:
        model: the model's id.
        cost_tokens: as for ``Limiter.acquire``.
        limit: the numbers that the user gave.
        seconds: until the call has to be done; the clocks of two machines are not compared.
        place: of the ticket that was refused before.
    """

    model: str
    cost_tokens: float
    limit: RateLimit
    seconds: float | None
    place: int | None


@dataclass(frozen=True)
class Leave:
    """The leave to send, as it travels.

    Args:
        number: names the ticket that the actor keeps.
        waited: seconds until its turn.
        place: its place in the queue.
    """

    number: int
    waited: float
    place: int


@dataclass(frozen=True)
class Ending:
    """How a request ended, as it travels.

    Args:
        number: of its leave.
        limits: what a 200 said of the limits; ``None`` where none came.
        refusal: the error that the service answered with.
        total_tokens: of the answer's usage, where it is known.
    """

    number: int
    limits: RateLimitSnapshot | None = None
    refusal: APIStatusError | None = None
    total_tokens: float | None = None


class Desk:
    """What the named actor is: one ``Limiter``, and the tickets of the requests that are under way."""

    def __init__(self) -> None:
        self._limiter = Limiter()
        self._tickets: dict[int, Ticket] = {}
        # An actor that was started again must not take the endings of the former one's tickets for its own.
        self._numbers = itertools.count(random.getrandbits(60))

    async def acquire(self, wish: Wish, endings: list[Ending]) -> Leave | APIError:
        """Waits for a request's turn. An error comes back as it is: one that is raised, Ray wraps in its own.

        Args:
            wish: the request.
            endings: of requests of the same worker that are over by now.
        """
        await self.end(endings)
        deadline = None if wish.seconds is None else asyncio.get_running_loop().time() + wish.seconds
        try:
            ticket = await self._limiter.acquire(
                "", wish.model, wish.cost_tokens, wish.limit, deadline, place=wish.place
            )
        except APIError as problem:
            return problem.with_traceback(None)
        number = next(self._numbers)
        self._tickets[number] = ticket
        return Leave(number, ticket.waited, ticket.place)

    async def end(self, endings: list[Ending]) -> None:
        """Requests are over. One whose ticket nobody knows was of a former life of this actor."""
        for ending in endings:
            ticket = self._tickets.pop(ending.number, None)
            if ticket is None:
                continue
            if ending.limits is not None:
                ticket.observe(ending.limits)
            if ending.refusal is not None:
                ticket.refused(ending.refusal)
            elif ending.total_tokens is not None:
                ticket.settle(ending.total_tokens)
            ticket.close()


def find_desk(account: str) -> Any:
    """The actor of this account, started if there is none. It ends with the job that started it.

    Args:
        account: any name; all jobs of a cluster that give the same share one queue for each model and ``RateLimit``.
    """
    remote: Any = ray.remote  # its overloads do not know of concurrency groups
    return (
        remote(concurrency_groups={_ENDINGS: 1})(Desk)
        .options(
            name=f"limits of {account}",
            namespace=NAMESPACE,
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=_MOST_WAITING,
        )
        .remote()
    )


class SharedLimiter(Limiter):
    """The limiter of a worker whose turns are given by the account's actor.

    Requests without numbers of the user's are paced in this process: from what the service announces, processes share without
    asking one another (``policy.sharing``).

    Args:
        desk: the actor.
        account: its name, to find or start another when that one has died.
    """

    def __init__(self, desk: Any, account: str) -> None:
        super().__init__()
        self._desk = desk
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
    ) -> Ticket:
        """As ``Limiter.acquire``, for all workers together.

        Raises:
            RateLimitError, APITimeoutError: as there.
            RayActorError: the actor is lost, and no other could be started.
        """
        if limit is None or limit == RateLimit():
            return await super().acquire(account, model, cost_tokens, limit, deadline, place=place)
        loop = asyncio.get_running_loop()
        losses = 0
        while True:
            desk = self._desk
            try:
                seconds = None if deadline is None else deadline - loop.time()
                endings, self._endings = self._endings, []
                answer = await desk.acquire.remote(Wish(model, cost_tokens, limit, seconds, place), endings)
                break
            except RayActorError:
                losses += 1
                if losses > _MOST_LOSSES:
                    raise
                await asyncio.sleep(1)
                if self._desk is desk:  # else another row's call has found one
                    self._desk = find_desk(self._account)
        if isinstance(answer, APIError):
            raise answer
        return SharedTicket(self, loop, answer)

    def end(self, ending: Ending, loop: asyncio.AbstractEventLoop) -> None:
        """A request is over: the actor hears of it with the next request, or soon. To be called on any thread.

        A message of its own for each would halve what the actor can do: it is Ray's calls that keep it busy.
        """
        self._endings.append(ending)
        if len(self._endings) == 1:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing more will be sent
                loop.call_soon_threadsafe(loop.call_later, _LINGER_SECONDS, self._tell)

    def _tell(self) -> None:
        endings, self._endings = self._endings, []
        if endings:  # nobody waits for it: a lost actor has no tickets to end
            self._desk.end.options(concurrency_group=_ENDINGS).remote(endings)


class SharedTicket(Ticket):
    """A leave that the account's actor gave; what is said of it goes there in one piece, at the end."""

    def __init__(self, limiter: SharedLimiter, loop: asyncio.AbstractEventLoop, leave: Leave) -> None:
        self.waited = leave.waited
        self.place = leave.place
        self._shared = limiter
        self._loop = loop
        self._number = leave.number
        self._limits: RateLimitSnapshot | None = None
        self._is_open = True

    def observe(self, snapshot: RateLimitSnapshot) -> None:
        """As ``Ticket.observe``; kept until the end, which is near: answers that are not streamed come whole."""
        self._limits = snapshot

    def refused(self, error: APIStatusError) -> None:
        """As ``Ticket.refused``."""
        self._end(Ending(self._number, self._limits, refusal=error))

    def settle(self, total_tokens: float) -> None:
        """As ``Ticket.settle``."""
        self._end(Ending(self._number, self._limits, total_tokens=total_tokens))

    def close(self) -> None:
        """As ``Ticket.close``."""
        self._end(Ending(self._number, self._limits))

    def _end(self, ending: Ending) -> None:
        if self._is_open:
            self._is_open = False
            self._shared.end(ending, self._loop)


def share_limits(desk: Any, account: str) -> None:
    """From here on, all requests of this process wait for the account's actor. For a process that belongs to one Ray actor."""
    use_limiter(SharedLimiter(desk, account))
