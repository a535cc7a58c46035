"""Fixtures shared by every test, and what the terminal shows at the end."""

import os

import pytest

from harness import events
from harness.proc import Process
from harness.stack import Stack, running

_summary = pytest.StashKey[list[str]]()


@pytest.fixture
def user() -> str:
    """A user id no other test uses: tests share a stack, not a user."""
    return events.new_user()


@pytest.fixture(scope="session")
def stack():
    """The standard stack: poller on Envoy's main thread, embedded source, two workers."""
    with running() as started:
        yield started


@pytest.fixture(scope="session")
def stack_without_singleton():
    """The same, but one of the workers has to poll (Istio and Envoy Gateway are like this)."""
    with running(singleton=False) as started:
        yield started


@pytest.fixture(scope="session", params=["singleton", "no_singleton"])
def any_stack(request) -> Stack:
    """Both ways of polling: what is enforced must not depend on who polls."""
    name = "stack" if request.param == "singleton" else "stack_without_singleton"
    return request.getfixturevalue(name)


@pytest.fixture
def summary(request):
    """Call it with a line to be shown when the run has ended."""
    lines = request.config.stash.setdefault(_summary, [])
    return lines.append


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(_summary, []):
        terminalreporter.write_line(line)


def pytest_collection_modifyitems(items):
    if os.environ.get("PORTCULLIS_LONG") != "1":
        skip = pytest.mark.skip(reason="takes minutes; PORTCULLIS_LONG=1 runs it")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)


def pytest_runtest_setup():
    Process.last_words.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the last log lines of every process that had to do with it."""
    report = yield
    if report.failed:
        logs = [(process.name, process.tail()) for process in Process.running]
        for name, tail in Process.last_words + logs:
            report.sections.append((f"last lines of {name}", tail))
    return report
