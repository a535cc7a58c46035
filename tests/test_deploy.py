"""What stands in deploy/ to be copied: the daemon's configuration works as it is beside the smallest
configuration of Envoy, and systemd finds nothing wrong with the unit."""

import configparser
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import artifacts, examples, ports
from harness.client import Connection
from harness.events import new_user
from harness.proc import Process, wait_until
from harness.upstream import Upstream

CONFIGURATION = artifacts.REPOSITORY / "deploy/portcullis.toml"
UNIT = artifacts.REPOSITORY / "deploy/systemd/portcullis.service"
ENVOY = "minimal.yaml"
INSTALLED = "/usr/local/bin/portcullis"


def portcullis(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    argv = [str(artifacts.daemon()), *arguments]
    env = {**os.environ, **env}
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=20, check=False)


def placed(text: str, places: dict[str, object]) -> str:
    """A file to be copied, with places and ports of ours."""
    for place, ours in places.items():
        assert place in text, place
        text = text.replace(place, str(ours))
    return text


@pytest.fixture
def configuration(tmp_path) -> tuple[Path, int]:
    """As it stands in the repository, but for its directories and its port."""
    for name in "run", "portcullis", "portcullis-witness":
        (tmp_path / name).mkdir(mode=0o700)
    port = ports.free()
    places = {"/run/portcullis": tmp_path / "run", "/var/lib/": f"{tmp_path}/", ":7700": f":{port}"}
    file = tmp_path / "portcullis.toml"
    file.write_text(placed(CONFIGURATION.read_text(), places))
    return file, port


def test_the_configuration_is_valid_as_copied(configuration, tmp_path):
    file, _ = configuration
    checked = portcullis("run", "--check", "--config", str(file), cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    # Whoever copies it can log in to nothing before they have made a token.
    assert [entry["role"] for entry in tomllib.loads(file.read_text())["api"]["tokens"]] == ["auditor"]


@dataclass
class Installed:
    edge: int
    api: str


@pytest.fixture
def installed(host, configuration, tmp_path) -> Iterator[Installed]:
    """The four steps of README.md: daemon, token, Envoy; a test does the last."""
    file, api = configuration
    token = ["token", "new", "--name", "ops", "--role", "operator", "--out", "ops.token"]
    made = portcullis(*token, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    text = file.read_text()
    nobody = re.search(r"^\[\[api\.tokens\]\]\n(?:\w+ = .*\n)+", text, re.MULTILINE)[0]
    file.write_text(text.replace(nobody, made.stdout))
    port, admin, upstream = ports.free(), ports.free(), Upstream()
    places = {
        "/run/portcullis": tmp_path / "run",
        "port_value: 9901": f"port_value: {admin}",
        "port_value: 8080": f"port_value: {upstream.port}",
        "port_value: 10000": f"port_value: {port}",
    }
    text = examples.path(ENVOY, host).read_text()
    (tmp_path / "envoy.yaml").write_text(examples.moved(placed(text, places), host))
    run = [str(artifacts.daemon()), "run", "--config", str(file)]
    daemon = Process("daemon", run, tmp_path)
    argv = [str(artifacts.envoy()), "-c", str(tmp_path / "envoy.yaml"), "--concurrency", "1"]
    envoy = Process("envoy", [*argv, "-l", "warning", "--disable-hot-restart"], tmp_path)

    def serves() -> bool:
        daemon.ensure_alive()
        envoy.ensure_alive()
        with Connection(port) as edge:
            return edge.get("/", "nobody").status == 200

    try:
        wait_until(serves, "Envoy to be told everything", 30)
        yield Installed(port, f"http://127.0.0.1:{api}")
    finally:
        envoy.stop(timeout_s=3)
        daemon.stop(timeout_s=5)
        upstream.close()


def test_the_four_steps_end_in_a_block(installed, tmp_path):
    user = new_user()
    env = {"PORTCULLIS_TOKEN_FILE": "ops.token", "PORTCULLIS_API": installed.api}
    with Connection(installed.edge) as edge:
        assert edge.get("/", user).status == 200
        blocked = portcullis("block", user, "--reason", "fraud", cwd=tmp_path, **env)
        assert blocked.returncode == 0 and blocked.stdout.startswith("enforced on 1 node")
        assert edge.get("/", user).status == 403
    shown = portcullis("status", cwd=tmp_path, **env)
    assert re.search(r"^edge-1 +\w+ +connected ", shown.stdout, re.MULTILINE), shown.stdout


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(UNIT.read_text())
    return parser


def test_the_unit_gives_the_configuration_its_directories_and_takes_rights_away():
    service = unit()["Service"]
    for key, value in {
        "RuntimeDirectory": "portcullis",
        "StateDirectory": "portcullis portcullis-witness",
        "StateDirectoryMode": "0700",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "MemoryDenyWriteExecute": "yes",
        "CapabilityBoundingSet": "",
        "Restart": "on-failure",
        "RestartPreventExitStatus": "64 65",
    }.items():
        assert service[key] == value, key
    written = tomllib.loads(CONFIGURATION.read_text())
    assert written["poll"]["listen"].startswith("unix:/run/portcullis/")
    assert written["store"]["directory"].startswith("/var/lib/portcullis/")
    assert written["store"]["witness"].startswith("/var/lib/portcullis-witness/")
    assert service["ExecStart"] == f"{INSTALLED} run --config /etc/portcullis/portcullis.toml"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    ours = tmp_path / UNIT.name
    ours.write_text(UNIT.read_text().replace(INSTALLED, str(artifacts.daemon())))
    argv = ["systemd-analyze", "verify", str(ours)]
    verified = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    about_it = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert verified.returncode == 0 and not about_it, verified.stderr
