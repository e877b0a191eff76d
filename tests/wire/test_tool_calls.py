"""Tool calls of servers that number and name them badly: one call stays one, and two stay two."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo.wire.completion import CompletionDecoder, Finish, ToolCallFragment
from langchain_cerebras_demo.wire.tool_calls import read_arguments
from tests.support.wire_shapes import call, chunk, facts, read, read_whole, to_data, to_sse, whole


def streamed(*chunks):
    return read(to_sse(*chunks))[0]


def only(kind, events):
    return [event for event in events if isinstance(event, kind)]


def deltas(*calls):
    """A stream with one call's fragment a delta."""
    return streamed(*(chunk({"tool_calls": [one]}) for one in calls))


def told(events):
    """Each call as LangChain's merge puts it together: id, name, arguments."""
    return [said for key, said in sorted(facts(events).items(), key=str) if key[0] == "call"]


# -- one call

FRAGMENTS = {
    "id and name on every fragment": [
        [call(index=0, call_id="a", name="f", arguments="{")],
        [call(index=0, call_id="a", name="f", arguments="}")],
    ],
    "name on every fragment, the last one empty": [
        [call(index=0, call_id="a", name="f", arguments="{")],
        [call(index=0, name="f", arguments="}")],
        [call(index=0, name="f", arguments="")],
    ],
    "no index": [[call(call_id="a", name="f", arguments="{")], [call(arguments="}")]],
    "no index, name on every fragment": [[call(call_id="a", name="f", arguments="{")], [call(name="f", arguments="}")]],
    "an index on the first fragment alone": [
        [call(index=0, call_id="a", name="f", arguments="{")],
        [call(arguments="}")],
    ],
    "empty words": [
        [call(index=0, call_id="a", name="f", arguments="{")],
        [call(index=0, call_id="", name="", arguments="}")],
    ],
    "the name after the id": [[call(index=0, call_id="a")], [call(index=0, name="f", arguments="{}")]],
    "the id after the arguments": [
        [call(index=0, name="f", arguments="{")],
        [call(index=0, arguments="}")],
        [call(index=0, call_id="a")],
    ],
    "a number of its own": [[call(index=3, call_id="a", name="f", arguments="{}")]],
    "a number as a text": [[call(index="0", call_id="a", name="f", arguments="{")], [call(index="0", arguments="}")]],
    "a number as a float": [[call(index=0.0, call_id="a", name="f", arguments="{")], [call(index=0, arguments="}")]],
    "a number that is none": [[call(index=[], call_id="a", name="f", arguments="{")], [call(index="x", arguments="}")]],
    "no function at first": [
        [{"index": 0, "id": "a", "function": None}],
        [call(index=0, name="f", arguments="{}")],
    ],
    "no object around name and arguments": [[{"index": 0, "id": "a", "name": "f", "arguments": "{}"}]],
    "arguments as an object": [[{"index": 0, "id": "a", "function": {"name": "f", "arguments": {}}}]],
    "fragments that say nothing": [
        [call(index=0)],
        [call(index=0, call_id="a", name="f", arguments="{}"), call(index=0), call(index=0, arguments=" ")],
    ],
}


@pytest.mark.parametrize("fragments", FRAGMENTS.values(), ids=FRAGMENTS.keys())
def test_a_tool_call_is_one_call_with_its_id_and_name_said_once(fragments):
    """LangChain joins what is said twice: a name on every fragment would become "ff"."""
    events = streamed(*(chunk({"tool_calls": calls}) for calls in fragments))
    ((call_id, name, arguments),) = told(events)
    assert (call_id, name, arguments.strip()) == ("a", "f", "{}")


@pytest.mark.parametrize(
    "pieces", [["high_", "tide"], ["high", "_", "tide"], [*"high_tide"], ["high_", "tide", "high_tide"]]
)
@pytest.mark.parametrize("later", [{}, {"index": 0}, {"index": 0, "call_id": "a"}])
def test_a_name_may_come_in_pieces(pieces, later):
    """As long as there are no arguments. The whole name said again is the same name."""
    first, *others = pieces
    fragments = [call(index=0, call_id="a", name=first, arguments="")]
    fragments += [call(**later, name=piece) for piece in others] + [call(index=0, arguments="{}")]
    assert told(deltas(*fragments)) == [["a", "high_tide", "{}"]]


# -- several calls


@pytest.mark.parametrize("index", [0, None])
@pytest.mark.parametrize("together", [True, False])
def test_calls_of_one_number_are_told_apart_by_their_ids(index, together):
    """Some servers call every call number 0, and some give no number at all."""
    first = call(index=index, call_id="a", name="f", arguments="{}")
    second = call(index=index, call_id="b", name="g", arguments="[")
    parts = [[first, second]] if together else [[first], [second]]
    events = streamed(*(chunk({"tool_calls": calls}) for calls in parts))
    assert only(ToolCallFragment, events) == [ToolCallFragment(0, "a", "f", "{}"), ToolCallFragment(1, "b", "g", "[")]


def test_calls_are_told_apart_by_their_numbers():
    """Fragments of two calls may alternate."""
    turns = [(0, "{"), (1, "["), (0, "}"), (1, "]")]
    events = deltas(*(call(index=index, arguments=text) for index, text in turns))
    told_first = [(event.index, event.arguments) for event in only(ToolCallFragment, events)]
    assert told_first[:4] == turns


@pytest.mark.parametrize("call_id", [None, "", "d"])
@pytest.mark.parametrize("index", [0, None])
@pytest.mark.parametrize("names", ["fgh", "fff", "ffg", "fgf"])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_name_behind_whole_arguments_begins_another_call(call_id, index, names, in_pieces):
    """With any index and id; an id from the server is kept, and a missing one is made up."""
    fragments = []
    for number, name in enumerate(names):
        text = json.dumps({"a": number})
        begin = {"index": index, "call_id": call_id, "name": name}
        if in_pieces:
            fragments += [
                call(**begin, arguments=""),
                call(index=index, arguments=text[:3]),
                call(index=index, arguments=text[3:]),
            ]
        else:
            fragments.append(call(**begin, arguments=text))
    calls = told(deltas(*fragments))
    assert [(name, json.loads(text)) for _, name, text in calls] == [(name, {"a": n}) for n, name in enumerate(names)]
    ids = [call_id for call_id, _, _ in calls]
    assert ids == ["d", "d", "d"] if call_id else len(set(ids)) == 3


def test_every_member_of_a_whole_answer_is_a_call_of_its_own():
    """With equal ids, without ids, with the same name, with or without its own index."""
    members = [
        call(call_id="d", name="f"),
        call(call_id="d", name="f", arguments="{}"),
        call(index=0, name="f"),
        call(index=0, name="g"),
    ]
    calls = only(ToolCallFragment, read_whole(whole({"tool_calls": members})))
    assert [(one.index, one.name, one.arguments) for one in calls] == [
        (0, "f", None),
        (1, "f", "{}"),
        (2, "f", None),
        (3, "g", None),
    ]
    assert [one.id for one in calls] == ["d", "d", "call_0_2", "call_0_3"]


def test_white_space_behind_arguments_hides_no_other_call():
    """A line break may follow the brace."""
    fragments = [
        call(index=0, name="f", arguments='{"a": 1}'),
        call(index=0, arguments="\n"),
        call(index=0, name="f", arguments='{"a": 2}'),
    ]
    assert [json.loads(text) for _, _, text in told(deltas(*fragments))] == [{"a": 1}, {"a": 2}]


# -- ids


def test_a_call_without_an_id_is_given_one():
    """Streamed at the end, since its own may still come; the same in a whole answer; another with another salt."""
    answer = whole({"tool_calls": [call(name="f", arguments="{}"), call(call_id="b", name="g", arguments="{}")]})
    seen = []
    for salt in ("s1", "s2"):
        decoder = CompletionDecoder(salt=salt)
        chunks = [
            chunk({"tool_calls": [call(index=0, name="f", arguments="{}")]}),
            chunk({"tool_calls": [call(index=1, call_id="b", name="g", arguments="{}")]}),
        ]
        events = [event for one in chunks for event in decoder.feed("", to_data(one))]
        assert [one.id for one in only(ToolCallFragment, events)] == [None, "b"]
        assert only(ToolCallFragment, decoder.end()) == [ToolCallFragment(0, f"call_{salt}0_0", None, None)]
        seen += [one.id for one in only(ToolCallFragment, CompletionDecoder(salt=salt).feed_whole(to_data(answer)))]
    assert seen == ["call_s10_0", "b", "call_s20_0", "b"]
    assert all(re.fullmatch(r"[\w-]+", call_id) for call_id in seen)


def test_two_choices_make_up_different_ids():
    """They are in one answer."""
    one = {"role": "assistant", "tool_calls": [call(name="f", arguments="{}")]}
    answer = whole(one)
    answer["choices"].append({**answer["choices"][0], "index": 1})
    ids = [event.id for event in only(ToolCallFragment, read_whole(answer))]
    assert len(set(ids)) == len(ids) == 2


@pytest.mark.parametrize(("said", "read_as"), [(5, "5"), (0, "0"), (True, None), ([5], None), (0.5, None), ("a", "a")])
def test_an_id_of_another_type_is_read_or_counts_as_missing(said, read_as):
    """A number is a name too; anything else is left out, and the call is kept."""
    events = deltas({"index": 0, "id": said, "function": {"name": "f", "arguments": "{}"}})
    assert told(events) == [[read_as or "call_0_0", "f", "{}"]]


# -- the old form


def test_the_old_function_call_is_a_call_like_any_other():
    """Whole or in fragments, with an id."""
    whole_call = {"name": "tide", "arguments": '{"port": "Cork"}'}
    expected = [["call_0_0", "tide", '{"port": "Cork"}']]
    assert told(read_whole(whole({"content": None, "function_call": whole_call}))) == expected
    pieces = [{"name": "tide", "arguments": ""}, {"arguments": '{"port": '}, {"arguments": '"Cork"}'}]
    assert told(streamed(*(chunk({"function_call": piece}) for piece in pieces))) == expected
    assert told(streamed(*(chunk({"function_call": piece, "tool_calls": None}) for piece in pieces))) == expected


@pytest.mark.parametrize("empty", [None, {}, {"name": None, "arguments": None}, {"name": "", "arguments": ""}])
def test_an_old_function_call_that_says_nothing_is_none(empty):
    """Some servers send the key with every delta; beside tool_calls it repeats them."""
    events = streamed(chunk({"content": "a", "function_call": empty}), chunk(finish="stop"))
    assert told(events) == []
    assert not only(Finish, events)[0].is_silent
    same = call(index=0, call_id="a", name="f", arguments="{}")
    both = {"tool_calls": [same], "function_call": {"name": "f", "arguments": "{}"}}
    assert told(streamed(chunk(both))) == told(read_whole(whole(both))) == [["a", "f", "{}"]]


# -- arguments


@pytest.mark.parametrize(
    ("arguments", "broken"),
    [
        ('{"text": "hel', ["f"]),
        ('{"text": "hello"}', []),
        ("", []),
        ("null", []),
        ("[", ["f"]),
        ("[1]", ["f"]),
        ("5", ["f"]),
        ('"{}"', ["f"]),
        ("not JSON", ["f"]),
        ("nul", ["f"]),
        ("{} {}", ["f"]),
        ('{"a": "line\nline"}', []),
        (" {}\n", []),
        ("[" * 100_000, ["f"]),
        ('{"a": ' + "1" * 5000 + "}", ["f"]),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_end_names_the_calls_whose_arguments_are_not_an_object(arguments, broken):
    """LangChain would mend half an argument into a whole one, and a tool would run with it."""
    fragments = [call(index=0, call_id="a", name="f", arguments=arguments[:3]), call(index=0, arguments=arguments[3:])]
    events = streamed(*(chunk({"tool_calls": [fragment]}) for fragment in fragments), chunk(finish="length"))
    (finish,) = only(Finish, events)
    assert [one.name for one in finish.broken_calls] == broken
    if broken:
        assert finish.broken_calls[0].arguments == told(events)[0][2] == arguments
        with pytest.raises(ValueError, match=r"^the arguments are n"):
            read_arguments(arguments)


@pytest.mark.parametrize("pieces", [["null"], ["nu", "ll"], [" ", "null"], ["", "null", " "], [" "], [""], []])
def test_null_or_nothing_for_arguments_is_a_call_without_any(pieces):
    """Some models call a function without parameters like this, in any number of pieces."""
    fragments = [call(index=0, call_id="a", name="f"), *(call(index=0, arguments=piece) for piece in pieces)]
    assert told(deltas(*fragments)) == [["a", "f", ""]]
    answer = whole({"tool_calls": [call(call_id="a", name="f", arguments="".join(pieces))]})
    assert told(read_whole(answer)) == [["a", "f", ""]]


def test_null_within_arguments_is_json_like_any_other():
    """And what only began like it comes out as it was."""
    for pieces in (['{"x":', "null"], ["n", "o"], ["nul"], [" ", "{}"]):
        fragments = [call(index=0, call_id="a", name="f"), *(call(index=0, arguments=piece) for piece in pieces)]
        assert told(deltas(*fragments)) == [["a", "f", "".join(pieces)]]
    assert told(read_whole(whole({"tool_calls": [call(call_id="a", name="f", arguments="nul")]}))) == [
        ["a", "f", "nul"]
    ]


# -- every stream

NAMES = st.sampled_from(["add", "mul", "add_all", "tide", "now"])
VALUES = st.recursive(st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=8), st.lists, max_leaves=4)
ARGUMENTS = st.dictionaries(
    st.text(max_size=4), VALUES | st.dictionaries(st.text(max_size=3), VALUES, max_size=2), max_size=3
)

WHERE_NUMBERS_STAND = ("each its own", "always 0", "none")
WHERE_IDS_STAND = ("each its own", "all the same", "none", "empty", "at the end of each")
WHERE_THE_NAME_STANDS = ("first", "everywhere", "in pieces")
HOW_NO_ARGUMENTS_ARE_SAID = ("{}", "", "null")


@st.composite
def wires(draw):
    """One to five calls, and their fragments in one of the forms that servers use."""
    calls = draw(st.lists(st.tuples(NAMES, ARGUMENTS), min_size=1, max_size=5))
    form = {
        "numbers": draw(st.sampled_from(WHERE_NUMBERS_STAND)),
        "ids": draw(st.sampled_from(WHERE_IDS_STAND)),
        "name": draw(st.sampled_from(WHERE_THE_NAME_STANDS)),
        "empty": draw(st.sampled_from(HOW_NO_ARGUMENTS_ARE_SAID)),
        "is whole": draw(st.booleans()),
        "repeats the id": draw(st.booleans()),
    }
    fragments = []
    for place, (name, arguments) in enumerate(calls):
        text = json.dumps(arguments) if arguments else form["empty"]
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4))) if not form["is whole"] else []
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        fragments += list(fragments_of(form, place, name, pieces))
    return calls, form, fragments


def fragments_of(form, place, name, pieces):
    index = {"each its own": place, "always 0": 0, "none": None}[form["numbers"]]
    call_id = {
        "each its own": f"c{place}",
        "all the same": "d",
        "none": None,
        "empty": "",
        "at the end of each": f"c{place}",
    }[form["ids"]]
    is_late = form["ids"] == "at the end of each"
    names = [name[:2], name[2:]] if form["name"] == "in pieces" else [name]
    if len(names) > 1 or not form["is whole"]:
        pieces = [*[""] * len(names), *pieces]
    for number, piece in enumerate(pieces):
        said = names[number] if number < len(names) else name if form["name"] == "everywhere" else None
        says_id = not is_late and (number == 0 or form["repeats the id"])
        yield call(index=index, call_id=call_id if says_id else None, name=said, arguments=piece)
    if is_late:
        yield call(index=index, call_id=call_id)


def cannot_be_told_apart(calls, form):
    """The one form in which different calls give the same bytes, or might: the next name may be a piece of the last one.

    A call without arguments, said as no text at all, where neither numbers nor ids say that another call begins.
    """
    is_told = "each its own" in {form["numbers"], form["ids"]} or len(calls) == 1
    return not is_told and form["empty"] == "" and any(not arguments for _, arguments in calls)


def check_streams(examples):
    unclear = 0

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(wires(), st.integers(1, 3))
    def check(wire, in_a_delta):
        nonlocal unclear
        calls, form, fragments = wire
        parts = [fragments[start : start + in_a_delta] for start in range(0, len(fragments), in_a_delta)]
        events = streamed(*(chunk({"tool_calls": part}) for part in parts), chunk(finish="tool_calls"))
        if cannot_be_told_apart(calls, form):
            unclear += 1
            return
        found = [(name, read_arguments(text)) for _, name, text in told(events)]
        assert found == calls, (form, fragments)
        ids = [call_id for call_id, _, _ in told(events)]
        if form["ids"] in {"each its own", "at the end of each"}:
            assert ids == [f"c{place}" for place in range(len(calls))]
        elif form["ids"] == "all the same":
            assert ids == ["d"] * len(calls)
        else:
            assert all(ids)
            assert len(set(ids)) == len(calls)
        assert only(Finish, events)[0].broken_calls == []

    check()
    assert unclear < examples / 3


def test_known_calls_come_out_of_every_form_of_stream():
    """With numbers, ids and names where servers put them, whole or in fragments; the exceptions are listed above."""
    check_streams(300)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_known_calls_come_out_of_every_form_of_stream_long():
    """The same with ten thousand examples."""
    check_streams(10_000)
