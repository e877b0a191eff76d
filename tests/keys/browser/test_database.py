"""A cookie database is read without a trace: nothing beside it, no lock waited for, no copy left behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest

from langchain_cerebras_demo.keys.browser import database as module
from langchain_cerebras_demo.keys.browser.database import UnreadableError, create_private, private_folder, read
from tests.support.processes import STRICT, environment

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes, users and signals of POSIX")
PATIENCE = 20.0


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, of this test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def profile(tmp_path):
    """A browser's folder."""
    folder = tmp_path / "profile"
    folder.mkdir()
    return folder


def write(file, *values, mode="delete"):
    """A database with one table; the connection that is given back holds its log open."""
    connection = sqlite3.connect(file)
    connection.execute(f"PRAGMA journal_mode={mode}")
    connection.execute("CREATE TABLE things (name)")
    connection.executemany("INSERT INTO things VALUES (?)", [(value,) for value in values])
    connection.commit()
    return connection


def names(connection):
    return [name for (name,) in connection.execute("SELECT name FROM things")]


def listing(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes()) for path in folder.iterdir()}


def until(condition):
    """Looks until it holds: there is no event for a folder's end."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def test_what_stands_in_the_log_alone_is_read_while_its_writer_runs(profile):
    """Firefox holds its database open; the newest rows are not in the file itself."""
    file = profile / "cookies.sqlite"
    with closing(write(file, "old", "new", mode="wal")):
        assert b"new" not in file.read_bytes()
        assert read(file, names) == ["old", "new"]


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_lock_is_not_waited_for(profile, mode):
    """Whoever writes at this moment: what was there before is read at once."""
    file = profile / "cookies.sqlite"
    with closing(write(file, "kept", mode=mode)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute("INSERT INTO things VALUES ('not yet')")
        assert read(file, names) == ["kept"]
        writer.rollback()


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_reading_leaves_the_profile_as_it_was(profile, mode, is_open):
    """No file is changed, touched or made beside it."""
    file = profile / "cookies.sqlite"
    with closing(write(file, "kept", mode=mode)) as writer:
        if not is_open:
            writer.close()
        before = listing(profile)
        assert read(file, names) == ["kept"]
        assert listing(profile) == before


def test_a_reader_cannot_write_into_the_profile(profile):
    """A database without a log is opened where it stands, for reading alone."""
    file = profile / "Cookies"
    write(file, "kept").close()
    with pytest.raises(UnreadableError, match="readonly"):
        read(file, lambda connection: connection.execute("DELETE FROM things"))


@posix
def test_the_copy_lies_in_a_folder_for_this_user_alone_and_is_gone_afterwards(profile, temporary):
    """Mode 0600 in a folder of mode 0700, whatever the umask allows."""
    old = os.umask(0)
    try:
        with closing(write(profile / "cookies.sqlite", "kept", mode="wal")):
            modes = read(profile / "cookies.sqlite", lambda _: tree_modes(temporary))
    finally:
        os.umask(old)
    assert sorted(modes.values()) == [0o600, 0o600, 0o700]
    assert list(temporary.iterdir()) == []


def tree_modes(folder):
    return {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
        if not path.name.endswith("-shm")  # SQLite's own, of the mode of its database
    }


def test_the_copy_is_gone_after_an_exception(profile, temporary):
    """Whatever the reader raises goes through."""
    with closing(write(profile / "cookies.sqlite", "kept", mode="wal")), pytest.raises(ZeroDivisionError):
        read(profile / "cookies.sqlite", lambda _: 1 / 0)
    assert list(temporary.iterdir()) == []


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_the_copy_is_gone_when_its_process_is_killed(profile, temporary, number):
    """Also by a signal that nobody can catch, and one that goes to the whole process group."""
    code = """
        import sys
        from pathlib import Path
        from langchain_cerebras_demo.keys.browser.database import read

        def reader(connection):
            print("reading", flush=True)
            sys.stdin.read()

        read(Path(sys.argv[1]), reader)
    """
    lines = "\n".join(line[8:] for line in code.splitlines())
    with closing(write(profile / "cookies.sqlite", "kept", mode="wal")):
        child = subprocess.Popen(
            [sys.executable, *STRICT, "-c", lines, str(profile / "cookies.sqlite")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(TMPDIR=str(temporary)),
            start_new_session=True,
        )
        try:
            assert child.stdout.readline() == b"reading\n"
            (folder,) = temporary.glob("cerebras-demo-*")
            assert (folder / "cookies.sqlite").exists()
        finally:
            os.killpg(child.pid, number)
            child.communicate(timeout=PATIENCE)
        assert child.returncode != 0
        until(lambda: not folder.exists())


def test_without_a_shell_the_folder_is_still_gone_afterwards(temporary, monkeypatch):
    """The guard is a second line; the first is our own."""

    def fail(*_, **__):
        raise FileNotFoundError(2, "No such file", "/bin/sh")

    monkeypatch.setattr(module.subprocess, "Popen", fail)
    with private_folder() as folder:
        (folder / "x").touch()
    assert not folder.exists()


def test_on_windows_there_is_no_guard(temporary, monkeypatch):
    """It has no shell."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(module.subprocess, "Popen", None)
    with private_folder() as folder:
        assert folder.is_dir()
    assert not folder.exists()


def test_a_private_file_takes_nobodys_place(temporary):
    """Neither a file's nor a link's that somebody has put there."""
    (temporary / "link").symlink_to(temporary / "target")
    with pytest.raises(FileExistsError):
        create_private(temporary / "link")
    assert not (temporary / "target").exists()


def make_text(file):
    file.write_text("this is a text file " * 100, encoding="utf-8")


def make_text_with_a_log_mark(file):
    file.write_bytes(b"SQLite format 3\0" + b"\x10\x00\x02\x02" + b"rubbish" * 1000)


def make_cut(file):
    write(file, *("x" * 3000 for _ in range(50))).close()
    os.truncate(file, 9000)


RUBBISH = {
    "a text file": (make_text, "cannot be read as a database"),
    "a text file that looks like one with a log": (make_text_with_a_log_mark, "cannot be read as a database"),
    "an empty file": (Path.touch, "no such table"),
    "cut off": (make_cut, "malformed"),
    "a folder": (Path.mkdir, "is not a plain file"),
    "a link": (lambda file: file.symlink_to("/etc/hostname"), "is a link out of its profile"),
    "a dead link": (lambda file: file.symlink_to("nowhere"), "is a link out of its profile"),
    "a link in a circle": (lambda file: file.symlink_to(file.name), "is a link out of its profile"),
    "a pipe": (os.mkfifo if hasattr(os, "mkfifo") else None, "is not a plain file"),
    "nothing": (lambda file: None, "cannot be opened"),
}


@posix
@pytest.mark.parametrize("case", RUBBISH)
def test_what_is_no_database_is_refused_with_a_reason(profile, temporary, case, monkeypatch):
    """By the file's name; at once; and nothing is left behind."""
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0)
    make, words = RUBBISH[case]
    make(profile / "cookies.sqlite")
    with pytest.raises(UnreadableError, match=words) as caught:
        read(profile / "cookies.sqlite", names)
    assert str(caught.value).startswith("cookies.sqlite ")
    assert list(temporary.iterdir()) == []


@posix
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_log_that_is_no_plain_file_is_refused(profile, temporary, kind):
    """A link to something endless, or a pipe that nobody writes to, is not waited for."""
    file, log = profile / "cookies.sqlite", profile / "cookies.sqlite-wal"
    write(file, "kept", mode="wal").close()
    log.symlink_to("/dev/zero") if kind == "link" else os.mkfifo(log)
    with pytest.raises(UnreadableError, match=r"cookies\.sqlite-wal is"):
        read(file, names)
    assert list(temporary.iterdir()) == []


@posix
def test_a_log_that_vanishes_while_it_is_copied_is_no_failure(profile, temporary, monkeypatch):
    """Firefox folds its log into the database when it is closed, which may be at that very moment: the file is read again."""
    file = profile / "cookies.sqlite"
    writer = write(file, "kept", mode="wal")
    copy = module._copy

    def copy_while_firefox_closes(source, target):
        if source.name.endswith("-wal"):
            writer.close()
        copy(source, target)

    monkeypatch.setattr(module, "_copy", copy_while_firefox_closes)
    assert read(file, names) == ["kept"]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("which", ["cookies.sqlite", "cookies.sqlite-wal"])
def test_what_is_too_large_for_cookies_is_refused_unread(profile, temporary, which):
    """A file or a log without end costs neither time nor room: here one with a hole of a TiB."""
    write(profile / "cookies.sqlite", "kept", mode="wal").close()
    with (profile / which).open("ab") as file:
        file.truncate(2**40)
    with pytest.raises(UnreadableError, match=f"{which} is larger than 268,435,456 bytes"):
        read(profile / "cookies.sqlite", names)
    assert list(temporary.iterdir()) == []


def test_a_log_that_grows_while_it_is_copied_is_bounded(profile, temporary, monkeypatch):
    """Its size when it was opened says nothing of where it ends."""
    file, log = profile / "cookies.sqlite", profile / "cookies.sqlite-wal"
    write(file, "kept", mode="wal").close()
    log.write_bytes(b"x")
    monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    plain_read, given = os.read, []

    def endless(descriptor, size):
        if os.fstat(descriptor).st_ino != log.stat().st_ino:
            return plain_read(descriptor, size)
        given.append(size)
        return b"x" * size

    monkeypatch.setattr(os, "read", endless)
    with pytest.raises(UnreadableError, match=r"cookies.sqlite-wal is larger than 100,000 bytes"):
        read(file, names)
    assert sum(given) == 100_000
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("writes", [1, 3, 99])
def test_a_database_that_changes_while_it_is_copied_is_copied_again(profile, temporary, monkeypatch, writes):
    """File and log have to be of one moment; one that never rests is given up."""
    file = profile / "cookies.sqlite"
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0)
    plain_copy, copies = module._copy, []
    with closing(write(file, "0", mode="wal")) as writer:

        def copy_while_it_is_written(source, target):
            plain_copy(source, target)
            if source == file and len(copies) < writes:
                copies.append(source)
                writer.execute("INSERT INTO things VALUES (?)", [str(len(copies))])
                writer.commit()

        monkeypatch.setattr(module, "_copy", copy_while_it_is_written)
        if writes < 99:
            assert read(file, names) == [str(number) for number in range(writes + 1)]
        else:
            with pytest.raises(UnreadableError, match="kept changing while it was read"):
                read(file, names)
            assert len(copies) == module._ATTEMPTS
    assert list(temporary.iterdir()) == []


def test_a_read_in_the_middle_of_a_write_is_tried_again(profile, monkeypatch):
    """What looks malformed may be whole a moment later; any other fault is told at once."""
    write(profile / "Cookies", "kept").close()
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0)
    faults = [sqlite3.DatabaseError("database disk image is malformed"), None]

    def reader(connection):
        fault = faults.pop(0)
        if fault:
            raise fault
        return names(connection)

    assert read(profile / "Cookies", reader) == ["kept"]
    faults[:] = [sqlite3.DatabaseError("disk I/O error"), None]
    with pytest.raises(UnreadableError, match="disk I/O error"):
        read(profile / "Cookies", reader)


@posix
def test_another_users_file_is_refused(profile, monkeypatch):
    """As root one could read it: it is not ours to read all the same."""
    write(profile / "Cookies", "kept").close()
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(UnreadableError, match="Cookies belongs to another user"):
        read(profile / "Cookies", names)


def test_a_path_with_odd_letters_is_read(tmp_path):
    """What means something in an address of SQLite's is escaped."""
    folder = tmp_path / "a?b#c%20d é"
    folder.mkdir()
    write(folder / "Cookies", "kept").close()
    assert read(folder / "Cookies", names) == ["kept"]
