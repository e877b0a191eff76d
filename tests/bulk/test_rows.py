"""Rows: their ids, the index of ids, and the prompts made from them."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompt_values import StringPromptValue
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate

from langchain_cerebras_demo.bulk import BulkInputError, rows
from langchain_cerebras_demo.bulk.rows import IdIndex, Prompts, Row, derive_id


def test_a_derived_id_is_the_row_and_its_content():
    """Equal in every run; another row or another text has another."""
    assert derive_id("hello", 3) == derive_id("hello", 3)
    assert derive_id("hello", 3).startswith("3-")
    assert len({derive_id("hello", 3), derive_id("hello", 4), derive_id("hallo", 3)}) == 3
    assert derive_id([HumanMessage("a")], 1) == derive_id([HumanMessage("a")], 1) != derive_id([HumanMessage("b")], 1)
    assert derive_id({"a": 1, "b": 2}, 1) == derive_id({"b": 2, "a": 1}, 1)
    assert derive_id("\ud800", 1) != derive_id({1, 2}, 1)


def test_a_given_id_is_a_text_or_a_whole_number():
    """Anything else is that row's problem, and it gets a derived one."""
    assert Row(1, 1, {"id": "x"}).id == "x"
    assert Row(1, 1, {"id": 0}).id == 0
    for nothing in (None, ""):
        row = Row(1, 1, {"id": nothing})
        assert str(row.id).startswith("1-")
        assert row.id_problem() == ""
    for wrong in (1.5, True, ["x"], {}):
        row = Row(1, 4, {"id": wrong})
        assert str(row.id).startswith("1-")
        assert "line 4" in row.id_problem()


@pytest.fixture
def index():
    made = IdIndex()
    yield made
    made.close()


def test_the_index_knows_every_id_and_the_row_that_had_it_first(index):
    """Ids that look alike included."""
    ids = (
        [f"row {number}" for number in range(2_000)]
        + list(range(2_000, 4_000))
        + ["\ud800", "ü", "u\u0308", "a\0", "a"]
    )
    random.Random(1).shuffle(ids)
    assert [index.add(row_id, row) for row, row_id in enumerate(ids, 1)] == [None] * len(ids)
    assert [index.add(row_id, 0) for row_id in ids] == list(range(1, len(ids) + 1))
    assert index.add("row 2001", 0) is None
    assert index.add("3000", 0) == index.add(3000, 0) != 0, "a number and its text are one id"


def open_temporary_files():
    """SQLite's own, which have lost their names when they were opened."""
    links = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return [link for link in links if "etilqs_" in link]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are read from /proc")
def test_the_memory_of_the_index_is_bounded(monkeypatch):
    """Above the bound, ids go to a file; it is gone when the index is closed."""
    monkeypatch.setattr(rows, "_CACHE_KIB", 64)
    before = open_temporary_files()
    with closing(IdIndex()) as index:
        for number in range(20_000):
            index.add(f"row {number}", number)
        assert len(open_temporary_files()) == len(before) + 1
        assert index.add("row 7", 0) == 7
    assert open_temporary_files() == before


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
        ({"a": "x"}, "{b}", "line 9: the template needs 'b'; the columns are 'a'"),
        ({"a": None, "b": "x"}, "{a} {b}", "line 9: 'a' is null, and the template needs a value"),
        ({"a": None}, "{a} {b}", "the template needs 'b'; the columns are 'a'; 'a' is null"),
        ({"prompt": None}, None, "its 'prompt' is null: set a text"),
        ("text", "{a}", "the template needs 'a'; the columns are 'text'"),
        (["text"], "{a}", "the template needs columns, and this is a list"),
        ({"a": "x"}, "{a:d}", "the prompt cannot be made: ValueError"),
        ({"prompt": "x", "messages": [USER]}, None, "remove one"),
        ({"prompt": "  "}, None, "'prompt' is empty or not a text"),
        ({"prompt": 5}, None, "'prompt' is empty or not a text"),
        ({"messages": []}, None, "'messages' are empty or not a list"),
        ({"messages": "no"}, None, "the prompt cannot be made: JSONDecodeError"),
        ("", None, "the prompt is empty"),
        (5, None, "int is not a prompt"),
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
