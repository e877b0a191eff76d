"""Pacing against a server that announces limits and refuses at admission, over real sockets and in real time.

The whole forms have the real service's figures and take three minutes each; the short ones the same arithmetic with a
larger limit, so that as many requests go in seconds. What they cannot hold to 95 % is the beginning, which the whole
forms leave out. ``-s`` prints the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo, RateLimit
from langchain_cerebras_demo.testing import LoopbackCerebras, Quota, Reply, Slow
from tests.support.processes import ROOT, environment

COST = 1000
MOST_TOKENS = 900  # the prompt and what the model puts in front of it make the rest of COST
LATENCIES = (0.02, 0.25)  # seconds before each event of a stream, or before a whole answer
PROMPT = "Process {} asks question {}. " + "Why is the sky blue? " * 5


@dataclass(frozen=True)
class Setting:
    """Who asks, and of what quota.

    ``skipped`` and ``counted`` are seconds from the first admission: those before anything is counted, and those that are.
    """

    quota: Quota
    processes: int = 1
    tasks: int = 500
    requests_minute: int | None = None
    skipped: float = 60.0
    counted: float = 120.0


@dataclass(frozen=True)
class Outcome:
    """What came of it: ``use`` and ``refused`` are parts of one, ``overtaken`` is the worst case in any process."""

    use: float
    refused: float
    overtaken: int
    admitted: int
    shares: list[float]
    told: list[dict[str, int]]


def measure(setting):
    """Let the processes ask for as long as the setting says; their counts and the quota's."""
    chance = random.Random(1)
    seconds = setting.skipped + setting.counted + 1
    quota = setting.quota
    with LoopbackCerebras(quota=quota) as server:
        rate = (setting.requests_minute or quota.tokens_minute / (0.3 * COST)) / 60
        server.script(*(plausible_answer(chance) for _ in range(int(rate * seconds) + quota.tokens_minute // COST)))
        told = run_processes(server, setting, seconds)
        assert server.unused_steps > 0, "some answers were not of the usage that was meant"
    return count(setting, told)


def plausible_answer(chance):
    """It uses between a third and all of what was reserved, and takes its time."""
    used = chance.randint(COST // 3, COST)
    usage = {"prompt_tokens": 100, "completion_tokens": used - 100, "total_tokens": used}
    return Slow(gap=chance.uniform(*LATENCIES), reply=Reply(text="Because.", usage=usage))


def run_processes(server, setting, seconds):
    """What each of the processes has counted itself."""
    facts = [server.base_url, server.key, str(setting.tasks), str(seconds), str(setting.requests_minute or "")]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.test_pacing_live", str(number), *facts],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        for number in range(setting.processes)
    ]
    try:
        return [json.loads(process.communicate(timeout=seconds + 30)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def count(setting, told):
    admissions = setting.quota.admissions
    began = admissions[0].time + setting.skipped
    counted = [one for one in admissions if began <= one.time < began + setting.counted]
    if setting.requests_minute:
        use = len(counted) / (setting.requests_minute * setting.counted / 60)
    else:
        use = sum(one.used_tokens for one in counted) / (setting.quota.tokens_minute * setting.counted / 60)
    places = [who_asked(one) for one in admissions]
    shares = [sum(who_asked(one)[0] == name for one in counted) / len(counted) for name in range(setting.processes)]
    outcome = Outcome(
        use=use,
        refused=setting.quota.refused / (setting.quota.refused + len(admissions)),
        overtaken=max(
            most_overtaken([place for name, place in places if name == own]) for own in range(setting.processes)
        ),
        admitted=len(admissions),
        shares=shares,
        told=told,
    )
    print(
        f"\nuse {outcome.use:.1%}, 429 {outcome.refused:.2%} ({setting.quota.refused} of "
        f"{setting.quota.refused + outcome.admitted}), overtaken by {outcome.overtaken}, "
        f"shares {[f'{share:.1%}' for share in shares]}, told {told}"
    )
    return outcome


def who_asked(admission):
    """The process that asked, and the place that the question had in it."""
    name, place = re.match(
        r"Process (\d+) asks question (\d+)", admission.request.json["messages"][0]["content"]
    ).groups()
    return int(name), int(place)


def most_overtaken(places):
    """The most later ones that were let in before any one; all are of equal cost."""
    return max(
        sum(other > place for other in places[max(0, position - 1000) : position])
        for position, place in enumerate(places)
    )


def test_the_measure_of_overtaking_counts_those_that_passed():
    """Else everything below that says ``overtaken`` says nothing."""
    assert most_overtaken([1, 2, 3, 4]) == 0
    assert most_overtaken([2, 3, 4, 1, 5]) == 3


def assert_all_is_told(outcome):
    """Nobody's call failed, and the processes were answered as often as the server let them in but for the last seconds."""
    assert all(set(one) == {"answers"} for one in outcome.told), outcome.told
    assert sum(one["answers"] for one in outcome.told) <= outcome.admitted


@pytest.mark.long
@pytest.mark.timeout(300)
def test_500_tasks_of_one_process_use_95_percent_of_200_000_tokens_a_minute():
    """Over the last two of three minutes; under 1 % of the answers are 429, and nobody is passed by more than five."""
    outcome = measure(Setting(Quota(200_000)))
    assert_all_is_told(outcome)
    assert outcome.use >= 0.95
    assert outcome.refused < 0.01
    assert outcome.overtaken <= 5


@pytest.mark.long
@pytest.mark.timeout(300)
def test_four_processes_that_know_nothing_of_each_other_use_90_percent():
    """Of the same limit, from the headers alone; no process is starved."""
    outcome = measure(Setting(Quota(200_000), processes=4, tasks=125))
    assert_all_is_told(outcome)
    assert outcome.use >= 0.90
    assert outcome.refused < 0.01
    assert outcome.overtaken <= 5
    assert min(outcome.shares) >= 0.15


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("burst", [None, 10], ids=["a_minute_at_once", "ten_at_once"])
def test_600_requests_a_minute_given_as_a_number_are_used_to_95_percent_without_a_429(burst):
    """Also where the service takes no burst of them."""
    quota = Quota(60_000_000, requests_minute=600, requests_burst=burst)
    outcome = measure(Setting(quota, requests_minute=600))
    assert_all_is_told(outcome)
    assert outcome.use >= 0.95
    assert outcome.refused == 0
    assert outcome.overtaken <= 5


# -- the short forms: about a hundred requests a second, the bucket as full as it is in the long run


@pytest.mark.long
def test_a_large_limit_is_used_by_one_process_in_seconds():
    """Most of it, nearly without a 429, first come first served."""
    outcome = measure(Setting(Quota(3_000_000, level=0.3), tasks=300, skipped=4.0, counted=5.0))
    assert_all_is_told(outcome)
    assert outcome.use >= 0.80
    assert outcome.refused < 0.02
    assert outcome.overtaken <= 5


@pytest.mark.long
def test_a_large_limit_is_used_by_four_processes_in_seconds():
    """As by one; a refused request loses its place to those that go while it waits."""
    outcome = measure(Setting(Quota(3_000_000, level=0.12), processes=4, tasks=75, skipped=4.0, counted=5.0))
    assert_all_is_told(outcome)
    assert outcome.use >= 0.60
    assert outcome.refused < 0.03


def test_requests_a_minute_given_as_a_number_are_never_refused():
    """3,000 a minute, of which the server takes one second's at once. How much of them is used, the long forms measure."""
    quota = Quota(60_000_000, requests_minute=3000, requests_burst=50)
    outcome = measure(Setting(quota, tasks=100, requests_minute=3000, skipped=0.0, counted=1.5))
    assert_all_is_told(outcome)
    assert outcome.admitted > 10
    assert outcome.refused == 0


# -- the process that asks


async def ask_on(name, base_url, key, *numbers):
    """So many tasks ask again and again for so many seconds; what came of it, by kind."""
    tasks, seconds, requests_minute = numbers
    limit = RateLimit(requests_per_minute=int(requests_minute)) if requests_minute else "auto"
    model = ChatCerebrasDemo(base_url=base_url, api_key=key, rate_limit=limit, max_tokens=MOST_TOKENS)
    places, counts = itertools.count(), {"answers": 0}

    async def ask_again(is_streamed):
        if not is_streamed:  # LangChain takes longer to come to the queue: all at once, these would be passed before it
            await asyncio.sleep(0.2)
        while True:
            place = next(places)
            try:
                await ask(model, PROMPT.format(name, place), is_streamed=is_streamed)
                counts["answers"] += 1
            except Exception as error:  # noqa: BLE001 - told
                counts[type(error).__name__] = counts.get(type(error).__name__, 0) + 1

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(
            asyncio.gather(*(ask_again(number % 2 == 0) for number in range(int(tasks)))), float(seconds)
        )
    await model.aclose()
    return counts


async def ask(model, prompt, *, is_streamed):
    if not is_streamed:
        await model.ainvoke(prompt)
        return
    async for _ in model.astream(prompt):
        pass


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask_on(*sys.argv[1:]))))
