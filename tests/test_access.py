"""Who may use the invalidator's API, end to end; and the commands of docs/how-to/authenticate-callers.md."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness import artifacts, ports
from harness.client import Connection
from harness.daemon import Daemon, new_token, token_entry
from harness.events import event, new_user
from harness.proc import wait_until

DOCUMENT = (artifacts.REPOSITORY / "docs/how-to/authenticate-callers.md").read_text()
DENIED = 77


def blocks(language: str) -> list[str]:
    """The fenced blocks of the document."""
    return re.findall(rf"^```{language}(?: \w+)?\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)


def section(heading: str) -> str:
    """The first sh block below a heading."""
    below = DOCUMENT.split(f"# {heading}\n", 1)[1]
    return re.search(r"^```sh\n(.*?)^```", below, re.DOTALL | re.MULTILINE)[1]


def shell(script: str, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    """With our own `portcullis` first in the path."""
    path = f"{artifacts.daemon().parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=cwd,
        env={**os.environ, "PATH": path, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def daemon(tmp_path):
    """A daemon without Envoys: `start(**settings)`, as often as needed."""
    started = []

    def start(wait: bool = True, **settings) -> Daemon:
        one = Daemon(tmp_path, settings=settings, start=False)
        started.append(one)
        one.start(wait)
        return one

    yield start
    for one in started:
        one.close()


# --- roles --------------------------------------------------------------------------------------


def test_a_publisher_blocks_and_sees_no_users(stack, user):
    answer = stack.daemon.post(event("block", user), role="publisher")
    assert answer.status == 200 and answer.json()["enforced"] is True
    assert stack.edge.get("/", user).status == 403
    assert stack.daemon.get("/v1/status", role="publisher").status == 200
    refused = stack.daemon.get(f"/v1/users/{user}", role="publisher")
    assert refused.status == 403 and "operator or auditor" in refused.json()["rule"]


def test_an_auditor_sees_and_changes_nothing(stack, user):
    refused = stack.daemon.post(event("block", user), role="auditor")
    assert refused.status == 403
    assert refused.json()["type"] == "urn:portcullis:problem:forbidden"
    assert stack.edge.get("/", user).status == 200
    stack.daemon.block(user)
    seen = stack.daemon.get(f"/v1/users/{user}", role="auditor")
    assert seen.status == 200 and seen.json()["blocks"]
    assert stack.daemon.get("/metrics", role="auditor").status == 200


@pytest.mark.parametrize("authorization", [None, "", "Bearer x", "Basic b3A6cHc=", "token"])
def test_nobody_else_does_anything(stack, user, authorization):
    body = json.dumps(event("block", user)).encode()
    headers = {"content_type": "application/json", "authorization": authorization}
    with Connection(stack.daemon.port) as api:
        answer = api.request("POST", "/v1/invalidations", body, **headers)
    assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert stack.edge.get("/", user).status == 200


def test_the_command_line_says_which_role_is_needed(stack, user):
    def block(**env: str) -> subprocess.CompletedProcess:
        api = f"http://127.0.0.1:{stack.daemon.port}"
        return shell(f"portcullis block {user}", Path("/"), PORTCULLIS_API=api, **env)

    without = block()
    assert without.returncode == DENIED and "--token-file" in without.stderr
    auditor = block(PORTCULLIS_TOKEN=stack.daemon.tokens["auditor"])
    assert auditor.returncode == DENIED and "publisher or operator" in auditor.stderr
    assert block(PORTCULLIS_TOKEN=stack.daemon.tokens["publisher"]).returncode == 0
    assert stack.edge.get("/", user).status == 403


# --- tokens -------------------------------------------------------------------------------------


def test_a_token_of_the_command_line_is_let_in_until_its_end(daemon, tmp_path):
    new = "portcullis token new --name me --role operator --out me.token"
    made = shell(new, tmp_path)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "me.token").stat().st_mode & 0o777 == 0o600
    entry = dict(re.findall(r'^(\w+) = "(.*)"$', made.stdout, re.MULTILINE))
    old = new_token()
    expired = token_entry("old", "operator", old, not_after="2026-01-01T00:00:00Z")
    one = daemon(api={"tokens": [entry, expired]})
    env = {"PORTCULLIS_API": f"http://127.0.0.1:{one.port}"}
    shown = shell("portcullis status --token-file me.token", tmp_path, **env)
    assert shown.returncode == 0, shown.stderr
    late = shell("portcullis status", tmp_path, PORTCULLIS_TOKEN=old, **env)
    assert late.returncode == DENIED and "has expired" in late.stderr
    token = (tmp_path / "me.token").read_text().strip()
    told = one.process.log.read_text() + shown.stdout + late.stderr
    assert token not in told and old not in told and "sha256:" not in told


def test_the_documents_curl_line_keeps_the_token_out_of_its_arguments(daemon, tmp_path):
    one = daemon()
    (tmp_path / "ops.token").write_text(one.tokens["operator"])
    script = section("Tokens").replace("127.0.0.1:7700", f"127.0.0.1:{one.port}")
    done = shell(script, tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["epoch"], done.stderr
    assert (tmp_path / "auth").stat().st_mode & 0o777 == 0o600


def test_prometheus_scrapes_with_a_token_or_without_if_it_is_public(daemon):
    one = daemon()
    with Connection(one.port) as api:
        assert api.get("/metrics").status == 401
        assert api.get("/healthz").status == api.get("/readyz").status == 200
    samples = one.metrics()
    assert samples['portcullis_api_auth_failures_total{cause="missing"}'] == 1
    one.close()
    public = daemon(api={"metrics_public": True})
    with Connection(public.port) as api:
        assert api.get("/metrics").status == 200 and api.get("/v1/status").status == 401


def test_a_flood_of_reads_does_not_hold_up_the_same_callers_block(daemon):
    one = daemon()
    ended = threading.Event()
    statuses: set[int] = set()

    def read() -> None:
        with Connection(one.port) as api:
            while not ended.is_set():
                answer = api.get("/v1/status", authorization=one.bearer("publisher"))
                statuses.add(answer.status)

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    try:
        wait_until(lambda: statuses, "the flood")
        for _ in range(20):
            started = time.monotonic()
            # 202: there is no Envoy.
            assert one.post(event("block", new_user()), role="publisher").status == 202
            assert time.monotonic() - started < 2
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    assert statuses <= {200, 429}


# --- TLS ----------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path) -> Path:
    """What the document's commands make: ca, daemon, risk-engine, each `.pem` and `.key`."""
    done = shell(section("An authority of one's own, with openssl"), tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path


def tls(directory: Path, port: int, how: str) -> dict:
    files = {"cert_file": "daemon.pem", "key_file": "daemon.key", "client_ca_file": "ca.pem"}
    files = {field: str(directory / name) for field, name in files.items()}
    return {
        "listen": f"0.0.0.0:{port}",
        "tls": {**files, "client_certificates": how},
        "clients": [{"name": "risk-engine.example", "role": "publisher"}],
    }


def curl(directory: Path, port: int, *arguments: str, path: str = "/v1/status"):
    argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *arguments]
    url = f"https://127.0.0.1:{port}{path}"
    return subprocess.run(
        [*argv, url], cwd=directory, capture_output=True, text=True, timeout=30, check=False
    )


OWN = ["--cacert", "ca.pem", "--cert", "risk-engine.pem", "--key", "risk-engine.key"]


def test_the_documents_certificates_and_commands_work(daemon, authority):
    port = ports.free()
    daemon(wait=False, api=tls(authority, port, "required"))
    probe = lambda: curl(authority, port, *OWN, path="/healthz").stdout == "200"  # noqa: E731
    wait_until(probe, "the daemon to answer")
    commands = [block for block in blocks("sh") if "--ca-file ca.pem" in block]
    assert len(commands) == 1
    done = shell(commands[0].replace("7700", str(port)), authority)
    assert done.returncode == 0, done.stderr
    assert "daemon   up" in done.stdout and '"epoch"' in done.stdout
    assert curl(authority, port, *OWN, path="/v1/users/x").stdout == "403", "a publisher"
    assert curl(authority, port, "--cacert", "ca.pem", path="/healthz").stdout == "000"
    assert curl(authority, port, *OWN[2:]).returncode == 60, "not an authority that curl knows"
    with Connection(port) as api, pytest.raises(OSError):
        api.get("/healthz")


def test_certificates_of_another_authority_are_refused(daemon, authority, tmp_path_factory):
    others = tmp_path_factory.mktemp("others")
    assert shell(section("An authority of one's own, with openssl"), others).returncode == 0
    port = ports.free()
    one = daemon(wait=False, api=tls(authority, port, "optional"))
    probe = lambda: curl(authority, port, *OWN).stdout == "200"  # noqa: E731
    wait_until(probe, "the daemon to answer")
    strange = ["--cert", f"{others}/risk-engine.pem", "--key", f"{others}/risk-engine.key"]
    assert curl(authority, port, "--cacert", "ca.pem", *strange).stdout == "000"
    ca_only = ["--cacert", "ca.pem"]
    assert curl(authority, port, *ca_only).stdout == "401"
    bearer = f"Authorization: {one.bearer()}"
    assert curl(authority, port, *ca_only, "-H", bearer, path="/metrics").stdout == "200"


def test_certificates_are_rotated_without_a_restart(daemon, authority, tmp_path_factory):
    next_ = tmp_path_factory.mktemp("next")
    assert shell(section("An authority of one's own, with openssl"), next_).returncode == 0
    port = ports.free()
    one = daemon(wait=False, api=tls(authority, port, "required"))
    wait_until(lambda: curl(authority, port, *OWN).stdout == "200", "the daemon to answer")
    pid = one.process.pid
    for name in ("ca.pem", "daemon.pem", "daemon.key"):
        shutil.copy(next_ / name, authority / "draft")
        (authority / "draft").replace(authority / name)
    fresh = ["--cacert", "ca.pem", "--cert", f"{next_}/risk-engine.pem"]
    fresh += ["--key", f"{next_}/risk-engine.key"]
    wait_until(lambda: curl(authority, port, *fresh).stdout == "200", "the new certificates")
    assert curl(authority, port, *OWN).stdout == "000", "the old authority's are refused now"
    assert one.process.pid == pid and one.process.alive()
    assert "PRIVATE KEY" not in one.process.log.read_text()


def test_the_documents_configuration_is_valid(daemon, authority):
    one = Daemon(authority, start=False)
    (example,) = [block for block in blocks("toml") if "[api.tls]" in block]
    example = example.replace("/etc/portcullis/tls/api", f"{authority}/daemon")
    example = example.replace("/etc/portcullis/tls/clients-ca", f"{authority}/ca")
    text = one.config.read_text()
    # Its own [api] takes the place of ours.
    text = re.sub(r"^\[api\]\n(?:\w.*\n)*", "", text, flags=re.MULTILINE)
    one.config.write_text(example + text)
    checked = shell(f"portcullis run --check --config {one.config}", authority)
    assert checked.returncode == 0, checked.stderr
