"""The output file: append-only, locked, repaired, never with an incomplete line."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import subprocess
import sys

import pytest

from langchain_cerebras_demo.bulk import BulkOutputError, BulkRecord, bulk
from langchain_cerebras_demo.bulk.output import Output
from tests.support.processes import environment, run_python

SETTINGS = {"model": {"model_name": "a"}, "template": None}
linux = pytest.mark.skipif(sys.platform != "linux", reason="wants Linux' own files")


@pytest.fixture
def open_output(output):
    """Opens the output, and closes it in the end."""
    opened = []

    def open_output(path=output, settings=SETTINGS, **options):
        opened.append(Output(path, settings, **options))
        return opened[-1]

    yield open_output
    for one in opened:
        one.close()


def fill(output, *ids):
    made = Output(output, SETTINGS, resume=True)
    for row_id in ids:
        made.write([BulkRecord(row_id, content=f"answer {row_id}")])
    made.close({"how": "finished"})


def test_good_records_go_to_the_output_and_others_to_the_failures(output, open_output, read):
    """At once, a line each."""
    made = open_output()
    made.write([BulkRecord("a", content="x")])
    assert list(read(output)) == ["a"]
    assert not made.failures_path.exists()
    made.write([BulkRecord("b", error={"type": "X", "message": "no"})])
    assert list(read(output)) == ["a"]
    assert list(read(made.failures_path)) == ["b"]


def test_a_resumed_output_knows_what_is_done_and_begins_its_failures_anew(output, open_output, read):
    """New lines are appended, and the old ones do not change."""
    fill(output, "a", "b")
    failures = output.with_name("out.jsonl.failures.jsonl")
    failures.write_text("old\n")
    before = output.read_bytes()
    made = open_output(resume=True)
    assert "a" in made.done
    assert "c" not in made.done
    assert not failures.exists()
    made.write([BulkRecord("c")])
    assert output.read_bytes().startswith(before)
    assert list(read(output)) == ["a", "b", "c"]


def test_resume_without_an_output_begins_one(open_output, output):
    """So that one command line serves for both."""
    assert "a" not in open_output(resume=True).done
    assert output.exists()


def test_an_output_that_is_there_is_not_touched_without_resume(output):
    """Not even by the journal."""
    fill(output, "a")
    with pytest.raises(BulkOutputError, match="already exists: pass resume=True"):
        Output(output, SETTINGS)
    output.with_name("out.jsonl.journal").unlink()
    with pytest.raises(BulkOutputError, match="already exists"):
        Output(output, SETTINGS)
    with pytest.raises(BulkOutputError, match="has no journal"):
        Output(output, SETTINGS, resume=True)
    assert sorted(path.name for path in output.parent.iterdir()) == ["out.jsonl"]


def test_other_settings_are_refused_by_name(output):
    """And the output stays as it is."""
    fill(output, "a")
    before = output.read_bytes()
    with pytest.raises(BulkOutputError, match=r'model\.model_name was "a" and is "b"'):
        Output(output, {**SETTINGS, "model": {"model_name": "b"}}, resume=True)
    assert output.read_bytes() == before


def test_a_journal_of_something_else_is_refused(output):
    """For example, the journal of a later version."""
    fill(output, "a")
    output.with_name("out.jsonl.journal").write_text('{"version": 99}\n')
    with pytest.raises(BulkOutputError, match="is not a journal that this version can read"):
        Output(output, SETTINGS, resume=True)


def test_an_output_whose_file_was_removed_begins_anew(output, open_output):
    """Under other settings too: there is nothing that they could contradict."""
    fill(output, "a")
    output.unlink()
    assert "a" not in open_output(settings={"model": "other"}, resume=True).done


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_line_is_cut_off(output, open_output, read, cut):
    """Wherever it is torn; its row is not done."""
    fill(output, "a", "b")
    whole = output.read_bytes()
    output.write_bytes(whole[:-cut])
    made = open_output(resume=True)
    assert list(read(output)) == ["a"]
    assert "b" not in made.done
    made.write([BulkRecord("b", content="answer b")])
    assert output.read_bytes() == whole


def test_damage_in_the_middle_is_taken_out(output, open_output, read):
    """As a power cut may leave it: zeros where a block was, whole lines behind it."""
    fill(output, "a", "b", "c")
    lines = output.read_bytes().splitlines(keepends=True)
    lines[1] = b"\0" * (len(lines[1]) - 1) + b"\n"
    output.write_bytes(b"".join(lines))
    made = open_output(resume=True)
    assert list(read(output)) == ["a", "c"]
    assert "b" not in made.done
    assert sorted(path.name for path in output.parent.iterdir()) == ["out.jsonl", "out.jsonl.journal"]


def test_two_runs_cannot_have_one_output(output, open_output):
    """In one process or in two; the first run continues undisturbed."""
    made = open_output()
    with pytest.raises(BulkOutputError, match="another run is writing"):
        Output(output, SETTINGS, resume=True)
    done = run_python(
        "import sys; from pathlib import Path; from langchain_cerebras_demo.bulk.output import Output;"
        "Output(Path(sys.argv[1]), {}, resume=True)",
        str(output),
        flags=(),
    )
    assert "another run is writing" in done.stderr
    made.write([BulkRecord("a")])


def test_a_killed_run_lets_go_of_its_output(output, open_output, read):
    """The system does, not the run; what it had written is there."""
    code = (
        "import sys, os; from pathlib import Path; from langchain_cerebras_demo.bulk import BulkRecord;"
        "from langchain_cerebras_demo.bulk.output import Output;"
        f"made = Output(Path(sys.argv[1]), {SETTINGS!r}); made.write([BulkRecord('a')]); print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(output)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        process.kill()
    made = open_output(resume=True)
    assert "a" in made.done
    assert list(read(output)) == ["a"]


def test_a_folder_that_is_missing_or_a_file_that_is_one_is_refused(tmp_path):
    """With the remedy."""
    with pytest.raises(BulkOutputError, match=r"the folder of the output, .*no', does not exist: create it first"):
        Output(tmp_path / "no" / "out.jsonl", SETTINGS)
    with pytest.raises(BulkOutputError, match="is a folder"):
        Output(tmp_path, SETTINGS)


@pytest.mark.skipif(os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may write anywhere")
def test_a_folder_that_is_not_writable_is_refused(tmp_path):
    """By name."""
    tmp_path.chmod(0o500)
    with pytest.raises(BulkOutputError, match="cannot be written: Permission denied"):
        Output(tmp_path / "out.jsonl", SETTINGS)


@linux
def test_a_folder_that_nobody_can_write_is_refused():
    """As root too: /proc takes no files."""
    from pathlib import Path

    with pytest.raises(BulkOutputError, match=r"out\.jsonl\.journal' cannot be written"):
        Output(Path("/proc/self/out.jsonl"), SETTINGS)


def test_the_input_is_never_the_output(output, tmp_path):
    """Under any of its names."""
    fill(output, "a")
    other = tmp_path / "link.jsonl"
    other.symlink_to(output)
    for source in (output, other):
        with pytest.raises(BulkOutputError, match="is the input"):
            Output(output, SETTINGS, resume=True, source=source)


@linux
def test_a_full_disk_is_said_and_leaves_no_torn_line(output):
    """A limit on the file's size simulates it: the system writes what fits, and refuses the rest."""
    code = f"""
        import resource, sys
        from pathlib import Path
        from langchain_cerebras_demo.bulk import BulkOutputError, BulkRecord
        from langchain_cerebras_demo.bulk.output import Output
        made = Output(Path(sys.argv[1]), {SETTINGS!r})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        for number in range(100):
            _, problem = made.write([BulkRecord(number, content="x" * 100)])
            if problem is not None:
                print(number, type(problem).__name__, problem)
                break
        made.close()
    """
    done = run_python(code, str(output))
    assert done.stderr == ""
    assert "the disk is full. Earlier answers are kept: free some space and resume" in done.stdout
    written = int(done.stdout.split()[0])
    assert written > 1
    assert output.read_bytes().count(b"\n") == written
    assert output.read_bytes().endswith(b"\n")


@linux
def test_a_full_disk_keeps_the_records_of_a_batch_that_fit(output, open_output):
    """Complete lines stay, and a resumed output knows them."""
    code = f"""
        import resource, sys
        from pathlib import Path
        from langchain_cerebras_demo.bulk import BulkOutputError, BulkRecord
        from langchain_cerebras_demo.bulk.output import Output
        made = Output(Path(sys.argv[1]), {SETTINGS!r})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        kept, problem = made.write([BulkRecord(number, content="x" * 100) for number in range(100)])
        print(len(kept), type(problem).__name__, problem)
        made.close()
    """
    done = run_python(code, str(output))
    assert done.stderr == ""
    assert "BulkOutputError" in done.stdout
    assert "the disk is full" in done.stdout
    written = output.read_bytes().count(b"\n")
    assert 1 < written < 10
    assert done.stdout.startswith(f"{written} ")
    assert output.read_bytes().endswith(b"\n")
    resumed = open_output(resume=True)
    assert [number in resumed.done for number in range(10)] == [number < written for number in range(10)]


class Unwritable:
    def __str__(self):
        raise RuntimeError("no text")


def test_a_record_that_cannot_be_written_costs_no_other_one(output, open_output, read):
    """All others are in the files, and are returned with the error."""
    made = open_output()
    bad = BulkRecord("bad", parsed=Unwritable())
    kept, problem = made.write(
        [BulkRecord("a"), bad, BulkRecord("b", error={"type": "X", "message": "no"}), BulkRecord("c")]
    )
    assert ([record.id for record in kept], str(problem)) == (["a", "c", "b"], "no text")
    assert list(read(output)) == ["a", "c"]
    assert list(read(made.failures_path)) == ["b"]


@linux
def test_a_device_without_room_is_a_full_disk(tmp_path, open_output):
    """The real errno."""
    (tmp_path / "out.jsonl").symlink_to("/dev/full")
    kept, problem = open_output(tmp_path / "out.jsonl").write([BulkRecord("a")])
    assert kept == []
    assert isinstance(problem, BulkOutputError)
    assert "the disk is full" in str(problem)


def test_what_is_written_while_another_thread_syncs_is_synced_at_the_end(output, open_output, monkeypatch):
    """The sync may have come before the last bytes."""
    made = open_output()
    steps = []
    write, sync = os.write, os.fsync

    def slow_write(file, data):
        made.sync()
        size = write(file, data)
        steps.append("written")
        return size

    monkeypatch.setattr(os, "fsync", lambda file: (steps.append("synced"), sync(file)))
    monkeypatch.setattr(os, "write", slow_write)
    made.write([BulkRecord("a")])
    made.sync()
    assert steps == ["written", "synced"]


async def test_a_disk_that_does_not_take_what_was_written_stops_the_run(server, model, output, monkeypatch):
    """A write may succeed and the disk be full when it is synced: the run says so and stops, soon."""
    monkeypatch.setattr("langchain_cerebras_demo.bulk.run.SYNC_SECONDS", 0.05)

    def full(_file):
        raise OSError(errno.ENOSPC, "No space left on device")

    rows = (f"row {number}" for number in itertools.count())
    run = bulk(model, rows, output=output, concurrency=2)
    task = asyncio.ensure_future(run.arun())
    assert await asyncio.to_thread(server.wait_for_requests, 1)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BulkOutputError, match="the disk is full"):
        await asyncio.wait_for(task, 10)
