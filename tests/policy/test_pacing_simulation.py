"""Processes that know nothing of each other, and share an account's limits by what they observe; in virtual time.

Each process has a number of tasks that ask again and again, in one queue, first come first served. The service refuses what does
not fit into its windows and announces what is left of them. Nothing here sleeps. ``-s`` prints the figures that
docs/explanation/pacing.md publishes.
"""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field

import pytest

from langchain_cerebras_demo.policy.limits import RateLimit
from langchain_cerebras_demo.policy.pacing import Pacer
from langchain_cerebras_demo.records import Limit
from tests.support.announcements import announce
from tests.support.metered_service import FREE, PAID

LIMIT = 200_000
MINUTES = 3
SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
TEN_O_CLOCK = 36_012.0  # seconds into a UTC day

# An account that tokens a minute bind, with the headers of today; and in the older form: two windows, with resets.
TODAY = {("requests", "minute"): 4_500, ("requests", "day"): 86_400_000, ("tokens", "minute"): LIMIT}
OLDER = {("requests", "day"): 1_000_000, ("tokens", "minute"): LIMIT}


def twelve(limits):
    return {(unit, period): limit for unit, periods in limits.items() for period, limit in periods.items()}


@dataclass
class World:
    """Time, and what is to happen in it."""

    chance: random.Random
    now: float = 0.0
    events: list = field(default_factory=list)
    number: itertools.count = field(default_factory=itertools.count)

    def after(self, seconds, action, *arguments):
        heapq.heappush(self.events, (self.now + seconds, next(self.number), action, arguments))

    def run(self, until):
        while self.events and self.events[0][0] <= until:
            self.now, _, action, arguments = heapq.heappop(self.events)
            action(*arguments)


class Service:
    """Admits or refuses, and counts. The arithmetic is its own, not that of the package.

    Args:
        limits: announced ones, by unit and period.
        is_bucket: whether they refill all the time and reserve a request's cost; else they begin anew with the calendar and count
            what was used.
        requests_minute: a limit that is not announced.
        requests_burst: how many of those may come at once.
    """

    def __init__(self, world, limits, *, is_bucket=True, level=1.0, requests_minute=None, requests_burst=None):
        self.world = world
        self.limits, self.is_bucket = limits, is_bucket
        self.left = {window: level * limit if window[1] == "minute" else limit for window, limit in limits.items()}
        self.seen = 0.0
        self.requests_minute = requests_minute
        self.room = self.most_room = requests_burst or requests_minute or 0
        self.admitted = []
        self.refused = []
        self.used = []

    def refill(self):
        before, self.seen = self.seen, self.world.now
        for (unit, period), limit in self.limits.items():
            seconds = SECONDS[period]
            if self.is_bucket:
                left = self.left[unit, period] + (self.seen - before) * limit / seconds
                self.left[unit, period] = min(limit, left)
            elif (TEN_O_CLOCK + self.seen) // seconds > (TEN_O_CLOCK + before) // seconds:
                self.left[unit, period] = limit
        if self.requests_minute:
            self.room = min(self.most_room, self.room + (self.seen - before) * self.requests_minute / 60)

    def admit(self, process, place, cost):
        """The limit that refuses the request, or ``None``."""
        self.refill()
        short = [window for window, left in self.left.items() if left < (cost if window[0] == "tokens" else 1)]
        if short or (self.requests_minute and self.room < 1):
            self.refused.append(self.world.now)
            return Limit(" per ".join(short[0] if short else ("requests", "minute")))
        for window in self.left:
            if window[0] == "requests" or self.is_bucket:
                self.left[window] -= cost if window[0] == "tokens" else 1
        self.room -= 1
        self.admitted.append((self.world.now, process, place, cost))
        return None

    def end(self, cost, used):
        self.refill()
        for window, limit in self.limits.items():
            if window[0] == "tokens":
                self.left[window] = min(limit, self.left[window] + (cost if self.is_bucket else 0) - used)
        self.used.append((self.world.now, used))

    def headers(self):
        self.refill()
        has_resets = self.limits is OLDER
        return announce(
            **{
                "_".join(window): (
                    limit,
                    max(0, int(self.left[window])),
                    SECONDS[window[1]] - (TEN_O_CLOCK + self.world.now) % SECONDS[window[1]] if has_resets else None,
                )
                for window, limit in self.limits.items()
            }
        )


class Process:
    """One queue and one pacer, as the limiter has them."""

    def __init__(self, name, world, service, setting, given):
        self.name, self.world, self.service, self.setting = name, world, service, setting
        self.pacer = Pacer(given, TEN_O_CLOCK + world.now)
        self.queue = []
        self.places = itertools.count()
        self.alarm = None
        for _ in range(setting.tasks):
            self.ask()

    def ask(self):
        place = next(self.places)
        heapq.heappush(self.queue, (place, self.setting.cost(self.world.chance)))

    def look(self, alarm=None):
        """The head of the queue goes if it may, else it looks again when its wait is over."""
        if alarm is not None and alarm != self.alarm:
            return  # somebody has looked since
        while self.queue:
            place, cost = self.queue[0]
            wait = self.pacer.wait(cost, self.world.now)
            assert not wait.is_final
            if wait.seconds > 0:
                self.alarm = object()
                self.world.after(wait.seconds + 0.001, self.look, self.alarm)
                return
            heapq.heappop(self.queue)
            reservation = self.pacer.take(cost, self.world.now)
            latency = self.world.chance.uniform(*self.setting.latency)
            way = self.world.chance.uniform(0.002, 0.005)
            self.world.after(way, self.arrive, reservation, place, cost, latency, way)

    def arrive(self, reservation, place, cost, latency, way):
        limit = self.service.admit(self.name, place, cost)
        headers = self.service.headers()
        if limit:
            self.world.after(way, self.be_refused, reservation, place, cost, limit, headers)
        elif self.setting.headers_late:
            self.world.after(latency, self.answer, reservation, cost, way)
        else:
            self.world.after(way, self.hear, reservation, headers)
            self.world.after(latency, self.answer, reservation, cost, way)

    def answer(self, reservation, cost, way):
        used = cost * self.setting.usage
        self.service.end(cost, used)
        if self.setting.headers_late:
            self.world.after(way, self.hear, reservation, self.service.headers())
        self.world.after(way, self.finish, reservation, used)

    def hear(self, reservation, headers):
        self.pacer.observe(reservation, headers, self.world.now)
        self.look()

    def finish(self, reservation, used):
        self.pacer.settle(reservation, used, self.world.now)
        self.ask()
        self.look()

    def be_refused(self, reservation, place, cost, limit, headers):
        self.pacer.refused(reservation, limit, None, self.world.now, headers if self.service.limits is OLDER else None)
        heapq.heappush(self.queue, (place, cost))  # it keeps its place
        self.look()


@dataclass
class Setting:
    tasks: int = 500
    processes: int = 1
    latency: tuple = (0.02, 3.0)
    level: float = 1.0
    usage: float = 1.0
    costs: tuple = (1000,)
    headers_late: bool = False
    requests_minute: int | None = None
    requests_burst: int | None = None
    limits: dict = field(default_factory=lambda: TODAY)
    is_bucket: bool = True
    minutes: int = MINUTES
    given: RateLimit | None = None
    seed: int = 1

    def cost(self, chance):
        return chance.choice(self.costs)


@dataclass
class Outcome:
    use: float  # the part of the limit that was used in the last two minutes
    refused: float  # the part of all answers that were 429
    refused_count: int
    overtaken: int  # the most later ones of equal cost that passed one request, in one process
    shares: list  # of each process, in tokens


def simulate(setting):
    world = World(random.Random(setting.seed))
    service = Service(
        world,
        setting.limits,
        is_bucket=setting.is_bucket,
        level=setting.level,
        requests_minute=setting.requests_minute,
        requests_burst=setting.requests_burst,
    )
    for name in range(setting.processes):
        process = Process(name, world, service, setting, setting.given)
        world.after(world.chance.uniform(0, 0.5), process.look)
    end = 60.0 * setting.minutes
    world.run(end)
    admitted = service.admitted
    if setting.requests_minute:
        use = sum(1 for when, *_ in admitted if when >= 60) / (setting.requests_minute * (setting.minutes - 1))
    elif setting.limits not in (TODAY, OLDER):
        by_minute = setting.limits["requests", "minute"] * (setting.minutes - 1)
        use = sum(1 for when, *_ in admitted if when >= 60) / by_minute
    else:
        use = sum(used for when, used in service.used if when >= 60) / (LIMIT * (setting.minutes - 1))
    shares = [
        sum(cost for when, name, _, cost in admitted if name == one and when >= 60) for one in range(setting.processes)
    ]
    return Outcome(
        use,
        len(service.refused) / (len(admitted) + len(service.refused)),
        len(service.refused),
        max(most_overtaken([row for row in admitted if row[1] == one]) for one in range(setting.processes)),
        shares,
    )


def most_overtaken(admitted):
    """The most later ones (by place in the queue) of equal cost that were admitted before one request."""
    most = 0
    for cost in {row[3] for row in admitted}:
        places = [place for _, _, place, own in admitted if own == cost]
        for position, place in enumerate(places):
            most = max(most, sum(1 for other in places[max(0, position - 200) : position] if other > place))
    return most


LATENCIES = [(0.02, 0.02), (0.02, 3.0), (3.0, 3.0)]
LEVELS = pytest.mark.parametrize("level", [0.0, 1.0], ids=["empty", "full"])
LATENCY = pytest.mark.parametrize("latency", LATENCIES, ids=["quick", "mixed", "slow"])
USAGE = pytest.mark.parametrize("usage", [1.0, 0.2], ids=["all", "a_fifth"])
COSTS = pytest.mark.parametrize("costs", [(1000,), (200, 2000)], ids=["equal", "ten_to_one"])


@LEVELS
@LATENCY
@USAGE
@COSTS
def test_500_tasks_of_one_process_use_95_percent_of_the_tokens(level, latency, usage, costs):
    """Over the last two of three minutes; less than 1 % of the answers are 429, and no request is overtaken by more than five."""
    outcome = simulate(Setting(level=level, latency=latency, usage=usage, costs=costs))
    assert outcome.use >= 0.95
    assert outcome.refused < 0.01
    assert outcome.overtaken <= 5


@LEVELS
@LATENCY
@USAGE
@COSTS
def test_four_processes_that_know_nothing_of_each_other_use_90_percent(level, latency, usage, costs):
    """From the headers alone; and they settle fairly: each has between 0.8 and 1.2 of its share."""
    outcome = simulate(Setting(processes=4, tasks=125, level=level, latency=latency, usage=usage, costs=costs))
    assert outcome.use >= 0.90
    assert outcome.refused < 0.01
    assert outcome.overtaken <= 5
    share = sum(outcome.shares) / 4
    assert all(0.8 * share <= one <= 1.2 * share for one in outcome.shares)


@pytest.mark.parametrize("seed", range(6))
def test_four_processes_that_begin_with_nothing_left_run_into_it_once_each(seed):
    """The first request of each tells it; then they come one by one."""
    outcome = simulate(Setting(processes=4, tasks=125, level=0.0, costs=(200, 2000), seed=seed))
    assert outcome.use >= 0.90
    assert outcome.refused_count <= 6


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("processes", [1, 4])
def test_headers_that_come_with_the_end_of_the_answer_do_as_well(processes, seed):
    """What is left may be said when the request was let in, or when its answer has gone."""
    outcome = simulate(Setting(processes=processes, tasks=500 // processes, headers_late=True, seed=seed))
    assert outcome.use >= (0.95 if processes == 1 else 0.90)
    assert outcome.refused < 0.01


@LATENCY
@pytest.mark.parametrize("burst", [None, 10], ids=["a_minute_at_once", "ten_at_once"])
def test_600_requests_a_minute_given_as_a_number(latency, burst):
    """95 % of them and no 429, however small the service's own bucket is."""
    given = RateLimit(requests_per_minute=600)
    outcome = simulate(Setting(requests_minute=600, requests_burst=burst, given=given, latency=latency, costs=(100,)))
    assert outcome.use >= 0.95
    assert outcome.refused_count == 0
    assert outcome.overtaken <= 5


@LATENCY
@pytest.mark.parametrize("burst", [None, 10], ids=["a_minute_at_once", "ten_at_once"])
def test_requests_a_minute_are_learnt_from_the_429s_that_name_them(latency, burst):
    """No header announces them: 90 % are used, and few of the answers are 429."""
    setting = Setting(requests_minute=600, requests_burst=burst, latency=latency, costs=(100,), limits=OLDER)
    outcome = simulate(setting)
    assert outcome.use >= 0.90
    assert outcome.refused < 0.03


def test_a_limit_that_is_lower_than_announced_is_found_by_trial():
    """4,500 requests a minute are announced, and 600 let in."""
    outcome = simulate(Setting(requests_minute=600, costs=(100,)))
    assert outcome.use >= 0.90
    assert outcome.refused < 0.05


def test_requests_as_large_as_a_twelfth_of_the_limit_are_served():
    """16,384 tokens are what a request without a number of its own reserves; it may use a tenth of them."""
    outcome = simulate(Setting(costs=(17_000,), usage=0.1))
    assert outcome.use >= 0.95
    assert outcome.refused < 0.01


def test_a_large_request_is_not_starved_by_processes_with_small_ones():
    """Each of four processes with large and small ones gets large ones through."""
    outcome = simulate(Setting(processes=4, tasks=125, costs=(1000, 10_000)))
    assert outcome.use >= 0.90
    assert min(outcome.shares) >= 0.5 * sum(outcome.shares) / 4


def test_a_process_that_comes_late_gets_its_share():
    """Those who were there before leave it room."""
    world = World(random.Random(3))
    service = Service(world, TODAY)
    setting = Setting(tasks=125)
    first = Process(0, world, service, setting, None)
    late = Process(1, world, service, setting, None)
    world.after(0.0, first.look)
    world.after(60.0, late.look)
    world.run(180.0)
    shares = [sum(row[3] for row in service.admitted if row[0] >= 90 and row[1] == one) for one in (0, 1)]
    assert min(shares) >= 0.8 * sum(shares) / 2
    assert len(service.refused) < 0.01 * len(service.admitted)


@pytest.mark.long
def test_without_pacing_most_of_it_is_429():
    """The service of these tests does refuse: a pacer that never waits fails all of the above."""

    class Blind(Pacer):
        def wait(self, cost, now):
            return super().wait(cost, now)._replace(seconds=0.0)

    world = World(random.Random(1))
    service = Service(world, TODAY)
    process = Process(0, world, service, Setting(tasks=500, latency=(0.5, 0.5)), None)
    process.pacer = Blind()
    world.after(0.0, process.look)
    world.run(2.0)
    assert len(service.refused) > len(service.admitted)


@COSTS
@USAGE
@pytest.mark.parametrize("processes", [1, 4])
def test_the_older_form_of_the_headers_does_as_well(processes, usage, costs):
    """Six of them, with resets. Nothing proves that the limit refills, so the shares are less even."""
    outcome = simulate(Setting(processes=processes, tasks=500 // processes, limits=OLDER, usage=usage, costs=costs))
    assert outcome.use >= 0.90
    assert outcome.refused < 0.01
    assert outcome.overtaken <= 5
    assert min(outcome.shares) >= 0.5 * sum(outcome.shares) / processes


# -- the figures of today's accounts, twelve headers without resets

TRUTHS = pytest.mark.parametrize("is_bucket", [True, False], ids=["bucket", "calendar"])


def simulate_account(limits, processes, *, is_bucket, tasks, cost, minutes):
    """Half of each reservation is used; what came of it is printed."""
    outcome = simulate(
        Setting(
            tasks=tasks // processes,
            processes=processes,
            latency=(0.3, 1.2),
            usage=0.5,
            costs=(cost,),
            limits=twelve(limits),
            is_bucket=is_bucket,
            minutes=minutes,
        )
    )
    shares = [f"{share / sum(outcome.shares):.0%}" for share in outcome.shares]
    print(f"\nuse {outcome.use:.0%}, refused {outcome.refused:.1%}, shares {', '.join(shares)}")
    return outcome


@TRUTHS
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_a_paid_account_evenly_with_hardly_a_refusal(processes, is_bucket):
    """450 requests a minute: nearly all of them are used."""
    outcome = simulate_account(PAID, processes, is_bucket=is_bucket, tasks=124, cost=300, minutes=4)
    assert outcome.use >= 0.94
    assert outcome.refused <= 0.01
    share = sum(outcome.shares) / processes
    assert all(0.8 * share <= one <= 1.2 * share for one in outcome.shares)


@TRUTHS
@pytest.mark.parametrize(("processes", "refused"), [(1, 0.0), (2, 0.1), (4, 0.6)])
def test_processes_share_the_five_requests_a_minute_of_a_free_account(processes, refused, is_bucket):
    """All are used and no process starves; but with five requests a minute, four processes cannot see each other's use in time, and are refused."""
    outcome = simulate_account(FREE, processes, is_bucket=is_bucket, tasks=20, cost=361, minutes=20)
    assert outcome.use >= 0.95
    assert outcome.refused <= refused
    assert min(outcome.shares) >= 0.5 * sum(outcome.shares) / processes


@TRUTHS
def test_numbers_give_each_process_its_share_without_a_refusal(is_bucket):
    """Four processes of a free account, each with its quarter."""
    setting = Setting(
        tasks=5, processes=4, costs=(361,), limits=twelve(FREE), is_bucket=is_bucket, minutes=20, usage=0.5
    )
    setting.given = RateLimit(requests_per_minute=1.25)
    outcome = simulate(setting)
    print(f"\nuse {outcome.use:.0%}, refused {outcome.refused:.1%}")
    assert outcome.refused <= 0.05
    assert outcome.use >= 0.8
