"""Fixtures shared by every test, the choice of the gate's host, and what the terminal shows at the end.

pytest tests                        the default host, wasm
pytest tests --host native          the other one; `both` runs each test on each
pytest tests --host native --core   what `scripts/test` runs on the host that is not the default
"""

import os

import pytest

import selection
from harness import artifacts, events, hosts
from harness.proc import Process
from harness.stack import Stack, running

_summary = pytest.StashKey[list[str]]()
BOTH = "both"


def pytest_addoption(parser):
    parser.addoption("--host", choices=[*hosts.ALL, BOTH], default=hosts.DEFAULT, help="of the gate")
    parser.addoption("--core", action="store_true", help="only what tests/selection.py lists")


def pytest_generate_tests(metafunc):
    """Each test once for each host that was chosen, which its name tells if they are both."""
    option = metafunc.config.getoption("host")
    names = list(hosts.ALL) if option == BOTH else [option]
    ids = names if option == BOTH else [pytest.HIDDEN_PARAM]
    metafunc.parametrize("host", names, ids=ids, indirect=True, scope="session")


@pytest.fixture(scope="session", autouse=True)
def host(request):
    """The host of every gate that does not say which. What lives longer than a test has to ask for it."""
    with hosts.chosen_as(request.param) as chosen:
        yield chosen


@pytest.fixture
def user() -> str:
    """A user id no other test uses: tests share a stack, not a user."""
    return events.new_user()


@pytest.fixture(scope="session")
def stack(host):
    """The standard stack: poller on Envoy's main thread, embedded source, two workers."""
    with running() as started:
        yield started


@pytest.fixture(scope="session")
def stack_without_singleton(host):
    """The same, but one of the workers has to poll (Istio and Envoy Gateway are like this)."""
    with running(singleton=False) as started:
        yield started


@pytest.fixture(
    scope="session", params=["singleton", pytest.param("no_singleton", marks=selection.WORKER_POLLS)]
)
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


def pytest_collection_modifyitems(config, items):
    _keep_core(config, items)
    _skip_of_other_hosts(items)
    _skip_of_newer_envoys(items)
    if os.environ.get("PORTCULLIS_LONG") != "1":
        skip = pytest.mark.skip(reason="takes minutes; PORTCULLIS_LONG=1 runs it")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)


def _keep_core(config, items):
    if not config.getoption("core"):
        return
    kept = [item for item in items if item.path.name in selection.CORE]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _skip_of_other_hosts(items):
    """What one host alone can do, said with its reason."""
    for item in items:
        for marker in item.iter_markers("one_host"):
            (only,) = marker.args
            if item.callspec.params["host"] != only:
                reason = marker.kwargs["reason"]
                item.add_marker(pytest.mark.skip(reason=f"of the host {only} alone: {reason}"))


def _skip_of_newer_envoys(items):
    """What a host can do only in a newer Envoy than the one under test, said with its reason."""
    for item in items:
        for marker in item.iter_markers("needs_envoy"):
            host, since = marker.args
            if item.callspec.params["host"] == host and artifacts.envoy_version() < since:
                words = ".".join(map(str, since))
                item.add_marker(
                    pytest.mark.skip(reason=f"on {host} from Envoy {words} on: {marker.kwargs['reason']}")
                )


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
