"""Rows to prompts: templates, columns, messages, the system's words."""

from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompt_values import StringPromptValue
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate

from langchain_cerebras_demo.bulk import BulkInputError
from langchain_cerebras_demo.bulk.prompts import Prompts
from langchain_cerebras_demo.bulk.rows import Row

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "hi"}


def prompt_of(value, template=None, system=None):
    row = Row(1, 1, value)
    item = Prompts(template, system).to_item(row, row.id)
    assert item.problem == ""
    return item.prompt


def problem_of(value, template=None):
    row = Row(1, 9, value)
    return Prompts(template).to_item(row, row.id).problem


@pytest.mark.parametrize(
    ("value", "prompt"),
    [
        ("hi", "hi"),
        ({"prompt": "[{not JSON"}, "[{not JSON"),
        ({"messages": [USER]}, [USER]),
        ({"messages": '[{"role": "user", "content": "hi"}]', "prompt": None}, [USER]),
        ([USER], [USER]),
        (HumanMessage("hi"), [HumanMessage("hi")]),
        ([HumanMessage("hi")], [HumanMessage("hi")]),
    ],
)
def test_a_row_is_its_prompt(value, prompt):
    """A text, messages, a message, or an object with one of them; a cell holds messages as JSON."""
    assert prompt_of(value) == prompt


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ("hi", [SYSTEM, USER]),
        ([USER], [SYSTEM, USER]),
        ([{"role": "system", "content": "Own."}, USER], [{"role": "system", "content": "Own."}, USER]),
        ([SystemMessage("Own."), HumanMessage("hi")], [SystemMessage("Own."), HumanMessage("hi")]),
        ([("system", "Own."), ("human", "hi")], [("system", "Own."), ("human", "hi")]),
        (StringPromptValue(text="hi"), [SYSTEM, HumanMessage("hi")]),
    ],
)
def test_the_systems_words_come_first_where_a_row_has_none(value, messages):
    """Its own stand."""
    assert prompt_of(value, system="Be brief.") == messages


@pytest.mark.parametrize(
    "template",
    [
        "Say {word} {{twice}}",
        ChatPromptTemplate.from_template("Say {word} {{twice}}"),
        PromptTemplate.from_template("Say {word} {{twice}}"),
    ],
    ids=["str", "chat", "plain"],
)
def test_a_template_takes_columns(template):
    """A str as LangChain's own; columns that it does not name do no harm."""
    prompt = prompt_of({"word": "hi", "more": 1}, template)
    prompt = prompt.to_messages() if hasattr(prompt, "to_messages") else prompt
    text = prompt if isinstance(prompt, str) else prompt[0].content
    assert text == "Say hi {twice}"


def test_a_template_with_parts_filled_in_wants_only_the_rest():
    """``partial`` is LangChain's."""
    template = ChatPromptTemplate.from_template("{a} {b}").partial(a="x")
    assert Prompts(template).names == ("b",)
    assert prompt_of({"b": "y"}, template)[0].content == "x y"


@pytest.mark.parametrize(
    ("value", "template", "words"),
    [
        ({"a": "x"}, "{b}", "line 9: the template wants 'b'; the columns are 'a'"),
        ({"a": None}, "{a}", "wants 'a'"),
        ("text", "{a}", "the template wants columns, and this is a str"),
        ({"a": "x"}, "{a:d}", "the prompt cannot be made: ValueError"),
        ({"prompt": "x", "messages": [USER]}, None, "leave one out"),
        ({"prompt": "  "}, None, "'prompt' is no text, or an empty one"),
        ({"prompt": 5}, None, "'prompt' is no text"),
        ({"messages": []}, None, "'messages' are no list, or an empty one"),
        ({"messages": "no"}, None, "the prompt cannot be made: JSONDecodeError"),
        ("", None, "the prompt is empty"),
        (5, None, "int is no kind of prompt"),
        ({"id": 1.5, "prompt": "x"}, None, "the id '1.5' is a float"),
    ],
)
def test_what_is_wrong_with_a_row_is_its_problem(value, template, words):
    """With the line and the remedy."""
    problem = problem_of(value, template)
    assert words in problem
    assert "line 9" in problem


@pytest.mark.parametrize(
    ("template", "words"), [("{", "brace"), ("{}", "without a name"), ("{0}", "without a name"), (5, "is a int")]
)
def test_a_template_that_is_none_is_refused(template, words):
    """When the run is made."""
    with pytest.raises(BulkInputError, match=words):
        Prompts(template)
