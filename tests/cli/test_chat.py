"""``cerebras-demo chat`` in a real pseudo-terminal: a conversation continues after Ctrl-C, errors and in narrow windows."""

from __future__ import annotations

import json
import re
import stat
import sys
from urllib.parse import urlsplit

import pytest

from langchain_cerebras_demo.testing import Gate, LoopbackCerebras, RawAnswer, Reply, Silence, Status

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:.*forkpty.*:DeprecationWarning"
    ),  # pexpect's; Python 3.12 fears our server's thread
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind"),
]

UP, TAB = "\x1b[A", "\t"
WORDS = Reply(deltas=[{"role": "assistant"}, {"content": "first "}, {"content": "second"}])


def sent(server, number=-1):
    """The messages of a request, as (role, content)."""
    return [(message["role"], message["content"]) for message in server.requests[number].json["messages"]]


def ask(child, text):
    child.expect_exact("> ")
    child.sendline(text)


@pytest.mark.quick
def test_a_conversation_keeps_its_messages(server, terminal, end):
    """And begins with the system prompt of --system."""
    server.script(Reply(text="Hello Ann"), Reply(text="You are Ann"))
    child = terminal("chat", "--system", "Be kind.", "--model", "gpt-oss", fresh=True)
    ask(child, "I am Ann")
    child.expect_exact("Hello Ann")
    ask(child, "Who am I?")
    child.expect_exact("You are Ann")
    ask(child, "/exit")
    assert end(child)[1] == 0
    expected = [("system", "Be kind."), ("user", "I am Ann"), ("assistant", "Hello Ann"), ("user", "Who am I?")]
    assert sent(server) == expected
    assert server.requests[-1].json["model"] == "gpt-oss-120b"
    assert len({request.connection for request in server.requests}) == 1  # the second question finds it open


def test_words_are_on_the_screen_before_the_answer_has_ended(server, terminal):
    """The server waits until the test has read the first one."""
    gate = Gate(after=2, reply=WORDS)
    server.script(gate)
    child = terminal("chat")
    ask(child, "hi")
    child.expect_exact("first ")
    gate.open()
    child.expect_exact("second")


def test_ctrl_c_stops_the_answer_and_keeps_the_conversation(server, terminal, end):
    """The partial answer is part of the conversation; the connection is closed."""
    server.script(Gate(after=2, reply=WORDS), Reply(text="still here"))
    child = terminal("chat")
    ask(child, "hi")
    child.expect_exact("first ")
    child.sendintr()
    child.expect_exact("stopped; the answer so far is kept, /undo forgets it")
    assert server.wait_for_disconnect(5)
    ask(child, "and now?")
    child.expect_exact("still here")
    child.expect_exact("> ")
    child.sendeof()
    said, code = end(child)
    assert (code, "Traceback" in said) == (0, False)
    assert sent(server) == [("user", "hi"), ("assistant", "first "), ("user", "and now?")]


def test_ctrl_c_before_the_first_word_takes_the_question_back(server, terminal):
    """Else two questions would follow each other, which no model was taught."""
    server.script(Silence(before_headers=True), Reply(text="yes"))
    child = terminal("chat")
    ask(child, "lost")
    assert server.wait_for_requests(1, 30)
    child.sendintr()
    child.expect_exact("stopped")
    ask(child, "kept")
    child.expect_exact("yes")
    assert sent(server) == [("user", "kept")]


def test_ctrl_c_at_the_prompt_drops_the_line_and_ctrl_d_ends(server, terminal, end):
    """In a text of several lines, too."""
    child = terminal("chat")
    child.expect_exact("> ")
    interrupt_line(child, "half a li")
    ask(child, '"""begun')
    child.expect_exact(". ")
    interrupt_line(child, "and not en")
    child.expect_exact("> ")
    child.sendeof()
    assert end(child)[1] == 0
    assert server.requests == []


def test_ctrl_d_within_a_text_drops_it_and_says_so(server, terminal, end):
    """The conversation continues; Ctrl-D at the first prompt ends it."""
    child = terminal("chat")
    ask(child, '"""begun')
    child.expect_exact(". ")
    child.sendeof()
    child.expect_exact("the text was not finished, so nothing was sent")
    child.expect_exact("> ")
    child.sendeof()
    assert end(child)[1] == 0
    assert server.requests == []


def interrupt_line(child, typed):
    """Ctrl-C once the line is on the screen: Python's readline misses one that comes just before it begins to wait."""
    child.send(typed)
    child.expect_exact(typed)
    child.sendintr()


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        (['"""one', 'two"""'], "one\ntwo"),
        (['"""', "  one", "", "two", '"""'], "one\n\ntwo"),
        (["one\\", "two"], "one\ntwo"),
        (['"""alone"""'], "alone"),
        (["//exit is a word"], "/exit is a word"),
    ],
)
def test_a_text_may_have_several_lines(server, terminal, typed, text):
    """Between triple quotes, or with a backslash at the end of a line; two slashes begin a text with one."""
    child = terminal("chat")
    ask(child, typed[0])
    for line in typed[1:]:
        child.expect_exact(". ")
        child.sendline(line)
    assert server.wait_for_requests(1, 30)
    assert sent(server) == [("user", text)]


def test_what_is_pasted_is_one_text(server, terminal):
    """Terminals say where a paste begins and ends."""
    pytest.importorskip("readline")
    child = terminal("chat")
    child.expect_exact("> ")
    child.send("\x1b[200~one\ntwo\x1b[201~")
    child.sendline("")
    assert server.wait_for_requests(1, 30)
    assert sent(server) == [("user", "one\ntwo")]


def test_the_arrow_key_finds_the_lines_of_this_conversation_and_of_the_last(server, terminal, end, tmp_path):
    """They are kept for their user's eyes alone."""
    for _ in range(2):
        child = terminal("chat")
        child.expect_exact("> ")
        child.sendline("what I asked" if not server.requests else UP)
        child.expect_exact("what I asked")
        ask(child, "/exit")
        assert end(child)[1] == 0
        file = tmp_path / "state" / "langchain-cerebras-demo" / "chat_history"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        if len(server.requests) == 1:
            lines = file.read_text().splitlines()
            assert lines[-1:] == ["what I asked"]  # and not the /exit after it
    assert [sent(server, number)[0] for number in (0, 1)] == [("user", "what I asked")] * 2


def test_without_history_no_file_is_written(terminal, end, tmp_path):
    """--no-history."""
    child = terminal("chat", "--no-history")
    ask(child, "/exit")
    assert end(child)[1] == 0
    assert not (tmp_path / "state").exists()


def test_commands_and_model_names_complete(server, terminal):
    """By the tab key."""
    pytest.importorskip("readline")
    child = terminal("chat")
    child.expect_exact("> ")
    child.send(f"/mo{TAB}qwen-3.8-2{TAB}")
    child.expect_exact("/model qwen-3.8-27b")
    child.sendline("")
    child.expect_exact("Switched to qwen-3.8-27b.")
    ask(child, "hi")
    assert server.wait_for_requests(1, 30)
    assert server.requests[0].json["model"] == "qwen-3.8-27b"


def test_commands_show_and_change_the_conversation(server, terminal):
    """/system sets and removes the prompt, /clear forgets, an unknown command gets a suggestion."""
    server.script(Reply(text="one"), Reply(text="two"), Reply(text="three"))
    child = terminal("chat", columns=200)
    ask(child, "/system Be brief.")
    child.expect_exact("System prompt set: Be brief.")
    ask(child, "a")
    child.expect_exact("one")
    ask(child, "/clear")
    child.expect_exact("Conversation cleared.")
    ask(child, "b")
    child.expect_exact("two")
    ask(child, "/system -")
    child.expect_exact("There is no system prompt.")
    ask(child, "/modle")
    child.expect_exact("did you mean '/model'?")
    ask(child, "/xyzzy")
    child.expect_exact("there is no command /xyzzy. /help lists the commands")
    ask(child, "/help")
    child.expect_exact('For several lines, put the text between """ and """, or end each line except the last with \\.')
    child.expect_exact("To send a text that begins with /, type //.")
    ask(child, "/model")
    child.expect_exact("gpt-oss-120b; available: ")
    ask(child, "c")
    child.expect_exact("three")
    assert sent(server, 0) == [("system", "Be brief."), ("user", "a")]
    assert sent(server, 1) == [("system", "Be brief."), ("user", "b")]
    assert sent(server, 2) == [("user", "b"), ("assistant", "two"), ("user", "c")]


def test_an_error_is_a_sentence_and_the_conversation_continues(server, terminal):
    """The question that failed is not part of it."""
    server.script(Status(402), Reply(text="fine"))
    child = terminal("chat")
    ask(child, "refused")
    child.expect_exact("PaymentRequiredError: 402")
    ask(child, "again")
    child.expect_exact("fine")
    assert sent(server) == [("user", "again")]


def test_a_wrong_model_is_found_before_the_first_question(server, run):
    """The service is asked for its models; nothing else is sent."""
    done = run("chat", "--model", "gpt-os-120b", stdin="hi\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no model 'gpt-os-120b'. Known ids near 'gpt-os-120b': gpt-oss-120b" in done.stderr
    assert [request.path for request in server.requests] == ["/v1/models"]


def test_model_switches_only_to_a_model_that_there_is(server, terminal):
    """One of the catalogue, or one that the service lists; where that cannot be asked, a note says so."""
    server.script_path("/v1/models", RawAnswer(body=LISTED), RawAnswer(body=LISTED), *[Status(402)] * 3)
    child = terminal("chat")
    for name, said in (
        ("gpt-os-120b", "there is no model 'gpt-os-120b'. Known ids near"),
        ("my-endpoint", "Switched to my-endpoint."),
        ("qwen-3.8", "Switched to qwen-3.8-27b."),
        ("other", "Switched to other, unchecked (PaymentRequiredError)."),
    ):
        ask(child, f"/model {name}")
        child.expect_exact(said)


LISTED = b'{"object": "list", "data": [{"id": "my-endpoint"}]}'


def test_exit_without_a_slash_is_no_question(server, terminal):
    """A note names the command. The first line names the model and the address."""
    child = terminal("chat")
    child.expect_exact(f"gpt-oss-120b at {urlsplit(server.base_url).netloc}; /help shows the commands")
    ask(child, "exit")
    child.expect_exact("/exit ends the conversation")
    assert server.requests == []


def test_without_a_key_it_ends_at_once(run, environment):
    """With the message of ``ask``."""
    del environment["CEREBRAS_API_KEY"], environment["CEREBRAS_BASE_URL"]
    done = run("chat", stdin="hi\n")
    assert done.returncode == 1
    assert "no key was found (CEREBRAS_API_KEY: not set" in done.stderr


def test_undo_forgets_the_last_question_and_its_answer(server, terminal):
    """One after the other, until there is none."""
    server.script(Reply(text="one"), Reply(text="two"), Reply(text="three"))
    child = terminal("chat")
    ask(child, "a")
    child.expect_exact("one")
    ask(child, "b")
    child.expect_exact("two")
    ask(child, "/undo")
    child.expect_exact("Forgot the last question and its answer; 1 question left.")
    ask(child, "c")
    child.expect_exact("three")
    assert sent(server) == [("user", "a"), ("assistant", "one"), ("user", "c")]
    for said in ("1 question left", "0 questions left", "There is nothing to undo."):
        ask(child, "/undo")
        child.expect_exact(said)


def test_save_writes_the_conversation_to_a_new_file(server, terminal, tmp_path):
    """Markdown for people, JSON as it is sent for programs; a file that exists is never touched."""
    server.script(Reply(text="Hello *Ann*.", reasoning="A name."))
    child = terminal("chat", "--system", "Be kind.", "-m", "gpt-oss", columns=200)
    ask(child, "/save x")
    child.expect_exact("There is nothing to save.")
    ask(child, "I am Ann")
    child.expect_exact("Ann")
    for name, said in (
        ("", "/save needs a file name: /save conversation.md"),
        (tmp_path / "a talk.md", f"Saved 2 messages to {tmp_path}/a talk.md."),
        (tmp_path / "a talk.md", "already exists: name another file"),
        (tmp_path / "talk.json", "Saved 2 messages"),
        (tmp_path / "missing" / "x", "could not be written: No such file or directory"),
    ):
        ask(child, f"/save {name}")
        child.expect_exact(said)
    assert (tmp_path / "a talk.md").read_text() == (
        "## System\n\nBe kind.\n\n## User\n\nI am Ann\n\n## Assistant\n\nHello *Ann*.\n"
    )
    saved = json.loads((tmp_path / "talk.json").read_text())
    assert saved == {
        "model": "gpt-oss-120b",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "I am Ann"},
            {"role": "assistant", "content": "Hello *Ann*.", "reasoning": "A name."},
        ],
    }


def test_everything_fits_a_terminal_of_20_columns(terminal, end):
    """Words wrap between words."""
    child = terminal("chat", columns=20)
    ask(child, "/help")
    child.expect_exact("> ")
    lines = [re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|\r", "", line) for line in child.before.split("\n")]
    child.sendeof()
    assert end(child)[1] == 0
    assert max(map(len, lines)) <= 20
    assert "/clear   forget all" in lines


@pytest.mark.parametrize(
    ("piped", "text"),
    [
        ('"""one\n\ntwo\n', "one\n\ntwo"),
        ('"""one', "one"),
        ("one\\\ntwo\\\n", "one\ntwo"),
        ("one\\", "one"),
    ],
)
def test_the_end_of_a_pipe_ends_the_text(server, run, piped, text):
    """Nothing that was piped is lost, even without the closing quotes or the line that a backslash announces."""
    server.script(Reply(text="fine"))
    done = run("chat", stdin=piped)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")
    assert sent(server) == [("user", text)]


def test_in_a_pipe_each_line_is_a_question_and_answers_stand_alone(server, run):
    """No prompt; the exit code tells a script of a failure."""
    server.script(Reply(text="one"), Reply(text="two"))
    done = run("chat", stdin="a\nb\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\ntwo\n", "")
    server.script(Status(402))
    done = run("chat", stdin="a\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("cerebras-demo: PaymentRequiredError")


@pytest.mark.parametrize(
    ("model", "sent_back", "clears"),
    [
        ("qwen-3.8", {"content": "one", "reasoning": "hm"}, None),
        ("zai-glm-4.7", {"content": "<think>hm</think>one"}, False),
        ("gemma-4-31b", {"content": "one"}, None),
    ],
)
def test_earlier_reasoning_is_sent_in_the_form_that_the_model_expects(run, model, sent_back, clears):
    """As by the chat model; not at all to a model whose form is not known."""
    with LoopbackCerebras(models=["qwen-3.8-27b", "zai-glm-4.7", "gemma-4-31b"]) as server:
        server.script(Reply(text="one", reasoning="hm"), Reply(text="two"))
        done = run("chat", "-m", model, stdin="a\nb\n", **environment_of(server))
        assert (done.returncode, done.stdout) == (0, "one\ntwo\n")
        body = server.requests[-1].json
    question, answer, _ = body["messages"]
    assert (question["content"], answer, body.get("clear_thinking")) == (
        "a",
        {"role": "assistant", **sent_back},
        clears,
    )


def environment_of(server):
    return {"CEREBRAS_BASE_URL": server.base_url, "CEREBRAS_API_KEY": server.key}


def test_bytes_that_are_no_text_are_not_sent(server, run):
    """The lines around them are."""
    done = run("chat", stdin=b"\xff\xfe\n")
    assert "Traceback" not in done.stderr
    assert done.stderr
    assert server.requests == []


def test_stats_follow_every_answer_and_thoughts_go_before_it(server, terminal):
    """--stats and --reasoning."""
    server.script(Reply(text="4", reasoning="two and two"))
    child = terminal("chat", "--stats", "--reasoning", "low")
    ask(child, "2 + 2?")
    child.expect_exact("\x1b[2mtwo")
    child.expect_exact("4")
    child.expect(r"first token after \d")
    assert server.requests[0].json["reasoning_effort"] == "low"


def test_the_embedded_model_answers(terminal, end):
    """--local: the tokens come from llama.cpp."""
    pytest.importorskip("xllamacpp")
    child = terminal("chat", "--local", "--stats")
    ask(child, "Say hi.")
    child.expect(r"smollm2-135m: first token after .* tokens/s")
    ask(child, "/model")
    child.expect_exact("only one on this machine")
    child.expect_exact("> ")
    child.sendeof()
    assert end(child)[1] == 0
