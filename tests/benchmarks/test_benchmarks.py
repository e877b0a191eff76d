"""The benchmarks' own promises: no figure for a short delivery, and a server that sends what it says."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from tests.benchmarks import plots, report, server, targets
from tests.benchmarks.cases import CASES, SUBJECTS
from tests.benchmarks.environments import ENVIRONMENTS, REPOSITORY, requirements
from tests.benchmarks.plain_subjects import SUBJECT_CLASSES
from tests.benchmarks.prepared import Plan, expected, whole
from tests.benchmarks.subjects import Delivery
from tests.benchmarks.worker import fault

CASE = CASES["astream"]
PIECES = list(expected(CASE.plan).text)
TOKENS = CASE.plan.deltas


def sample(found: str | None = None) -> dict:
    return {"cpu": 0.003, "wall": 0.003, "fault": found}


def results(**of_subjects: str | None) -> dict:
    found = {
        subject.replace("_", "-"): {"ready": True, "versions": {}, "samples": [sample(), sample(wrong)]}
        for subject, wrong in of_subjects.items()
    }
    about = {"quick": True, "seconds": 1, "date": "", "machine": "", "python": "3"}
    return {**about, "cases": {"astream": found}}


async def asked(plan: Plan, *, stream: bool) -> bytes:
    """What the server answers, up to the end of its connection's silence."""
    listening = await asyncio.get_running_loop().create_server(server.Connection, "127.0.0.1", 0)
    async with listening:
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        body = json.dumps({"stream": stream}).encode()
        head = f"POST {plan.path}/v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body[:3])
        await writer.drain()
        writer.write(body[3:])
        end = server.stream_answer(plan)[-5:] if stream else whole(plan)
        answer = await reader.readuntil(end)
        writer.close()
        await writer.wait_closed()
    return answer


def sent_pieces(answer: bytes, key: str) -> list[str]:
    chunks = [json.loads(line[6:]) for line in answer.split(b"\n") if line.startswith(b"data: {")]
    return [chunk["choices"][0]["delta"][key] for chunk in chunks if key in chunk["choices"][0]["delta"]]


@pytest.mark.parametrize(
    ("got", "complaint"),
    [
        (Delivery(PIECES, tokens=TOKENS), None),
        (Delivery(PIECES[:-1], tokens=TOKENS), "17982 of 18000 characters of text"),
        (Delivery([*PIECES[1:], PIECES[0]], tokens=TOKENS), "another text"),
        (Delivery(["".join(PIECES)], tokens=TOKENS), "1 chunks of text instead of 1000"),
        (Delivery(PIECES, tokens=None), "usage of None tokens instead of 1000"),
        (Delivery(PIECES, tokens=TOKENS, seen_by_handler=PIECES[1:]), "the handler did not see the whole text"),
    ],
)
def test_a_delivery_is_held_against_its_text_its_chunks_and_its_usage(got, complaint):
    """A client that loses, moves or joins a piece, or its usage, is found out."""
    subject = SUBJECT_CLASSES["ours-exact"]("", CASE.plan)
    assert fault(CASE, expected(CASE.plan), subject, got) == complaint


def test_a_short_delivery_has_no_figure_and_no_ratio():
    """One short repetition takes figure and ratio away; short on the yardstick's side, everybody's ratio."""
    ours_short = report.summarize(results(ours_exact="lost a piece", langchain_cerebras=None, raw=None))
    assert ours_short["cases"]["astream"]["figures"]["ours-exact"] == {"fault": "lost a piece"}
    assert set(ours_short["cases"]["astream"]["ratios"]) == {"langchain-cerebras", "raw"}
    assert "no figure: lost a piece" in report.to_markdown(ours_short)
    assert not ours_short["targets"]
    theirs_short = report.summarize(results(ours_exact=None, langchain_cerebras="lost a piece"))
    assert not theirs_short["cases"]["astream"]["ratios"]


def test_the_guard_speaks_where_a_ratio_has_halved_or_a_delivery_is_short():
    """Half of what was published is still let through, less is not."""

    def summary(badness: float) -> dict:
        return {"targets": [{"name": "astream", "reached": "", "badness": badness}], "cases": {}}

    assert report.guard(summary(0.2), published=summary(0.1)) == []
    assert len(report.guard(summary(0.21), published=summary(0.1))) == 1
    short = report.summarize(results(ours_exact="lost a piece", langchain_cerebras=None))
    assert report.guard(short, published=summary(0.1)) == [
        "astream, 1,000 deltas: ChatCerebrasDemo, exact delivered lost a piece"
    ]


def test_the_readme_shows_the_published_figures():
    """As the last full run wrote them: neither has been changed by hand."""
    published = json.loads((REPOSITORY / "docs/benchmarks/results.json").read_text(encoding="utf-8"))
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert f"{report.README_BEGIN}\n{report.to_readme(published)}{report.README_END}" in readme
    assert not published["quick"]


def test_a_readme_without_its_marks_is_left_alone(tmp_path):
    """What the runner cannot place it does not write."""
    readme = tmp_path / "README.md"
    readme.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="has lost its marks"):
        report.publish({"versions": {}}, readme)
    assert readme.read_text(encoding="utf-8") == "no marks"


@pytest.mark.parametrize("plan", [Plan(deltas=30), Plan(deltas=30, pace=20_000)])
async def test_the_server_streams_every_piece_of_its_plan(plan):
    """At full speed and paced, each event in an HTTP chunk of its own, the usage in the last."""
    answer = await asked(plan, stream=True)
    assert sent_pieces(answer, "content") == list(expected(plan).text)
    assert answer.count(b"\r\ndata: ") == 33  # role, 30 deltas, end, [DONE]
    assert b'"completion_tokens":30' in answer
    assert b"data: [DONE]\n\n" in answer


async def test_the_server_streams_reasoning_and_the_arguments_of_a_tool_call():
    """Nine tenths of a reasoning stream are thoughts; the fragments of a tool call add up to JSON."""
    thoughtful = await asked(Plan("reasoning", 30), stream=True)
    assert (len(sent_pieces(thoughtful, "reasoning")), len(sent_pieces(thoughtful, "content"))) == (27, 3)
    calls = sent_pieces(await asked(Plan("tools", 30), stream=True), "tool_calls")
    arguments = "".join(call[0]["function"]["arguments"] for call in calls)
    assert json.loads(arguments)["text"] == "".join(expected(Plan(deltas=30)).text[2:])


async def test_the_server_gives_the_whole_answer_where_no_stream_is_asked_for():
    """The same text, in one body."""
    body = (await asked(Plan(deltas=30), stream=False)).partition(b"\r\n\r\n")[2]
    assert json.loads(body)["choices"][0]["message"]["content"] == "".join(expected(Plan(deltas=30)).text)


async def test_a_held_stream_rests_after_its_deltas():
    """What comes is the role and the first deltas, and nothing that would end the answer."""
    answer = server.stream_answer(Plan(deltas=30, hold=5))
    assert sent_pieces(answer, "content") == list(expected(Plan(deltas=30)).text[:5])
    assert not answer.endswith(b"0\r\n\r\n")


def test_every_target_speaks_of_cases_and_subjects_that_exist():
    """A renamed case would silently take its target out of the report."""
    cases = {
        name: {"figures": {subject: {"value": 1.0} for subject in SUBJECT_CLASSES if subject in case.subjects}}
        for name, case in CASES.items()
    }
    assert [target.name for target in targets.TARGETS if targets.reached(target, cases) is None] == []


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the benchmarks read pyproject.toml: run them with Python 3.11")
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_environment_has_its_requirements(environment):
    """What a peer's environment is made of is written down."""
    assert requirements(environment)


def test_every_subject_has_a_class_and_a_colour():
    """A full run takes ten minutes and must not fail when it draws."""
    assert set(SUBJECT_CLASSES) == set(SUBJECTS) == set(plots._COLOURS)
