"""``cerebras-demo ask``: only the answer on stdout, notes on stderr, exit codes."""

from __future__ import annotations

import base64
import functools
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo, catalog
from langchain_cerebras_demo.testing import CutAfter, Gate, RawStream, Reply, Status, sse
from tests.support.processes import run_command

ROOT = str(Path(__file__).parents[2])
PNG = b"\x89PNG\r\n\x1a\n and so on"
PERSON = {
    "title": "Person",
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 2}},
    "required": ["name"],
}


@pytest.fixture
def ask(run):
    """Runs the command in pipes."""
    return functools.partial(run, "ask")


@pytest.mark.quick
def test_the_answer_alone_goes_to_stdout(server, ask):
    """And a line feed; stderr stays empty. Model and system are sent."""
    server.script(Reply(text="Hello Ann"))
    done = ask("Greet Ann", "--model", "gpt-oss", "--system", "Be kind.", fresh=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello Ann\n", "")
    body = server.requests[0].json
    assert body["model"] == "gpt-oss-120b"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_a_dash_reads_the_question_from_stdin(server, ask):
    """For pipes."""
    assert ask("-", stdin="What is up?\n").returncode == 0
    assert server.requests[0].json["messages"] == [{"role": "user", "content": "What is up?\n"}]


def test_json_is_one_object_with_what_is_known(server, ask):
    """Content, reasoning, model, usage and timing."""
    server.script(Reply(text="4.", reasoning="Two and two."))
    done = ask("2 + 2?", "--json")
    record = json.loads(done.stdout)
    assert (record["content"], record["reasoning"], record["provider"]) == ("4.", "Two and two.", "cerebras")
    assert (record["model"], record["finish_reason"]) == ("gpt-oss-120b", "stop")
    assert record["usage"]["total_tokens"] > 0
    assert record["time_info"]["total_time"] >= 0


def test_tokens_are_printed_while_the_answer_is_being_written(server, start):
    """The first words are there before the server has gone on to the rest."""
    gate = Gate(after=2, reply=Reply(deltas=[{"role": "assistant"}, {"content": "first "}, {"content": "second"}]))
    server.script(gate)
    process = start("ask", "hi")
    assert process.stdout.read(6) == b"first "
    gate.open()
    assert process.stdout.read() == b"second\n"
    assert process.wait(60) == 0


def test_a_refusal_is_a_sentence_and_exit_code_1(server, ask):
    """No traceback, no key."""
    server.script(Status(401))
    done = ask("hi")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("cerebras-demo: AuthenticationError: 401")
    assert done.stderr.endswith(
        ". Copy the key again from https://cloud.cerebras.ai; `cerebras-demo keys` shows where it came from.\n"
    )
    assert "Traceback" not in done.stderr
    assert server.key not in done.stderr


def test_an_interrupted_answer_shows_what_came_and_fails(server, ask):
    """The printed text stays, and the error follows on a new line."""
    server.script(CutAfter(events=3, reply=Reply(text="one two three four five six seven eight")))
    done = ask("hi")
    assert done.returncode == 1
    assert done.stdout.startswith("one two")
    assert done.stdout.endswith("\n")
    assert "StreamInterruptedError" in done.stderr


def test_without_a_key_it_says_what_to_do(ask, environment):
    """The variable, where to get a key, and --local."""
    del environment["CEREBRAS_API_KEY"], environment["CEREBRAS_BASE_URL"]
    done = ask("hi")
    assert done.returncode == 1
    assert "CEREBRAS_API_KEY" in done.stderr
    assert "--local" in done.stderr


@pytest.mark.parametrize("arguments", [[], [""], ["hi", "--nonsense"], ["hi", "--reasoning", "huge"]])
def test_wrong_usage_is_exit_code_2(ask, arguments):
    """No question, an empty one, an unknown option, a value that the model does not support: nothing is sent."""
    done = ask(*arguments)
    assert done.returncode == 2
    assert "check_requests" not in done.stderr  # the remedy of Python


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_is_exit_code_130_and_stops_the_server(server, start):
    """The connection is closed and nothing but a word is printed."""
    gate = Gate(after=2)
    server.script(gate)
    process = start("ask", "hi")
    assert gate.wait_reached(60)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.decode().strip() == "cerebras-demo: interrupted"
    assert server.wait_for_disconnect(30)


def test_a_reader_that_has_gone_is_no_traceback(server, start):
    """`cerebras-demo ask … | head -c1`."""
    server.script(Reply(text="word " * 50_000))
    process = start("ask", "hi")
    process.stdout.read(1)
    process.stdout.close()
    errors = process.stderr.read().decode()
    assert "Traceback" not in errors
    assert "Exception" not in errors


def test_help_and_version(run):
    """Plain text, and the version of the package."""
    from langchain_cerebras_demo import __version__

    shown = run("ask", "--help", fresh=True)
    assert shown.returncode == 0
    assert "--local" in shown.stdout
    assert run("--version", fresh=True).stdout.strip() == f"cerebras-demo {__version__}"


# -- what goes along


def question(server):
    """The user's message of the only request."""
    return server.requests[0].json["messages"][-1]["content"]


def test_in_a_pipe_no_question_means_standard_input(server, ask):
    """`git diff | cerebras-demo ask`."""
    assert ask(stdin="What is up?").returncode == 0
    assert question(server) == "What is up?"


def test_piped_text_goes_in_front_of_the_question(server, ask, tmp_path):
    """`git diff | cerebras-demo ask "Review this"`: never dropped, and the files come last."""
    (tmp_path / "x").write_text("why")
    done = ask("Review this", "-f", tmp_path / "x", stdin="+ a line\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert question(server) == '+ a line\n\nReview this\n\n<file name="x">\nwhy\n</file>'


def test_an_image_may_come_through_the_pipe(server, ask):
    """The pipe is then no text in front of the question."""
    done = ask("What is this?", "-m", "qwen-3.8", "-i", "-", stdin=PNG)
    assert (done.returncode, done.stderr) == (0, "")
    text, image = question(server)
    assert text["text"] == "What is this?"
    assert image["image_url"]["url"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("piped", "words"),
    [
        (PNG + b"\0", "standard input is binary, not text: use --image -\n"),
        (b"\x7fELF\0\1", "standard input is binary, not text\n"),
        (b"r\xe9sum\xe9", "standard input is not UTF-8 text (byte 1 is 0xe9): convert it\n"),
        (b"x" * 10_000_001, "standard input is larger than 10 MB: use a smaller one\n"),
    ],
)
def test_a_pipe_that_cannot_be_used_is_named_and_nothing_is_sent(server, ask, piped, words):
    """One sentence, exit code 2."""
    done = ask("What is this?", stdin=piped)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"cerebras-demo: {words}")
    assert server.requests == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_a_pipe_that_never_ends_is_named_and_waits_for_ctrl_c(server, start):
    """Nothing of it is dropped, so the question waits for it; after three seconds, a note says so."""
    soon = "import langchain_cerebras_demo.cli.inputs as inputs; inputs.SILENT_SECONDS = 0.1"
    process = start("ask", "What is this?", before=soon, piped=True)
    process.stdin.write(b"the beginning")
    process.stdin.flush()
    assert process.stderr.readline().startswith(b"cerebras-demo: waiting for the end of standard input; Ctrl-C stops")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b"cerebras-demo: interrupted\n")
    assert server.requests == []


def test_files_go_along_behind_the_question(server, ask, tmp_path):
    """Each under its name; - is standard input, a byte order mark is no text."""
    (tmp_path / "one.txt").write_bytes(b"\xef\xbb\xbfeins\n")
    done = ask("Sum up", "-f", str(tmp_path / "one.txt"), "--file", "-", stdin="zwei")
    assert (done.returncode, done.stderr) == (0, "")
    assert question(server) == 'Sum up\n\n<file name="one.txt">\neins\n\n</file>\n\n<file name="stdin">\nzwei\n</file>'


def test_images_go_along_as_data(server, ask, tmp_path):
    """By what they are, not by how they are called."""
    (tmp_path / "picture.txt").write_bytes(PNG)
    done = ask("What is this?", "--model", "qwen-3.8", "--image", str(tmp_path / "picture.txt"))
    assert (done.returncode, done.stderr) == (0, "")
    text, image = question(server)
    assert text == {"type": "text", "text": "What is this?"}
    assert image["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


def test_a_schema_shapes_the_answer_and_is_held_against_it(server, ask, tmp_path):
    """From a file or as it is; an answer that does not fit is printed and fails."""
    file = tmp_path / "person.json"
    file.write_text(json.dumps(PERSON))
    server.script(Reply(text='{"name": "Ann"}'), Reply(text='{"name": "A"}'), Reply(text="Ann"))
    done = ask("Who?", "--schema", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"name": "Ann"}\n', "")
    sent = server.requests[0].json["response_format"]["json_schema"]
    assert (sent["name"], sent["strict"], sent["schema"]["additionalProperties"]) == ("Person", True, False)
    for words in ("the answer does not fit 'Person': ", "the answer is text instead of JSON. It begins: 'Ann'."):
        done = ask("Who?", "--schema", json.dumps(PERSON))
        assert done.returncode == 1
        assert "A" in done.stdout
        assert words in done.stderr


COLOURS = {"title": "Colours", "type": "array", "items": {"type": "string"}}
NUMBERS = {"type": "array", "items": {"type": "integer"}}
FENCED = 'Here it is:\n```json\n{"name": "Zoë"}\n```\nDone.'


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (NUMBERS, '{"value":[1]}', [1]),
        (NUMBERS, "[1]", [1]),
        ({"type": "string"}, '{"value": "a"}', "a"),
        ({"type": ["integer", "null"]}, '{"value": null}', None),
        (PERSON, FENCED, {"name": "Zoë"}),
        ({"type": "json_object"}, FENCED, {"name": "Zoë"}),
    ],
)
def test_with_a_schema_standard_output_is_the_value_as_json(server, ask, schema, text, value):
    """One line of JSON without an object or prose around the value, so that it can be piped into jq."""
    server.script(Reply(text=text))
    done = ask("Which?", "--schema", json.dumps(schema))
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert json.loads(done.stdout) == value


def test_with_a_schema_nothing_is_printed_of_an_answer_that_was_interrupted(server, ask):
    """A part of a JSON value helps no program."""
    server.script(CutAfter(events=3, reply=Reply(text='{"value": [1, 2, 3, 4, 5, 6, 7, 8]}')))
    done = ask("Which?", "--schema", json.dumps(NUMBERS))
    assert (done.returncode, done.stdout) == (1, "")
    assert "StreamInterruptedError" in done.stderr


@pytest.mark.parametrize(
    ("schema", "reply", "parsed"),
    [
        (COLOURS, Reply(text='{"value": ["red"]}'), ["red"]),
        (COLOURS, Reply(text='["red"]'), ["red"]),
        (PERSON, Reply(text='Here it is:\n```json\n{"name": "Ann"}\n```'), {"name": "Ann"}),
        ({"type": "json_object"}, Reply(text='{"a": 1}'), {"a": 1}),
        ({"type": "json_object"}, Reply(text="[1]"), "is JSON, but not an object"),
        (PERSON, Reply(text='{"name": "An', finish_reason="length"), "cut off at its limit of tokens"),
        (PERSON, Reply(text='```\n{"name": "Ann"}\n```\n```\n{"name": "Bo"}\n```'), "2 JSON values in code fences"),
        (PERSON, Reply(text=""), "is empty instead of JSON"),
    ],
)
def test_an_answer_is_read_as_with_structured_output_reads_it(server, ask, schema, reply, parsed):
    """The same values and the same words of errors, through both faces."""
    model = ChatCerebrasDemo(model="gpt-oss-120b", base_url=server.base_url, api_key=server.key)
    given = {"schema": None, "method": "json_mode"} if schema["type"] == "json_object" else {"schema": schema}
    server.script(reply, reply)
    record = json.loads(ask("Who?", "--schema", json.dumps(schema), "--json").stdout)
    whole = model.with_structured_output(**given, include_raw=True).invoke("Who?")
    mine, theirs = (request.json["response_format"] for request in server.requests)
    assert (mine, record["parsed"]) == (theirs, whole["parsed"])
    if isinstance(parsed, str):
        words, _, _ = record["error"]["message"].partition(": raise")
        assert parsed in words
        assert words.partition("(finish_reason")[0] in str(whole["parsing_error"])
    else:
        assert record["parsed"] == parsed


def test_a_schema_loads_nothing_of_langchain_but_its_exceptions(server, environment):
    """In a Python that has loaded nothing before: reading the schema and the answer needs no chat model."""
    server.script(Reply(text='{"name": "Ann"}'))
    done = run_command(
        "ask", "Who?", "--schema", json.dumps(PERSON), variables=environment, before=LOADED, forked=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"name": "Ann"}\n', "[]\n")


LOADED = """
import atexit, sys
import langchain_core.exceptions

def of_langchain():
    return {name for name in sys.modules if name.startswith("lang") and not name.startswith("langchain_cerebras_demo")}

before = of_langchain()
atexit.register(lambda: print(sorted(of_langchain() - before), file=sys.stderr))
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-f", "missing"], "'missing' cannot be read: No such file"),
        (["-f", "."], "'.' cannot be read: Is a directory"),
        (["-f", "binary"], "'binary' is binary, not text: use --image binary"),
        (["-f", "latin"], "'latin' is not UTF-8 text (byte 1 is 0xe9)"),
        (["-f", "/dev/zero"], "'/dev/zero' is larger than 10 MB"),
        (["-f", "-", "-f", "-"], "given twice"),
        (["-f", "-", "-i", "-"], "given twice"),
        (["-x", "--schema", "{}"], "use either --extract or --schema"),
        (["-i", "latin"], "'latin' is neither PNG nor JPEG"),
        (["--schema", "latin"], "--schema: 'latin' is not UTF-8 text"),
        (["--schema", "{"], "--schema is not valid JSON"),
        (["--schema", "list"], "a JSON list: use an object"),
        (["--schema", '{"type": "object", "properties": {"a": {}}}'], '"strict": false'),
        (["--schema", "{}"], "--schema: "),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows words its errors otherwise")
def test_what_cannot_be_used_is_named_and_nothing_is_sent(server, ask, tmp_path, monkeypatch, arguments, words):
    """One sentence, exit code 2."""
    monkeypatch.chdir(tmp_path)
    for name, data in {"binary": PNG + b"\0", "latin": b"r\xe9sum\xe9", "list": b"[]"}.items():
        (tmp_path / name).write_bytes(data)
    done = ask("hi", *arguments, PYTHONPATH=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cerebras-demo: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert server.requests == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root and Windows read everything")
def test_a_file_that_may_not_be_read_is_named(ask, tmp_path):
    """The error has the system's message."""
    (tmp_path / "mine").touch(mode=0)
    assert "cannot be read: Permission denied" in ask("hi", "-f", str(tmp_path / "mine")).stderr


def test_an_empty_standard_input_as_a_file_is_not_sent(server, ask):
    """`git diff | cerebras-demo ask "Review this" --file -` without a change: a model would make one up."""
    done = ask("Review this", "--file", "-", stdin=" \n")
    assert (done.returncode, done.stdout) == (2, "")
    assert "standard input is empty, so nothing was sent" in done.stderr
    assert server.requests == []


def test_a_question_without_quotes_is_told_of_them(server, ask):
    """Several words are several arguments to a shell."""
    done = ask("what", "is", "up")
    assert done.returncode == 2
    assert "in quotes" in done.stderr
    assert server.requests == []


# -- the embedded model


def test_the_embedded_model_is_the_only_one_and_reads_short_texts(ask):
    """--model and --reasoning have no effect, and a note says so; the error for a long text names the limit."""
    pytest.importorskip("xllamacpp")
    done = ask("word " * 4000, "--local", "--model", "gpt-oss-120b", "-r", "high")
    assert done.returncode == 1
    assert "--model and --reasoning have no effect with the embedded model\n" in done.stderr
    assert (
        "cerebras-demo: the embedded model reads 2,048 tokens at most: shorten the text, or use a Cerebras model\n"
        in done.stderr
    )


# -- parameters

SET = ["--temperature", "0.2", "--max-tokens", "9", "--seed", "-3", "--stop", "5", "--stop", "b", "-o", "top_p=0.9"]
SENT = {"temperature": 0.2, "max_completion_tokens": 9, "seed": -3, "stop": ["5", "b"], "top_p": 0.9}


@pytest.mark.parametrize("command", ["ask", "chat", "bulk"])
def test_parameters_are_sent_by_every_command_that_asks(server, run, tmp_path, command):
    """The common ones by name, any by -o, under our name or the API's."""
    (tmp_path / "in.jsonl").write_text('{"prompt": "hi"}\n')
    more = {"ask": ["hi"], "chat": [], "bulk": [tmp_path / "in.jsonl", tmp_path / "out.jsonl"]}
    done = run(command, *more[command], *SET, "-o", "min_completion_tokens=1", stdin="hi\n")
    assert done.returncode == 0, done.stderr
    body = server.requests[0].json
    assert {name: body.get(name) for name in SENT} == SENT
    assert body["min_completion_tokens"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--temperature", "hot"], "--temperature hot: give a number from 0 to 2\n"),
        (["--temperature", "3"], "--temperature 3: give a number from 0 to 2\n"),
        (["--max-tokens", "1.5"], "--max-tokens 1.5: give a whole number, 1 or more (-1: no limit)\n"),
        (["--seed", "x"], "--seed x: give a whole number\n"),
        (["--stop", ""], "--stop : give a string that is not empty"),
        ([*["--stop", "a"] * 5], "give four at most"),
        (["-o", "temprature=1"], "-o temprature: unknown parameter; did you mean 'temperature'?\n"),
        (["-o", "xyzzy=1"], "-o xyzzy: unknown parameter; known are max_tokens, min_tokens, temperature"),
        (["-o", "top_p"], "-o 'top_p' is not of the form name=value, such as -o top_p=0.9\n"),
        (["-o", "top_p=NaN"], "-o top_p=NaN: give a number from 0 to 1\n"),
        (["-o", "logit_bias={"], "-o logit_bias={: give a mapping"),
        (["-o", "tools=[]"], "-o tools is not supported: the command line runs no tools\n"),
        (["-o", "logprobs=true"], "-o logprobs is not supported: the command line does not show log probabilities\n"),
        (["-o", "top_logprobs=1"], "-o top_logprobs is not supported: the command line does not show log"),
        (["-o", "n=2"], "-o n is not supported: the command line shows one answer\n"),
        (["-o", "seed=1", "--seed", "2"], "seed was given twice: use only one\n"),
        (["-o", "reasoning_effort=low", "-r", "low"], "reasoning_effort was given twice: use only one\n"),
        (["-o", "max_completion_tokens=1", "--max-tokens", "2"], "max_tokens was given twice: use only one\n"),
    ],
)
def test_an_invalid_parameter_is_named_and_nothing_is_sent(server, ask, arguments, words):
    """As it was typed, with what the chat model's constructor accepts, and the nearest name to an unknown one."""
    done = ask("hi", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cerebras-demo: ")
    assert words in done.stderr
    assert server.requests == []


def test_a_variable_sets_the_default_model(server, ask):
    """--model comes first, and an empty variable counts as none."""
    assert ask("hi", CEREBRAS_DEMO_MODEL="qwen-3.8").returncode == 0
    assert ask("hi", "-m", "gpt-oss", CEREBRAS_DEMO_MODEL="qwen-3.8").returncode == 0
    assert ask("hi", CEREBRAS_DEMO_MODEL="").returncode == 0
    assert [request.json["model"] for request in server.requests] == ["qwen-3.8-27b", "gpt-oss-120b", "gpt-oss-120b"]


def test_a_name_that_no_model_can_have_is_wrong_usage_of_every_command(server, run, tmp_path):
    """With one sentence, the same for all, before anything is sent or started."""
    (tmp_path / "in.txt").write_text("hi\n")
    files = (tmp_path / "in.txt", tmp_path / "out.jsonl")
    with pytest.raises(ValueError, match=r"^The model ") as refusal:
        catalog.check_name(" gpt", "model")
    commands = (["ask", "hi"], ["chat"], ["bulk", *files], ["bulk", *files, "--dry-run"])
    for command in (*commands, *([*command, "--local"] for command in commands), ["doctor"]):
        done = run(*command, "-m", " gpt", stdin="hi\n")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"cerebras-demo: {refusal.value}\n")
    assert server.requests == []


CODE = "Here it is:\n\n```python\nprint(1)\n```\n\nAnd:\n```\n2\n```\n"


@pytest.mark.parametrize(
    ("text", "printed", "note"),
    [
        (CODE, "print(1)\n", ""),
        ("1. So:\n   ~~~~\n   a\n     b ```\n   ~~~~\n", "a\n  b ```\n", ""),
        ("````md\n```\nx\n```\n````", "```\nx\n```\n", ""),
        ("```\ncut o", "cut o", ""),
        ("print(1)", "print(1)\n", "cerebras-demo: the answer has no code block, so all of it was printed\n"),
    ],
)
def test_extract_prints_only_the_first_code_block(server, ask, text, printed, note):
    """Without its fences; an answer that is code without fences is printed as it is, with a note."""
    server.script(Reply(text=text))
    done = ask("hi", "-x")
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, note)


def test_extract_with_json_has_the_code_beside_the_answer(server, ask):
    """As ``code``."""
    server.script(Reply(text=CODE))
    record = json.loads(ask("hi", "--extract", "--json").stdout)
    assert (record["code"], record["content"]) == ("print(1)\n", CODE)


# -- what is said of the answer


def test_thoughts_go_to_stderr_and_the_answer_alone_to_stdout(server, ask):
    """If --reasoning is given; the effort is sent."""
    server.script(Reply(text="4.", reasoning="Two and two."), Reply(text="4.", reasoning="Two and two."))
    done = ask("2 + 2?", "--reasoning", "low")
    assert (done.stdout, done.stderr) == ("4.\n", "Two and two.\n")
    assert server.requests[0].json["reasoning_effort"] == "low"
    assert ask("2 + 2?").stderr == ""


def test_stats_say_how_long_it_took(server, ask):
    """On stderr; --json has them too."""
    done = ask("hi", "--stats")
    assert re.search(r"gpt-oss-120b: first token after [\d.]+ s, [\d,]+ tokens/s, \d+ tokens in, \d+ out", done.stderr)
    stats = json.loads(ask("hi", "--json").stdout)["stats"]
    assert stats["attempts"] == 1
    assert 0 < stats["ttft"] <= stats["seconds"]
    assert stats["tokens_per_second"] > 0


def test_an_empty_answer_is_said_to_be_one(server, ask):
    """And is no line of its own."""
    server.script(Reply(text=""))
    done = ask("hi")
    assert (done.returncode, done.stdout) == (0, "")
    assert "empty" in done.stderr


# -- what goes wrong


def test_a_bad_model_names_the_near_ones(ask):
    """From the catalogue."""
    done = ask("hi", "--model", "gpt-os-120b")
    assert (done.returncode, done.stdout) == (1, "")
    assert "gpt-oss-120b" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_network_it_is_a_sentence(ask):
    """The last line of standard error; those before it tell of the retries."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = ask("hi", CEREBRAS_BASE_URL=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    assert (done.returncode, done.stdout) == (1, "")
    *retries, sentence = done.stderr.splitlines()
    assert sentence.startswith("cerebras-demo: APIConnectionError: could not connect")
    assert all(line.startswith("cerebras-demo: attempt ") for line in retries)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize("arguments", [["ask", "hi"], ["ask", "hi", "--json"], ["models", "--all"]])
def test_a_full_disk_is_a_sentence(run, arguments):
    """`cerebras-demo … > file`; the interpreter does not complain of it once more."""
    with Path("/dev/full").open("wb") as full:
        done = run(*arguments, output=full, fresh=arguments[0] == "models")
    assert done.returncode == 1
    assert done.stderr.startswith("cerebras-demo: OSError: [Errno 28]")
    assert done.stderr.count("\n") == 1


def test_a_character_that_the_output_cannot_hold_is_escaped(server, ask):
    """As on an old Windows console; JSON stays JSON."""
    server.script(*[Reply(text="5 € 😀")] * 2)
    assert json.loads(ask("hi", "--json", PYTHONIOENCODING="ascii").stdout)["content"] == "5 € 😀"
    done = ask("hi", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, "5 \\u20ac \\U0001f600\n", "")


# -- --json with an error, a schema, a refusal


def test_with_json_an_error_is_an_object_too(server, ask):
    """On stdout, one; the sentence on stderr and the exit code stay."""
    server.script(Status(402))
    done = ask("hi", "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["type"] == "PaymentRequiredError"
    assert done.stderr == f"cerebras-demo: PaymentRequiredError: {error['message']}\n"
    done = ask("hi", "--json", "-f", "missing")
    assert (done.returncode, json.loads(done.stdout)["error"]["type"]) == (2, "InputError")


def test_with_json_a_schema_gives_the_value(server, ask):
    """Or, where the answer does not fit, ``null`` and the error beside the answer."""
    server.script(Reply(text='{"name": "Ann"}'), Reply(text="Ann"))
    done = ask("Who?", "--schema", json.dumps(PERSON), "--json")
    assert (done.returncode, json.loads(done.stdout)["parsed"]) == (0, {"name": "Ann"})
    done = ask("Who?", "--schema", json.dumps(PERSON), "--json")
    record = json.loads(done.stdout)
    assert (done.returncode, record["parsed"], record["content"]) == (1, None, "Ann")
    assert record["error"].keys() == {"type", "message"}


def test_a_refusal_is_shown_and_is_no_value_of_a_schema(server, ask):
    """As text, and beside the content with --json."""
    said = [{"index": 0, "delta": {"refusal": "No."}}, {"index": 0, "delta": {}, "finish_reason": "stop"}]
    step = RawStream([sse({"id": "c1", "choices": [choice]}) for choice in said])
    server.script(step, step, step)
    assert ask("hi").stdout == "No.\n"
    record = json.loads(ask("hi", "--json").stdout)
    assert (record["content"], record["refusal"]) == ("", "No.")
    done = ask("hi", "--schema", '{"type": "object", "properties": {}, "additionalProperties": false}')
    assert done.returncode == 1
    assert "the model refused to answer: No." in done.stderr


@pytest.mark.filterwarnings(
    "ignore:.*forkpty.*:DeprecationWarning"
)  # pexpect's; Python 3.12 warns of the server's thread
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
class TestInATerminal:
    """A real pseudo-terminal: streaming, control characters, colour, Ctrl-C."""

    def test_words_are_on_the_screen_before_the_answer_has_ended(self, server, terminal, end):
        """In a window of 20 columns they come as they are: the terminal wraps them."""
        text = "a sentence that is longer than the window"
        gate = Gate(after=2, reply=Reply(deltas=[{"role": "assistant"}, {"content": text}, {"content": " end"}]))
        server.script(gate)
        child = terminal("ask", "hi", columns=20)
        child.expect_exact(text)
        gate.open()
        assert end(child) == (" end\n", 0)

    def test_an_answer_cannot_steer_the_terminal(self, server, terminal, end, run):
        """Its control characters are shown as pictures; a pipe gets what was sent."""
        server.script(*[Reply(text="\x1b]0;title\x07 and \x1b[31mred\x9b2J\r\n")] * 2)
        assert end(terminal("ask", "hi"))[0] == "␛]0;title␇ and ␛[31mred\ufffd2J\n\n"
        assert run("ask", "hi").stdout.startswith("\x1b]0;title\x07")

    @pytest.mark.parametrize(
        ("variables", "shown"), [({}, "\x1b[2mhm"), ({"NO_COLOR": "1"}, "hm"), ({"TERM": "dumb"}, "hm")]
    )
    def test_thoughts_are_pale_unless_colour_is_unwanted(self, server, terminal, end, variables, shown):
        """NO_COLOR and dumb terminals get plain text."""
        server.script(Reply(text="4", reasoning="hm"))
        said, _ = end(terminal("ask", "2+2", "--reasoning", "low", **variables))
        assert said.startswith(shown)
        assert ("\x1b" in said) == (not variables)

    def test_ctrl_c_in_a_terminal_ends_with_a_word(self, server, terminal, end):
        """The partial answer stays on the screen."""
        server.script(
            Gate(after=2, reply=Reply(deltas=[{"role": "assistant"}, {"content": "first"}, {"content": "no"}]))
        )
        child = terminal("ask", "hi")
        child.expect_exact("first")
        child.sendintr()
        assert end(child) == ("^C\ncerebras-demo: interrupted\n", 130)

    def test_without_a_question_at_a_terminal_it_says_how_to_ask(self, terminal, end):
        """Instead of waiting for input without a prompt."""
        said, code = end(terminal("ask"))
        assert code == 2
        assert "cerebras-demo chat" in said
