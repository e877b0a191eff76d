"""``cerebras-demo bulk``: input and output files, progress on stderr, exit codes, signals."""

from __future__ import annotations

import csv
import json
import re
import signal
import sys

import pytest

from langchain_cerebras_demo.bulk import run as run_module
from langchain_cerebras_demo.cli.answer import base_url_of
from langchain_cerebras_demo.cli.bulk import open_model
from langchain_cerebras_demo.testing import Gate, Quota, Reply, Status

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send to one process")


@pytest.fixture
def source(tmp_path):
    """Five rows with columns."""
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": f"r{number}", "word": f"word {number}"}) + "\n" for number in range(5)))
    return path


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out.jsonl"


def ids(path):
    return sorted(json.loads(line)["id"] for line in path.read_text().splitlines())


@pytest.mark.quick
def test_a_file_becomes_a_file(run, server, source, output):
    """Nothing on stdout, a summary on stderr, exit code 0."""
    done = run(
        "bulk", source, output, "--template", "Say {word}.", "--system", "Be brief.", "--model", "gpt-oss", fresh=True
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(
        r"cerebras-demo: 5 rows answered, none failed; 5 requests, \d+ tokens, 0:0\d, [\d.]+ rows/s\n"
        r"cerebras-demo: \$0\.\d{4} at list prices; the estimate was \$0\.\d{4} and [\d,]+ tokens\n"
        rf"cerebras-demo: written to {re.escape(str(output))}\n",
        done.stderr,
    )
    assert ids(output) == [f"r{number}" for number in range(5)]
    contents = [message["content"] for message in server.requests[0].json["messages"]]
    assert contents[0] == "Be brief."
    assert contents[1].startswith("Say word ")


def test_a_csv_without_ids_becomes_a_csv_with_its_columns_and_the_answers(run, server, tmp_path):
    """In its order; an equal row is sent once; run again, nothing is sent."""
    (tmp_path / "reviews.csv").write_text("product,text\ntea,good\ncup,bad\npot,good\n")
    arguments = ("bulk", tmp_path / "reviews.csv", tmp_path / "answers.csv", "--prompt", "Is {text} positive?")
    done = run(*arguments)
    assert done.returncode == 0
    assert "3 rows answered (1 of them shares the answer of an equal row), none failed; 2 requests" in done.stderr
    with (tmp_path / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["product"], row["text"]) for row in rows] == [("tea", "good"), ("cup", "bad"), ("pot", "good")]
    assert all(f"Is {row['text']} positive?" in row["answer"] for row in rows)
    assert "already exists: use --resume" in run(*arguments).stderr
    again = run(*arguments, "--resume").stderr
    assert again == "cerebras-demo: all 3 rows were answered before; nothing was sent\n"
    assert len(server.requests) == 2


def test_standard_input_is_rows_of_a_format(run, server, output):
    """Which has to be named."""
    done = run("bulk", "-", output, "--format", "csv", "-t", "{word}", stdin="id,word\na,rain\nb,snow\n")
    assert (done.returncode, ids(output)) == (0, ["a", "b"])
    done = run("bulk", "-", output.with_name("other.csv"), "-t", "{word}", stdin="id,word\na,rain\n")
    assert done.returncode == 2
    assert "INPUT: - needs --format" in done.stderr


def test_a_dry_run_sends_nothing_and_estimates(run, server, source, output):
    """Without a key; in words, and as JSON."""
    arguments = ("bulk", source, output, "-t", "Say {word}.", "--dry-run", "--requests-per-minute", "60", "--json")
    done = run(*arguments, CEREBRAS_API_KEY="", CEREBRAS_BASE_URL="https://api.cerebras.ai/v1")
    assert done.returncode == 0
    assert re.match(r"cerebras-demo: estimate: 5 rows, 5 requests to send, \d+ tokens of prompts", done.stderr)
    told = json.loads(done.stdout)
    assert (told["rows"], told["requests"], told["seconds"]) == (5, 5, 5)
    assert server.requests == []
    assert not output.exists()


def test_a_model_that_the_service_does_not_have_stops_at_the_first_row(run, server, source, output):
    """No row fails for it: all are left for a run with another model."""
    server.script(Status(404))
    done = run("bulk", source, output, "-t", "{word}", "-c", "1", "-m", "qwen-3.8-27b")
    assert done.returncode == 1
    assert "0 rows answered, none failed; 1 request" in done.stderr
    assert "stopped: NotFoundError: 404: Model x does not exist" in done.stderr
    assert "5 rows are left: continue with --resume" in done.stderr
    assert run("bulk", source, output, "-t", "{word}", "--resume").returncode == 0


def test_failed_rows_are_exit_code_3_and_stand_in_a_file(run, server, source, output):
    """Resumed, they are asked again; without --resume an output is never touched."""
    server.script(Status(400))
    arguments = ("bulk", source, output, "-t", "Say {word}.")
    first = run(*arguments, "-c", "1")
    assert first.returncode == 3
    assert "4 rows answered, 1 failed (1 BadRequestError)" in first.stderr
    assert f"the failed rows are in {output}.failures.jsonl; --resume sends them again with the same" in first.stderr
    assert "another model (-m) needs another OUTPUT" in first.stderr
    assert "the most frequent reason (1 of 1): BadRequestError: 400" in first.stderr
    again = run(*arguments)
    assert again.returncode == 2
    assert "already exists: use --resume to continue it" in again.stderr
    another = run(*arguments, "--resume", "-m", "gemma-4-31b")
    assert another.returncode == 2
    assert 'made with other settings: --model was "gpt-oss-120b" and is "gemma-4-31b". Use the same' in another.stderr
    another = run(*arguments, "--resume", "--temperature", "0.1")
    assert "--temperature was not set and is 0.1" in another.stderr
    resumed = run(*arguments, "--resume")
    assert resumed.returncode == 0
    assert "4 answered before, 1 row answered, none failed" in resumed.stderr
    assert len(ids(output)) == 5


def test_json_is_one_object(run, server, source, output):
    """For scripts; errors by kind, and where the failures are."""
    server.script(Status(400))
    done = run("bulk", source, output, "-t", "{word}", "--json", "--ordered", "-c", "1")
    told = json.loads(done.stdout)
    assert (told["total"], told["done"], told["failed"], told["errors"]) == (5, 4, 1, {"BadRequestError": 1})
    assert told["failures"] == f"{output}.failures.jsonl"


def test_a_schema_makes_values(run, server, source, output, tmp_path):
    """From a file with a JSON schema."""
    schema = {"title": "Sum", "type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    server.script(*[Reply(text='{"sum": 4}')] * 5)
    assert run("bulk", source, output, "-t", "{word}", "--schema", tmp_path / "schema.json").returncode == 0
    assert json.loads(output.read_text().splitlines()[0])["parsed"] == {"sum": 4}
    assert server.requests[0].json["response_format"]["type"] == "json_schema"


def test_a_budget_stops_with_exit_code_1(run, source, output):
    """And the word on how to go on."""
    done = run("bulk", source, output, "-t", "{word}", "--budget", "2 requests")
    assert done.returncode == 1
    assert "stopped: the budget is spent: 2 of 2 requests. 3 rows are left: continue with --resume" in done.stderr
    assert len(ids(output)) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget", ""], "--budget '' is not a budget: give '2M tokens'"),
        (["--concurrency", "many"], "--concurrency many: give a whole number, 1 or more"),
        (["--requests-per-minute", "0"], "--requests-per-minute 0: give a number above 0"),
        (["--requests-per-minute", "-1"], "--requests-per-minute"),
        (["--schema", "no.json"], "--schema"),
        (["--concurrency", "0"], "concurrency"),
        (["-t", "{"], "template"),
    ],
)
def test_wrong_usage_is_exit_code_2(run, source, output, arguments, words):
    """By the option's name; no output is begun."""
    done = run("bulk", source, output, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert not output.exists()


def test_bad_files_are_exit_code_2_and_a_sentence(run, source, output, tmp_path):
    """A missing input, a missing folder, the input as output, a column that no row has."""
    semicolons = tmp_path / "semicolons.csv"
    semicolons.write_text("id;word\na;rain\n")
    for arguments, words in (
        ((tmp_path / "no.jsonl", output), "does not exist"),
        ((source, tmp_path / "no" / "out.jsonl", "-t", "{word}"), "create it first"),
        ((source, source, "-t", "{word}", "--resume"), "is the input"),
        ((source, output), "the columns are 'id', 'word'. Say what to ask with --prompt \"What is {word}?\""),
        ((semicolons, output), "seems to be separated by semicolons"),
        ((semicolons, output, "-t", "{word}"), "seems to be separated by semicolons"),
        ((source, output, "-t", "{Word}"), "did you mean {word}?"),
        ((source, output, "-t", "{Word}", "--dry-run"), "did you mean {word}?"),
        ((source, output, "-t", '{"a": {word}}'), "write a literal brace twice: {{ }}"),
        ((source, output.with_suffix(""), "-t", "{word}"), "has no suffix: name it out.csv, .tsv, .json, .parquet or"),
    ):
        done = run("bulk", *arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_the_output_cannot_be_standard_output(run, server, source, tmp_path, monkeypatch):
    """A run that can be resumed needs a file; none is made with that name."""
    monkeypatch.chdir(tmp_path)
    done = run("bulk", source, "-", "-t", "{word}")
    assert done.returncode == 2
    assert "OUTPUT: standard output is not supported" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]
    assert server.requests == []


def test_where_all_rows_fail_it_is_exit_code_1_with_the_commonest_reason_once(run, server, source, output):
    """There are no answers yet, so a resumed run may use another model."""
    server.script(Status(422), Status(400), *[Status(422)] * 3)
    done = run("bulk", source, output, "-t", "{word}", "-c", "1", "-m", "gemma-4-31b")
    assert done.returncode == 1
    assert "0 rows answered, 5 failed (4 UnprocessableEntityError, 1 BadRequestError)" in done.stderr
    assert "the most frequent reason (4 of 5): UnprocessableEntityError: 422" in done.stderr
    assert "also with another model (-m)" in done.stderr
    assert run("bulk", source, output, "-t", "{word}", "--resume").returncode == 0
    assert len(ids(output)) == 5


def test_without_a_key_nothing_is_begun(run, environment, source, output):
    """The error names the sources once, and the remedy on the command line."""
    del environment["CEREBRAS_API_KEY"], environment["CEREBRAS_BASE_URL"]
    done = run("bulk", source, output, "-t", "{word}")
    assert done.returncode == 1
    assert done.stderr.count("CEREBRAS_API_KEY: not set") == 1
    assert "--local" in done.stderr
    assert "base_url" not in done.stderr
    assert not output.exists()


def test_the_embedded_model_answers_a_few_rows_at_once(run, source, output):
    """And says that --model does nothing there."""
    pytest.importorskip("xllamacpp")
    done = run("bulk", source, output, "-t", "Say {word}.", "--local", "-m", "gpt-oss", "--budget", "2 requests")
    assert done.stderr.startswith("cerebras-demo: --model has no effect with the embedded model\n")
    assert "2 rows answered, none failed" in done.stderr
    done = run("bulk", source, output, "-t", "Say {word}.", "--resume", CEREBRAS_API_KEY="")
    assert done.returncode == 2
    assert f"the output '{output}' was made with --local: add --local, or name another output" in done.stderr


def test_the_variable_for_the_embedded_model_does_the_same_as_the_option(run, source, output):
    """The note on options without effect, and an estimate for the embedded model."""
    arguments = ("bulk", source, output, "-t", "{word}", "-m", "gpt-oss", "-r", "low", "--dry-run")
    by_option, by_variable = run(*arguments, "--local"), run(*arguments, CEREBRAS_BASE_URL="local")
    assert (by_variable.returncode, by_variable.stderr) == (by_option.returncode, by_option.stderr)
    assert by_variable.stderr.startswith("cerebras-demo: --model and --reasoning have no effect with the embedded")


def test_four_rows_are_sent_to_the_embedded_model_at_once(monkeypatch):
    """The others wait here, where no timeout applies."""
    monkeypatch.setenv("CEREBRAS_BASE_URL", "local")
    for is_local in (True, False):
        base_url = base_url_of(is_local=is_local)
        model = open_model("gpt-oss", {}, base_url=base_url, requests_per_minute=None, needs_key=False)
        assert (model.base_url, model.max_concurrency) == ("local", 4)


def test_a_limit_of_the_day_tells_when_to_come_back(run, server, source, output):
    """A date and a time."""
    server._service.quota = Quota(60_000_000, requests_day=3, older_form=True, clock=lambda: 12 * 3600.0)
    done = run("bulk", source, output, "-t", "{word}", "-c", "1")
    assert done.returncode == 1
    assert re.search(r"continue with --resume after \d{4}-\d\d-\d\d \d\d:\d\d \(in 1[12]:\d\d:\d\d\)", done.stderr)


def test_an_empty_input_is_no_failure(run, output, tmp_path):
    """A note mentions it."""
    (tmp_path / "in.csv").write_text("")
    done = run("bulk", tmp_path / "in.csv", output)
    assert (done.returncode, done.stderr) == (0, "cerebras-demo: the input has no rows\n")


STOPPING = "stopping: waiting a few seconds for 1 row in flight; press Ctrl-C again to end the run at once\n"


def grace(seconds):
    """Python that sets how long a run waits for what is under way after a signal."""
    return f"import langchain_cerebras_demo.bulk.run as run; run.GRACE_SECONDS = {seconds}"


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_what_is_under_way(start, server, source, output, number):
    """Its answer is kept, nothing else is asked, exit code 130."""
    gate = Gate()
    server.script(gate)
    process = start("bulk", source, output, "-t", "{word}", "-c", "1", before=grace(600))
    assert gate.wait_reached(60)
    process.send_signal(number)
    assert STOPPING in until_stopping(process)
    gate.open()
    said = process.stderr.read().decode()
    assert process.wait(60) == 130
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    assert f"cerebras-demo: stopped by {name}. 4 rows are left: continue with --resume" in said
    assert "1 row answered, none failed; 1 request, " in said
    assert (len(ids(output)), len(server.requests)) == (1, 1)


def until_stopping(process):
    """Return the output of a command until it has received the signal."""
    said = ""
    while "stopping" not in said and (line := process.stderr.readline()):
        said += line.decode()
    return said


@posix
def test_a_second_signal_ends_it_at_once(start, server, source, output):
    """And what is there is whole."""
    gate = Gate()
    server.script(Reply(text="one"), gate)
    process = start("bulk", source, output, "-t", "{word}", "-c", "1", before=grace(600))
    assert gate.wait_reached(60)
    process.send_signal(signal.SIGINT)
    assert STOPPING in until_stopping(process)
    process.send_signal(signal.SIGINT)
    errors = process.stderr.read().decode()
    assert process.wait(60) == 130
    assert "Traceback" not in errors
    assert "stopped by Ctrl-C; 1 row in flight was given up. 4 rows are left: continue with --resume" in errors
    assert len(ids(output)) == 1
    assert server.wait_for_disconnect()


@posix
def test_what_does_not_finish_after_a_signal_is_left_in_seconds(start, server, source, output):
    """The bound is five; here it is half a second."""
    assert run_module.GRACE_SECONDS == 5
    gate = Gate()
    server.script(gate)
    process = start("bulk", source, output, "-t", "{word}", "-c", "1", before=grace(0.5))
    assert gate.wait_reached(60)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert output.read_bytes() == b""


def test_a_terminal_sees_a_bar(terminal, end, server, source, output):
    """Rows, rates, what is left; it goes away at the end."""
    gate = Gate()
    server.script(Reply(text="one"), gate)
    child = terminal("bulk", source, output, "-t", "{word}", "-c", "1", columns=200)
    child.expect(
        r"1 of 5 rows, 1 in flight, [\d.]+ rows/s, [\d,]+ tokens/s, [\d:]+ left, limit: [\d,]+ requests per day, [\d,]+ left"
    )
    gate.open()
    said, status = end(child)
    assert status == 0
    assert "5 rows answered, none failed" in said


@posix
def test_ctrl_c_in_a_terminal_leaves_no_stale_bar(terminal, end, server, source, output):
    """The bar shows the row under way from the beginning; ``^C`` is not written into it."""
    gate = Gate()
    server.script(gate)
    child = terminal("bulk", str(source), str(output), "-t", "{word}", "-c", "1", columns=200)
    child.expect_exact("0 of 5 rows, 1 in flight")
    assert gate.wait_reached(60)
    child.sendintr()
    child.expect_exact("stopping, press Ctrl-C again to end at once")
    before = child.before
    gate.open()
    said, status = end(child)
    assert status == 130
    assert "^C" not in before + said
    assert "stopped by Ctrl-C. 4 rows are left" in said


def test_help_loads_nothing_heavy(run):
    """As for all commands."""
    done = run("bulk", "--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert "--resume" in done.stdout
    assert "langchain_core" not in done.stderr


def test_a_wrong_model_or_schema_is_found_before_the_first_row(run, server, source, output):
    """The service is asked for its models only if the catalogue does not have the name; the remedy is that of the command line."""
    done = run("bulk", source, output, "-t", "Say {word}.", "-m", "gpt-os-120b")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no model 'gpt-os-120b'. Known ids near 'gpt-os-120b': gpt-oss-120b" in done.stderr
    assert [request.path for request in server.requests] == ["/v1/models"]
    done = run("bulk", source, output, "-t", "Say {word}.", "--schema", '{"type": "object", "properties": {"a": {}}}')
    assert (done.returncode, done.stdout) == (2, "")
    assert 'put "strict": false into it' in done.stderr
    done = run(
        "bulk", source, output, "--schema", '{"type": "string"}', "-o", 'response_format={"type": "json_object"}'
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "by -o and by --schema" in done.stderr
    assert len(server.requests) == 1
    assert not output.exists()


def test_rows_that_cannot_be_read_are_named_and_the_others_answered(run, tmp_path):
    """A line with too few cells; the last sentence says what to correct."""
    (tmp_path / "in.csv").write_text("word,place\nrain,Oslo\nsnow\n")
    done = run("bulk", tmp_path / "in.csv", tmp_path / "out.csv", "-t", "{word}")
    assert done.returncode == 3
    assert (
        "1 row could not be read (line 3: 1 cell, the header has 2): correct the input and use --resume" in done.stderr
    )


def test_a_prompt_without_a_column_is_noted(run, source, output):
    """All rows are then equal, which is seldom meant."""
    done = run("bulk", source, output, "-t", "Say it.")
    assert "no {column}: all rows get the same prompt (the columns are id, word)" in done.stderr
    assert "(4 of them share the answer of an equal row)" in done.stderr


def test_a_refused_key_gets_a_next_step(run, source, output):
    """As in the other commands, before the figures; nothing was answered, so there is no cost."""
    done = run("bulk", source, output, "-t", "Say {word}.", CEREBRAS_API_KEY="csk-wrong-0123456789")
    assert done.returncode == 1
    assert "AuthenticationError: 401: Wrong API Key. Copy the key again from https://cloud.cerebras.ai" in done.stderr
    assert done.stderr.startswith("cerebras-demo: stopped: AuthenticationError")
    assert "$" not in done.stderr
