"""The load test: each part keeps its promises, fails where they are broken, and leaves nothing."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from harness import artifacts, hosts, ports
from harness.proc import wait_until
from load import own

SCRIPTS = ["limits", "signatures", "invalidation", "mixed"]
LOAD = artifacts.REPOSITORY / "scripts/load"
SETTINGS = artifacts.REPOSITORY / "tests/k6/lib/settings.js"
GUIDE = artifacts.REPOSITORY / "docs/how-to/load-test.md"

# How long things take is not what is tested here, on a machine that has other things to do.
PATIENT = ["--seconds", "2", "--rate", "40", "--slack", "10000"]

# What each script cannot but notice where there is no gate.
BROKEN_WITHOUT_GATE = {
    "limits": ["no user gets more than burst + rate x time", "429 comes with Retry-After"],
    "signatures": [
        "an altered, unsigned or outdated request gets 401",
        "a request that was used before gets 409",
        "of copies at once exactly one passes",
    ],
    "invalidation": ["a blocked user gets 403 at the very next request"],
}


def load(*arguments: str, cwd: Path | str = "/", **env: str) -> subprocess.CompletedProcess:
    ours = {name: value for name, value in os.environ.items() if name != "PORTCULLIS_URL"}
    # With an Envoy of somebody else's, its host is theirs.
    of_ours = [] if "PORTCULLIS_URL" in env else ["--host", hosts.chosen().name]
    argv = [str(LOAD), *of_ours, *arguments]
    return subprocess.run(
        argv,
        env={**ours, **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )


@pytest.fixture(scope="module")
def operators():
    """The environment of somebody who has an Envoy with the gate already."""
    with own.stack(redis=False) as env:
        yield env


def port_of(output: str) -> int:
    return int(re.search(r" against http://127\.0\.0\.1:(\d+)", output)[1])


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_promise_is_kept(script, tmp_path):
    report = tmp_path / "load.md"
    ran = load(script, *PATIENT, "--report", str(report))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    text = report.read_text()
    assert text.startswith(f"# Load test: {script}\n\nPassed.\n")
    rules = re.findall(r"^  ok      (.*?): ", ran.stdout, re.MULTILINE)
    assert len(rules) >= 5 and all(f"| {rule} |" in text for rule in rules), ran.stdout
    assert "FAILED" not in ran.stdout
    with pytest.raises(OSError):
        ports.connect(port_of(ran.stdout))


def test_with_redis():
    ran = load("invalidation", "--redis", *PATIENT)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_an_operators_own_envoy(operators):
    ran = load("mixed", *PATIENT, **operators)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert operators["PORTCULLIS_URL"] in ran.stdout
    ports.connect(port_of(ran.stdout))  # it is not ours to stop


def test_files_are_meant_from_where_it_is_started(operators, tmp_path):
    (tmp_path / "ops.token").write_bytes(Path(operators["PORTCULLIS_TOKEN_FILE"]).read_bytes())
    here = {**operators, "PORTCULLIS_TOKEN_FILE": "ops.token"}
    ran = load("invalidation", *PATIENT, "--report", "load.md", cwd=tmp_path, **here)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "load.md").exists()


@pytest.mark.parametrize("script", BROKEN_WITHOUT_GATE)
def test_without_the_gate_it_fails(script, operators, tmp_path):
    report = tmp_path / "load.md"
    without = {**operators, "PORTCULLIS_URL": operators["PORTCULLIS_BASELINE_URL"]}
    ran = load(script, *PATIENT, "--report", str(report), **without)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "**Failed.**" in report.read_text()
    for rule in BROKEN_WITHOUT_GATE[script]:
        assert f"FAILED  {rule}: " in ran.stdout, ran.stdout


@pytest.mark.parametrize("script", ["limits", "invalidation"])
def test_latencies_have_bounds(script, operators):
    strict = ["--seconds", "1", "--slack", "0.000001"]
    ran = load(script, *strict, **operators)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    failed = re.findall(r"FAILED  (.*?): ", ran.stdout)
    assert failed in (["what the gate adds to a request"], ["from publishing to enforced"])


def test_nobody_there_is_a_failure(operators):
    nowhere = {**operators, "PORTCULLIS_URL": f"http://127.0.0.1:{ports.free()}"}
    ran = load("signatures", "--seconds", "1", **nowhere)
    assert ran.returncode == 1, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    "missing", ["PORTCULLIS_LIMIT_BURST", "PORTCULLIS_KEY_SECRET_FILE", "PORTCULLIS_API"]
)
def test_what_is_missing_is_named(missing, operators):
    ran = load("mixed", *PATIENT, **{**operators, missing: ""})
    assert ran.returncode not in (0, 1)
    assert f"{missing} is not set" in ran.stderr


@pytest.mark.parametrize(
    "wrong", [["fast"], ["--seconds", "0"], ["--rate", "nan"], ["--report", "/nowhere/x"]]
)
def test_wrong_options_are_refused(wrong):
    ran = load(*wrong)
    assert ran.returncode == 2 and "usage: scripts/load" in ran.stderr


def test_whoever_stops_it_stops_everything():
    running = subprocess.Popen([str(LOAD), "limits"], stdout=subprocess.PIPE, text=True)
    try:
        port = port_of(running.stdout.readline())
        ports.connect(port)
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) == 143
    wait_until(lambda: ports.is_free(port), "Envoy to be gone")


def test_the_guide_has_every_variable():
    pattern = r"\bPORTCULLIS_[A-Z_]+"
    read = set(re.findall(pattern, SETTINGS.read_text()))
    described = set(re.findall(pattern, GUIDE.read_text()))
    # Those that options of scripts/load stand for.
    by_options = {name for name in read | described if name.startswith("PORTCULLIS_LOAD_")}
    assert read - by_options == described - by_options
