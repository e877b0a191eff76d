"""What every test stands on: an environment without anybody's keys, and a loopback Cerebras."""

from __future__ import annotations

import importlib.util
import os
import signal
from contextlib import contextmanager, suppress
from pathlib import Path

import hypothesis
import pytest

from langchain_cerebras_demo import catalog, local
from langchain_cerebras_demo.client.limiter import process_limiter
from langchain_cerebras_demo.errors import LocalServerError
from langchain_cerebras_demo.local.weights import find_weights
from langchain_cerebras_demo.testing import LoopbackCerebras
from tests.support import brief
from tests.support.processes import forget_servers

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FOREIGN_VARIABLES = (
    "CEREBRAS_API_KEY",
    "CEREBRAS_BASE_URL",
    "CEREBRAS_DEMO_BROWSER",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "LC_OUTPUT_VERSION",
    "LANGSMITH_TRACING",
    "LANGCHAIN_TRACING_V2",
)

TESTS = Path(__file__).parent

# `pytest -m quick`: the pure half, the mapping and the client against the loopback, and what is marked quick by hand in "cli".
QUICK = (
    "chat_models",
    "client",
    "policy",
    "wire",
    "net/test_endpoint.py",
    "net/test_transport.py",
    "test_catalog.py",
    "test_errors.py",
    "test_records.py",
)
NOT_QUICK = (
    "client/test_pacing_service.py",
    "chat_models/test_agents.py",
    "chat_models/test_standard.py",
    "policy/test_pacing_simulation.py",
    "wire/test_fuzz.py",
    # Threads, slots and retries that take a second each.
    "test_copies_run_no_more_requests_at_once_than_the_model",
    "test_eight_threads_with_eight_loops_share_one_queue",
    "test_failures_before_the_first_event_are_tried_again",
    "test_a_waiter_notices_that_the_loop_before_it_has_stopped",
    # Many combinations, or many examples of hypothesis.
    "test_any_answer_is_a_status_error_with_words",
    "test_any_stream_gives_the_events_of_the_standard_however_it_is_cut",
    "test_any_wish_gives_seconds_that_can_be_waited_or_none",
    "test_every_decision_keeps_the_rules",
    "test_every_schema_is_made_fit_or_refused_for_a_reason",
    "test_merging_is_the_same_as_one_mapping",
    "test_streamed_and_whole_answers_agree_on_what_is_broken",
    "test_what_the_service_writes_and_the_check_lets_through_fits_the_schema",
    "test_a_schema_of_something_else_than_an_object_is_the_property_of_one",
    "test_a_long_stream_leaves_no_more_behind_than_its_text",
    "test_an_answer_fits_exactly_where_jsonschema_says_so",
    "test_any_json_is_read_or_refused_with_an_error_of_ours",
    "test_any_other_history_goes_out_so_too_or_is_refused_for_a_listed_reason",
    "test_dicts_are_held_to_their_schema",
    "test_every_valid_history_goes_out_whole_and_the_loopback_takes_it",
    "test_known_calls_come_out_of_every_form_of_stream",
    "test_the_answer_is_the_same_however_it_arrives",
    "test_the_short_way_for_plain_text_says_what_the_long_one_says",
)

MARKED_BY_HAND = ("cli",)

# Tests of one cluster, and of one recording.
TOGETHER = ("ray", "chat_models/test_standard.py")

# What takes longest comes first, so that no worker is left with it at the end.
FIRST = (
    "ray",
    "test_notebooks.py",
    "test_embedded.py",
    "test_readme.py",
    "test_docs.py",
    "test_soak.py",
    "test_package.py",
)

# The same examples on every machine and in every run; `HYPOTHESIS_PROFILE=random` looks for new ones, as `.ci/run --long` does.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("random", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_configure(config):
    catalog.saved_models = lambda: None  # whoever runs the tests may have refreshed theirs
    if config.getoption("--exact"):
        from langchain_cerebras_demo import ChatCerebrasDemo

        ChatCerebrasDemo.model_fields["coalesce"].default = False
        ChatCerebrasDemo.model_rebuild(force=True)
    # A shell ignores SIGINT for what it starts in the background, and children inherit that: tests of Ctrl-C would hang.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure():
    forget_servers()


def pytest_addoption(parser):
    parser.addoption("--live", action="store_true", help="ask the real service; needs CEREBRAS_API_KEY")
    parser.addoption("--exact", action="store_true", help="all models with coalesce=False where a test does not say")


def pytest_ignore_collect(collection_path, config):
    """Of `-m quick` and `-m upstream`, most of the time would go into collecting tests that are not run."""
    if not collection_path.name.startswith("test_"):
        return None
    path = collection_path.relative_to(TESTS).as_posix()
    if config.option.markexpr == "quick":
        return not any(_is_within(path, name) for name in (*QUICK, *MARKED_BY_HAND)) or None
    if config.option.markexpr == "upstream":
        return "mark.upstream" not in collection_path.read_text(encoding="utf-8") or None
    return None


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.get_closest_marker("live") and not config.getoption("--live"):
            item.add_marker(pytest.mark.skip(reason="asks the real service: run with --live and CEREBRAS_API_KEY"))
        if _is_below(item, QUICK) and not _is_below(item, NOT_QUICK) and not _is_slow(item):
            item.add_marker(pytest.mark.quick)
        if _is_below(item, TOGETHER):
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(TESTS).parts[0]))
    items.sort(key=lambda item: not _is_below(item, FIRST))


def _is_below(item, paths):
    path = item.path.relative_to(TESTS).as_posix()
    return any(_is_within(path, name) or name == item.originalname for name in paths)


def _is_within(path, name):
    return path == name or path.startswith(f"{name}/")


def _is_slow(item):
    return any(map(item.get_closest_marker, ("long", "live", "upstream"))) or "embedded" in item.fixturenames


@pytest.fixture(autouse=True)
def _clean_environment(request, monkeypatch):
    """No key, address or proxy of whoever runs the tests reaches them, nor a limit or a list of models that an earlier test has met."""
    if request.node.get_closest_marker("live"):
        return
    for name in FOREIGN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(catalog, "_in_force", None)  # a test may refresh it
    process_limiter().forget()  # it knows accounts by address and key, and the system gives ports out again


@pytest.fixture(scope="session", autouse=True)
def _weights_fetched_once(request, tmp_path_factory):
    """On a fresh machine one of several processes fetches the embedded model, and the others wait for it.

    Only where a test is run that asks it; without a network that test fails, and says why.
    """
    groups = {mark.args[0] for item in request.session.items for mark in item.iter_markers("xdist_group")}
    if groups & {"embedded", "notebooks"} and importlib.util.find_spec("xllamacpp"):
        common = tmp_path_factory.getbasetemp()
        common = common.parent if hasattr(request.config, "workerinput") else common  # that of all workers of a run
        with one_at_a_time(common / "weights.lock"), suppress(LocalServerError):
            find_weights()


@contextmanager
def one_at_a_time(path):
    """Among processes; on Windows they go side by side, which fetches twice and harms nothing."""
    with path.open("w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def brief_model(monkeypatch):
    """The embedded model answers in a few words, which is enough where it matters only that it answers."""
    monkeypatch.setattr(local, "to_local", brief.to_brief)


@pytest.fixture
def server():
    """A loopback Cerebras of this test's own."""
    with LoopbackCerebras() as running:
        yield running
