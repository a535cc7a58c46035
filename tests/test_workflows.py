"""The workflows can be read, call scripts that exist, and ask for no more rights than they need."""

import re
import stat
import subprocess

import pytest
import yaml

from harness import artifacts

WORKFLOWS = sorted((artifacts.REPOSITORY / ".github/workflows").glob("*.yml"))
SCRIPT = re.compile(r"(?<![\w./-])(?:scripts|\.ci)/[\w.-]+")
# Whose actions may run, each by its major version.
ACTION = re.compile(r"(actions/[\w-]+|EmbarkStudios/cargo-deny-action)@v\d+")


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request) -> dict:
    read = yaml.safe_load(request.param.read_text())
    # In YAML 1.1 the key `on` is the value "true".
    read["on"] = read.pop(True)
    return read


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_there_are_workflows():
    names = {path.stem for path in WORKFLOWS}
    assert {"test", "dependencies", "long", "release"} <= names


def test_every_script_that_is_called_is_there(workflow):
    for step in steps(workflow):
        for script in SCRIPT.findall(step.get("run", "")):
            path = artifacts.REPOSITORY / script
            assert path.is_file(), script
            assert path.stat().st_mode & stat.S_IXUSR, f"{script} cannot be run"


def test_only_known_actions_run_by_their_major_version(workflow):
    for step in steps(workflow):
        assert ("run" in step) != ("uses" in step), step
        assert ACTION.fullmatch(step.get("uses", "actions/none@v1")), step
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False, step


def test_only_what_publishes_may_write(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        allowed = {"contents": "write"} if name == "publish" else None
        assert job.get("permissions") == allowed, name
        assert job["timeout-minutes"] <= 180, name


def test_no_expression_of_somebody_else_gets_into_a_shell(workflow):
    """Titles, branches and messages are whatever their authors have written: scripts take them from the environment."""
    for step in steps(workflow):
        assert "${{" not in step.get("run", ""), step


def test_every_change_and_every_release_runs_all_tests():
    test, release = (
        (artifacts.REPOSITORY / ".github/workflows" / name).read_text()
        for name in ("test.yml", "release.yml")
    )
    assert "run: .ci/run\n" in test
    assert "run: scripts/test\n" in release


def test_templates_of_issues_can_be_read():
    for path in (artifacts.REPOSITORY / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if path.stem != "config":
            assert form["name"] and form["description"], path
            ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
            assert len(ids) == len(set(ids)), path


def package(tag: str) -> subprocess.CompletedProcess:
    command = [artifacts.REPOSITORY / "scripts/package", "--check", tag]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_release_has_the_version_of_the_workspace_and_of_the_changelog():
    cargo = (artifacts.REPOSITORY / "Cargo.toml").read_text()
    version = re.search(r'^version = "(.+)"$', cargo, re.MULTILINE)[1]
    assert package(f"v{version}").returncode == 0
    for wrong in (version, "v99.0.0", "v0.1.0", f"v{version}; true"):
        refused = package(wrong)
        assert refused.returncode != 0, wrong
        assert refused.stderr.startswith("portcullis: "), wrong
