"""The reference in docs/ names what there is, all of it and nothing else: commands, keys of the daemon's
configuration, kinds of refusals, rules of the gate. Metrics are in test_metrics.py, the keys of the
plugin configuration in crates/gate/tests/reference.rs, the API's routes in the daemon's own tests."""

import re
import subprocess
from pathlib import Path

import pytest

from harness import artifacts
from harness.stack import Stack

REFERENCE = artifacts.REPOSITORY / "docs/reference"
# Tables of the daemon's configuration in which there are further ones.
LISTS = {"api.tokens", "api.clients", "sources.redis.inboxes"}
# Tables that are one value to whoever writes them, and described where they are explained.
VALUES = {"api.tokens[].rate", "api.tokens[].allow", "api.clients[].rate", "api.clients[].allow"}
VALUES |= {"sources.redis.inboxes[].allow"}


def first_column(page: str, heading: str | None = None) -> list[str]:
    """The code in the first column of the tables of a page, or of one chapter of it."""
    text = (REFERENCE / page).read_text()
    if heading:
        text = re.split(r"\n## ", text.split(f"\n## {heading}\n")[1])[0]
    found = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    assert len(found) == len(set(found)) > 0, page
    return found


def portcullis(*arguments: str) -> subprocess.CompletedProcess:
    argv = [str(artifacts.daemon()), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


# --- the command line ---------------------------------------------------------------------------


def commands(*above: str) -> set[str]:
    """Every command below these words that has no further ones."""
    text = portcullis(*above, "--help").stdout
    if "\nCommands:\n" not in text:
        return {" ".join(["portcullis", *above])}
    listed = text.split("\nCommands:\n")[1].split("\n\n")[0]
    names = set(re.findall(r"^  (\w+) ", listed, re.MULTILINE)) - {"help"}
    return set().union(*(commands(*above, name) for name in names))


def test_every_command_is_documented():
    assert set(first_column("command-line.md", "Commands")) == commands()


def test_the_exit_codes_are_those_that_the_help_names():
    documented = set(re.findall(r"^\| (\d+) \|", (REFERENCE / "command-line.md").read_text(), re.MULTILINE))
    said = portcullis("--help").stdout + portcullis("block", "--help").stdout
    exits = said.split("Exit codes:", 1)[1]
    # 65 is what only `run` ends with.
    assert documented == set(re.findall(r"(?:^|\s)(\d{1,2})(?= )", exits)) | {"65"}


@pytest.mark.parametrize("option", ["api", "token-file", "ca-file", "cert-file", "key-file"])
def test_the_variables_of_the_client_are_documented(option):
    text = (REFERENCE / "command-line.md").read_text()
    [variable] = re.findall(rf"^\| `--{option} \w+` \| `(\w+)` \|", text, re.MULTILINE)
    help_text = portcullis("status", "--help").stdout
    [said] = re.findall(rf"^ +--{option} .*\[env: (\w+)=", help_text, re.MULTILINE)
    assert variable == said


# --- the daemon's configuration -----------------------------------------------------------------


def known_below(table: str, directory: Path) -> set[str]:
    """What the daemon says that it expects when it meets a key that it does not know."""
    heading = f"[[{table}]]\n" if table in LISTS else f"[{table}]\n" if table else ""
    file = directory / "one.toml"
    file.write_text(f"{heading}no_such_key = 1\n")
    said = portcullis("run", "--check", "--config", str(file)).stderr
    known = said.partition("unknown field `no_such_key`, expected ")[2]
    return set(re.findall(r"`(\w+)`", known))


def keys_below(table: str, directory: Path) -> set[str]:
    """The full names of all keys that are no tables."""
    found: set[str] = set()
    for name in known_below(table, directory):
        prefix = f"{table}[]" if table in LISTS else table
        full = f"{prefix}.{name}" if table else name
        is_table = full not in VALUES and known_below(full, directory)
        found |= keys_below(full, directory) if is_table else {full}
    return found


def test_every_key_of_the_daemons_configuration_is_documented(tmp_path):
    documented = set(first_column("daemon-configuration.md"))
    signals = {name for name in documented if name.startswith("SIG")}
    assert keys_below("", tmp_path) == documented - signals


# --- refusals and rules -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def samples(stack: Stack) -> list[str]:
    return list(stack.daemon.metrics())


@pytest.mark.parametrize("metric", ["events_refused", "dead_letters"])
def test_every_kind_of_refusal_is_documented(samples, metric):
    kinds = [re.fullmatch(rf'portcullis_{metric}_total{{kind="(\w+)"}}', name) for name in samples]
    there = {kind[1] for kind in kinds if kind}
    assert there == set(first_column("events.md", "Refusals"))


def test_the_causes_that_have_a_class_of_dead_letters_are_kinds_of_refusals():
    text = (REFERENCE / "dead-letters.md").read_text()
    table = text.split("\n## Causes\n")[1].split("\n## ")[0]
    classes = first_column("dead-letters.md", "Causes")
    named = set(re.findall(r"`(\w+)`", table)) - set(classes) - {"required_fields", "off"}
    assert named <= set(first_column("events.md", "Refusals")), named
    assert classes == ["garbage", "doubtful", "passing", "proven"]
