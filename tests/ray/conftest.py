"""Fixtures of the Ray tests: one cluster a module, whose workers have a key in their environment and nowhere else."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from langchain_cerebras_demo.testing import LoopbackCerebras

KEY = "csk-sentinel-4d1f3b8ac2e7"
TOKEN = secrets.token_hex(32)  # one for all clusters: Ray remembers the first


class Cluster:
    """A Ray of this machine: its address, its files, its processes."""

    def __init__(self, folder):
        import ray

        self.folder = folder
        self.address = ray.get_runtime_context().gcs_address

    def actors(self):
        """The process ids of the actors that ask. Ray's own list of them wants the dashboard."""
        raylets = [pid for pid, line in _processes() if "raylet/raylet" in line and str(self.folder) in line]
        return [pid for pid, line in _processes() if line.startswith("ray::MapWorker") and _parent(pid) in raylets]

    def kill_actor(self):
        """One of them, as by an out-of-memory killer."""
        os.kill(self.actors()[0], signal.SIGKILL)


@pytest.fixture(scope="module")
def cluster():
    """Two logical CPUs; the key is in the environment of what Ray starts, as by `ray start` on a node that has it."""
    import ray

    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # pytest's own folders are too deep for Ray's sockets
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CEREBRAS_API_KEY", KEY)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_AUTH_MODE", raising=False)  # Ray sets it, to "token": the patch takes it back
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)  # else Ray writes one into the home folder
        patch.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        patch.setenv("RAY_enable_export_api_write_config", "EXPORT_DATASET_METADATA")  # what a dashboard would show
        patch.setattr(logging.getLogger("ray"), "propagate", False)  # pages of debug logs behind every failure
        try:
            _start(folder)
            yield Cluster(folder)
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def _start(folder, tries=3):
    """Start Ray, again if a busy machine did not manage it within Ray's own 30 seconds."""
    import ray

    for left in reversed(range(tries)):
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=str(folder))
        except Exception as error:
            if "timed out" not in str(error) or not left:
                raise
            ray.shutdown()
        else:
            return


@pytest.fixture
def serve():
    """Starts a loopback Cerebras that lets the workers' key in."""
    started = []

    def serve(**settings):
        started.append(LoopbackCerebras(key=KEY, **settings).start())
        return started[-1]

    yield serve
    for server in started:
        server.stop()


def wait_until(condition, seconds=60.0):
    """Looks again and again: what other processes do sends no event."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def _processes():
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            yield int(entry.name), line


def _parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.fixture
def until():
    """``wait_until``."""
    return wait_until
