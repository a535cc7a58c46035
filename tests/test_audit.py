"""The audit log of a daemon with a real Envoy: what was enforced where, and that nobody can tell."""

import json
import subprocess

from harness import artifacts
from harness.events import new_user
from harness.proc import wait_until
from harness.stack import running

SETTINGS = {"audit": {"key": "a-key-of-the-audit-log", "fsync": "always"}}


def lines(stack, kind: str) -> list[dict]:
    files = sorted((stack.daemon.store / "audit").glob("audit-*.jsonl"))
    every = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [line for line in every if line["kind"] == kind]


def verify(stack) -> subprocess.CompletedProcess:
    command = [artifacts.daemon(), "audit", "verify", "--config", str(stack.daemon.config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_what_envoy_enforces_is_noted_with_its_time_and_without_the_user():
    users = [new_user() for _ in range(20)]
    with running(daemon_settings=SETTINGS) as stack:
        for user in users:
            stack.daemon.block(user)
            assert stack.edge.get("/", user).status == 403
        pushes = lines(stack, "push")
        assert [push["result"] for push in pushes] == ["enforced"] * len(users)
        assert all(0 < push["ms"] < 2000 for push in pushes)
        events = {event["event_id"]: event["user"] for event in lines(stack, "event")}
        assert {push["event_id"]: push["user"] for push in pushes} == events
        assert len(set(events.values())) == len(users)
        (node,) = {(push["node"], push["boot_id"]) for push in pushes}
        states = [(line["node"], line["boot_id"], line["state"]) for line in lines(stack, "node")]
        assert states[0] == (*node, "started")
        assert states[-1] == (*node, "synchronized")
        stack.edge.process.kill()
        wait_until(lambda: lines(stack, "node")[-1]["state"] == "gone", "the loss to be noted")
        for file in (stack.daemon.store / "audit").iterdir():
            text = file.read_text()
            assert not any(user in text for user in users)
        checked = verify(stack)
        assert checked.returncode == 0, checked.stdout


def test_the_log_goes_on_over_restarts_and_a_line_taken_out_is_named():
    with running(daemon_settings=SETTINGS) as stack:
        for _ in range(3):
            stack.daemon.block(new_user())
            stack.daemon.process.kill()
            stack.daemon.start()
            stack.wait_synced()
        assert len(lines(stack, "start")) == 4
        checked = verify(stack)
        assert checked.returncode == 0, checked.stdout
        (file,) = (stack.daemon.store / "audit").glob("audit-*.jsonl")
        written = file.read_text().splitlines(keepends=True)
        file.write_text("".join(written[:4] + written[5:]))
        checked = verify(stack)
        assert checked.returncode == 1
        assert checked.stdout.startswith(f"{file.name}:5: seq 5: missing: "), checked.stdout
