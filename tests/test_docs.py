"""The documents: links lead somewhere, code is code, and what is shown as a configuration is one.

A block says what it is behind its language, so that nothing is guessed:

    toml daemon       a whole configuration of the daemon: `portcullis run --check` accepts it
    toml fragment     a part of one: accepted beside what a daemon needs
    toml keys         a file of partners' keys: `portcullis keys list` reads it
    toml event-keys   a file of publishers' keys: a configuration that names it is accepted
    toml pseudonym-keys  a file of keys of pseudonyms: the same
    json              is parsed; `json lines`: each line by itself
    json plugin       a whole plugin configuration: Envoy with the filter accepts it
    json fragment     a part of one: accepted beside what a plugin needs
    json event        an event: a daemon takes it in
    sh, bash, console the shell can read it
    python, js, go    compiles
"""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import artifacts, certificates, plugin
from harness.daemon import laid_over, new_token
from harness.envoy import Options, bootstrap, validate
from harness.events import now_ms, timestamp
from harness.stack import Stack

ROOT = artifacts.REPOSITORY
DOCS = ROOT / "docs"
# What is not ours, or is made by programs.
ELSEWHERE = {".git", ".venv", "target", "node_modules"}
README_LINES_MAX = 150
KINDS = {
    "toml daemon", "toml fragment", "toml keys", "toml event-keys", "toml pseudonym-keys",
    "json", "json lines", "json plugin", "json fragment", "json event",
    "sh", "bash", "console", "python", "js", "go", "yaml", "http", "text", "lua",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    document: str
    line: int
    kind: str
    code: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def documents() -> list[Path]:
    tops = [one for one in ROOT.iterdir() if one.is_dir() and one.name not in ELSEWHERE]
    return sorted([*ROOT.glob("*.md"), *(file for top in tops for file in top.rglob("*.md"))])


def taken_apart(file: Path) -> tuple[str, list[Block]]:
    """The prose of a document, with as many lines, and its fenced blocks."""
    name = str(file.relative_to(ROOT))
    prose, blocks, fence = [], [], None
    for number, line in enumerate(file.read_text().splitlines(), 1):
        stripped = line.lstrip()
        if stripped.startswith("```"):
            if fence is None:
                fence = (number, stripped[3:].strip(), len(line) - len(stripped), [])
            else:
                started, kind, _, code = fence
                blocks.append(Block(name, started, kind, "".join(f"{one}\n" for one in code)))
                fence = None
            prose.append("")
        elif fence is not None:
            fence[3].append(line[fence[2] :])
            prose.append("")
        else:
            prose.append(line)
    assert fence is None, f"{name}: a block is not closed"
    return "\n".join(prose), blocks


ALL = {file: taken_apart(file) for file in documents()}
BLOCKS = [block for _, blocks in ALL.values() for block in blocks]


def of(*kinds: str) -> list:
    return [pytest.param(block, id=str(block)) for block in BLOCKS if block.kind in kinds]


def anchors(file: Path) -> set[str]:
    """The names of the headings, as GitHub and mdBook make them."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.*)$", ALL[file][0], re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
        if found[slug]:
            found[f"{slug}-{found[slug]}"] = 0
    return set(found)


def links(file: Path) -> Iterator[str]:
    prose = re.sub(r"`[^`\n]*`", "", ALL[file][0])
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not re.match(r"(https?|mailto):", target):
            yield target


@pytest.mark.parametrize("file", ALL, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file):
    wrong = []
    for target in links(file):
        path, _, anchor = target.partition("#")
        there = (file.parent / path).resolve() if path else file
        if not there.is_file():
            wrong.append(f"{target}: no such file")
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            wrong.append(f"{target}: no such heading")
    assert not wrong, wrong


# The folders of the repository, those that go away and come as well.
TOPS = {one.name for one in ROOT.iterdir() if one.is_dir()} - ELSEWHERE
TOPS |= {"crates", "filter", "invalidator"}


def named_files(file: Path) -> set[str]:
    """Files and folders of the repository that a document names as code."""
    code = re.findall(r"`([^`\n]+)`", ALL[file][0])
    words = {word for one in code for word in one.split() if word.partition("/")[0] in TOPS}
    return {word for word in words if "/" in word and not re.search(r"[*{<]", word)}


@pytest.mark.parametrize("file", ALL, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_that_are_named_are_there(file):
    # A changelog tells of files that were there; fuzzing makes its corpus.
    if file.name != "CHANGELOG.md":
        missing = {name for name in named_files(file) if not (ROOT / name).exists()}
        assert not missing - {"fuzz/corpus"}, missing


def test_links_out_of_the_documents_lead_to_copies_in_the_site():
    made = runpy.run_path(str(ROOT / "book/links.py"))["led_to_copies"]
    there = "[a](../../envoy/full.yaml) [b](../../README.md#x) [c](../reference/api.md#x) [d](#x)"
    assert made("how-to/one.md", there) == (
        "[a](../repository/envoy/full.yaml.txt) [b](../repository/README.txt)"
        " [c](../reference/api.md#x) [d](#x)"
    )


def test_every_page_stands_in_the_summary_once():
    listed = list(links(DOCS / "SUMMARY.md"))
    pages = {str(file.relative_to(DOCS)) for file in DOCS.rglob("*.md")} - {"SUMMARY.md"}
    assert sorted(listed) == sorted(pages)


def test_every_page_begins_with_its_one_title():
    for file in DOCS.rglob("*.md"):
        titles = re.findall(r"^# .*$", ALL[file][0], re.MULTILINE)
        is_titled = file.read_text().startswith("# ") and len(titles) == 1
        assert is_titled or file.name == "SUMMARY.md", file


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES_MAX


def test_every_block_says_what_it_is():
    unknown = [f"{block}: {block.kind!r}" for block in BLOCKS if block.kind not in KINDS]
    assert not unknown, unknown


# --- code ---------------------------------------------------------------------------------------


def read_by(argv: list[str], code: str) -> str:
    """What a program that only reads it complains of."""
    done = subprocess.run(argv, input=code, capture_output=True, text=True, timeout=30, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr or f"exit {done.returncode}"


def commands(console: str) -> str:
    """What is typed in a console block: lines after `$ `, with those that go on."""
    typed, goes_on = [], False
    for line in console.splitlines():
        if line.startswith("$ ") or goes_on:
            typed.append(line.removeprefix("$ "))
            # A quoted text may go on over several lines.
            goes_on = line.endswith("\\") or "\n".join(typed).count("'") % 2 == 1
    return "\n".join(typed) + "\n"


@pytest.mark.parametrize("block", of("sh", "bash", "console"))
def test_the_shell_can_read_it(block):
    code = commands(block.code) if block.kind == "console" else block.code
    assert code.strip() and not read_by(["bash", "-n"], code)


@pytest.mark.parametrize("block", of("python"))
def test_python_compiles_it(block):
    compile(block.code, str(block), "exec")


@pytest.mark.parametrize("block", of("js"))
def test_node_can_read_it(block, tmp_path):
    (tmp_path / "code.cjs").write_text(block.code)
    assert not read_by(["node", "--check", str(tmp_path / "code.cjs")], "")


@pytest.mark.skipif(not shutil.which("gofmt"), reason="Go is not installed")
@pytest.mark.parametrize("block", of("go"))
def test_gofmt_can_read_it(block):
    assert not read_by(["gofmt", "-l", "-e"], block.code)


@pytest.mark.parametrize("block", of("json", "json lines"))
def test_json_is_json(block):
    for text in block.code.splitlines() if block.kind == "json lines" else [block.code]:
        json.loads(text)


# --- the daemon's configuration -----------------------------------------------------------------


def needed() -> dict:
    """What a daemon cannot do without."""
    token = {"name": "ops", "role": "operator", "hash": "sha256:" + 64 * "0"}
    return {
        "poll": {"listen": "unix:/run/portcullis/poll.sock", "secret": new_token()},
        "store": {"directory": "/var/lib/portcullis"},
        "api": {"listen": "127.0.0.1:0", "tokens": [token]},
    }


def toml(value: object) -> str:
    """Of everything but the outermost table, on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    return json.dumps(value)


def written_to(file: Path, tables: dict) -> None:
    file.write_text("".join(f"{name} = {toml(table)}\n" for name, table in tables.items()))


def with_files(written: dict, directory: Path) -> dict:
    """The same, with its absolute paths below `directory`, where the files are that it names."""

    def placed(value: object) -> object:
        if isinstance(value, dict):
            return {name: placed(one) for name, one in value.items()}
        if isinstance(value, list):
            return [placed(one) for one in value]
        path = str(value).removeprefix("unix:")
        if not isinstance(value, str) or not path.startswith("/"):
            return value
        ours = directory / path[1:]
        ours.parent.mkdir(parents=True, exist_ok=True)
        if ours.suffix in {".toml", ".secret", ".password", ".key"} and not ours.exists():
            ours.touch(mode=0o600)
            ours.write_text("# none\n" if ours.suffix == ".toml" else new_token())
        return value.replace(path, str(ours))

    pem = [str(value) for value in re.findall(r'"(/[^"]*\.pem)"', json.dumps(written))]
    found = placed(written)
    if pem:
        names = [Path(path).name for path in pem]
        place = (directory / pem[0][1:]).parent
        certificates.write(place, names, key="api.key")
        (place / "api.key").chmod(0o600)
    return found


def checked(written: dict, directory: Path) -> str:
    """What `portcullis run --check` has against it."""
    file = directory / "checked.toml"
    written_to(file, with_files(written, directory))
    argv = [str(artifacts.daemon()), "run", "--check", "--config", str(file)]
    env = {**os.environ, "PORTCULLIS_REDIS_URL": "redis://127.0.0.1:6379"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=20, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.built
@pytest.mark.parametrize("block", of("toml daemon"))
def test_the_daemon_accepts_a_configuration(block, tmp_path):
    assert not checked(tomllib.loads(block.code), tmp_path)


@pytest.mark.built
@pytest.mark.parametrize("block", of("toml fragment"))
def test_the_daemon_accepts_a_part_of_a_configuration(block, tmp_path):
    written = tomllib.loads(block.code)
    base = needed()
    if "client_certificates" in block.code:
        base["api"].pop("tokens")
    if "[sources.redis]" not in block.code and "sources" in written:
        base["sources"] = {"redis": {"url": "redis://127.0.0.1:6379"}}
    assert not checked(laid_over(base, written), tmp_path)


@pytest.mark.built
@pytest.mark.parametrize("block", of("toml event-keys", "toml pseudonym-keys"))
def test_the_daemon_accepts_a_file_of_keys(block, tmp_path):
    file = tmp_path / "keys.toml"
    file.touch(mode=0o600)
    secret = tmp_path / "a.secret"
    secret.touch(mode=0o600)
    secret.write_text(new_token())
    file.write_text(re.sub(r'"/etc/portcullis/[^"]*"', f'"{secret}"', block.code))
    argv = [str(artifacts.daemon()), "run", "--check", "--config", str(tmp_path / "d.toml")]
    written = with_files(needed(), tmp_path)
    is_event_keys = block.kind == "toml event-keys"
    names = ("events", "keys_file") if is_event_keys else ("fleet", "pseudonym_key_file")
    named = {names[0]: {names[1]: str(file)}}
    written_to(tmp_path / "d.toml", laid_over(written, named))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.built
@pytest.mark.parametrize("block", of("toml keys"))
def test_the_command_line_reads_a_file_of_partners_keys(block, tmp_path):
    secret, file = tmp_path / "globex", tmp_path / "keys.toml"
    for one in secret, file:
        one.touch(mode=0o600)
    secret.write_text("another-secret-of-globex")
    file.write_text(block.code.replace("/run/secrets/globex", str(secret)))
    argv = [str(artifacts.daemon()), "keys", "list", "--file", str(file)]
    assert not read_by(argv, "")


# --- the plugin configuration, and events -------------------------------------------------------


@pytest.mark.built
@pytest.mark.parametrize("block", of("json plugin", "json fragment"))
def test_the_filter_accepts_a_plugin_configuration(block, tmp_path):
    written = json.loads(block.code)
    if block.kind == "json fragment":
        written = laid_over(plugin.standard(), written)
    options = Options(plugin=written, upstream_port=1, poll_address="127.0.0.1:2")
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(bootstrap(3, 4, tmp_path / "access.log", options)))
    done = validate(file)
    assert done.returncode == 0, done.stderr


@pytest.mark.built
@pytest.mark.parametrize("block", of("json event"))
def test_a_daemon_takes_an_event_in(block, stack: Stack):
    made = {**json.loads(block.code), "occurred_at": timestamp(now_ms())}
    answer = stack.daemon.post(made)
    assert answer.status in {200, 202}, answer.body
    stack.daemon.unblock(made["key"]["user_id"])


# --- what can be run ----------------------------------------------------------------------------


RUNS = {"sh": ["sh", "-eu"], "python": None, "js": ["node"], "go": ["go", "run"]}
WHOM = {"curl": "bob", "Python": "carol", "Node.js": "dave", "Go": "erin"}
# To compile Go takes half a minute.
LONG = {"Go"}


def with_heading(page: str, heading: str) -> Block:
    """The first block of code below a heading."""
    lines = (DOCS / page).read_text().splitlines()
    number = lines.index(heading)
    return next(one for one in BLOCKS if one.document == f"docs/{page}" and one.line > number)


@pytest.mark.built
@pytest.mark.parametrize("how", [pytest.param(how, marks=[pytest.mark.long] * (how in LONG)) for how in WHOM])
def test_the_examples_for_publishers_block_somebody(how, stack: Stack, tmp_path):
    block, user = with_heading("how-to/publish-events.md", f"## With {how}"), WHOM[how]
    argv = RUNS[block.kind] or [sys.executable]
    if not shutil.which(argv[0]):
        pytest.skip(f"{argv[0]} is not installed")
    (tmp_path / "risk-engine.token").write_text(stack.daemon.tokens["publisher"] + "\n")
    file = tmp_path / f"main.{block.kind}"
    file.write_text(block.code)
    env = {**os.environ, "PORTCULLIS_API": f"http://127.0.0.1:{stack.daemon.port}"}
    done = subprocess.run(
        [*argv, str(file)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=80, check=False
    )
    assert done.returncode == 0 and "enforced" in done.stdout, done.stdout + done.stderr
    assert stack.edge.get("/", user).status == 403
    stack.daemon.unblock(user)


@pytest.mark.built
def test_the_commands_for_publishers_are_carried_out(stack: Stack, tmp_path):
    code = with_heading("how-to/publish-events.md", "## With the command line").code
    (tmp_path / "risk-engine.token").write_text(stack.daemon.tokens["publisher"] + "\n")
    path = f"{artifacts.daemon().parent}:{os.environ['PATH']}"
    api = f"http://127.0.0.1:{stack.daemon.port}"
    env = {**os.environ, "PATH": path, "PORTCULLIS_API": api}
    argv = ["sh", "-eu", "-c", code]
    done = subprocess.run(
        argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0 and done.stdout.count("enforced on 1 node") == 4, done
    stack.daemon.override("alice", name="per-user", default=True)
