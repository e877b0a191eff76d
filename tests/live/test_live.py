"""The open questions, asked of the loopback Cerebras always and of the real service with ``--live`` and a key."""

from __future__ import annotations

import os

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo
from tests.live.questions import QUESTIONS, ask, to_table


async def test_every_question_can_be_asked(server):
    """The loopback Cerebras answers each: the questions work on the day that somebody has a key."""
    rows = [
        (question.text, await ask(question, server.base_url.removesuffix("/v1"), server.key)) for question in QUESTIONS
    ]
    assert len(rows) == len(server.requests) == len(QUESTIONS)
    assert rows[0][1].startswith("401")
    assert "usage on 1 chunk(s)" in dict(rows)["usage in a stream, not asked for"]
    assert server.key not in to_table(rows)


@pytest.mark.live
async def test_the_real_service_settles_the_open_questions():
    """Prints the table; it passes when every question got an answer of any kind."""
    key = os.environ["CEREBRAS_API_KEY"]
    rows = [(question.text, await ask(question, "https://api.cerebras.ai", key)) for question in QUESTIONS]
    print("\n" + to_table(rows))
    assert all(answer for _, answer in rows)


@pytest.mark.live
def test_the_real_service_answers():
    """One plain call through the chat model."""
    assert ChatCerebrasDemo().invoke("Say hi.").content
