"""The command line as a client of the daemon."""

import json

from harness import ports
from harness.events import event, new_user
from harness.proc import wait_until


def test_block_and_unblock(stack, user):
    done = stack.daemon.cli("block", user, "--reason", "fraud", "--scope", "bet,deposit")
    assert done.returncode == 0, done.stderr
    assert [stack.edge.get(path, user).status for path in ("/bet", "/withdraw")] == [403, 200]
    assert stack.daemon.cli("unblock", user, "--reason", "other").returncode == 3
    assert stack.edge.get("/bet", user).status == 403
    assert stack.daemon.cli("unblock", user).returncode == 0
    assert stack.edge.get("/bet", user).status == 200


def test_block_for_a_while(stack, user):
    assert stack.daemon.cli("block", user, "--for", "1s").returncode == 0
    assert stack.edge.get("/", user).status == 403
    wait_until(lambda: stack.edge.get("/", user).status == 200, "the block to expire", 4)


def test_zero_and_override(stack, user):
    assert stack.daemon.cli("zero", user, "--for", "1h").returncode == 0
    assert stack.edge.get("/", user).status == 429
    other = new_user()
    done = stack.daemon.cli("override", other, "--limit", "per-user", "--max-tokens", "1")
    assert done.returncode == 0, done.stderr
    assert [stack.edge.get("/", other).status for _ in range(2)] == [200, 429]


def test_session(stack, user):
    assert stack.daemon.cli("block", user, "--session").returncode == 0
    assert stack.edge.get("/", x_session_id=user).status == 403
    assert stack.edge.get("/", user).status == 200


def test_publish_from_standard_input_and_file(stack, user, tmp_path):
    other = new_user()
    lines = "\n".join(json.dumps(event("block", name)) for name in (user, other))
    done = stack.daemon.cli("publish", "-", stdin=lines)
    assert done.returncode == 0, done.stderr
    assert {stack.edge.get("/", name).status for name in (user, other)} == {403}
    file = tmp_path / "unblock.json"
    file.write_text(json.dumps(event("unblock", user)))
    assert stack.daemon.cli("publish", str(file)).returncode == 0
    assert stack.edge.get("/", user).status == 200


def test_refused_event_exits_1_and_the_others_are_published(stack, user):
    bad = {**event("block", new_user()), "schema_version": "9.0"}
    lines = "\n".join(json.dumps(each) for each in (bad, event("block", user)))
    done = stack.daemon.cli("publish", "-", stdin=lines)
    assert done.returncode == 1
    assert "schema_version" in done.stderr
    assert stack.edge.get("/", user).status == 403


def test_status(stack):
    done = stack.daemon.cli("status")
    assert done.returncode == 0 and "edge-1" in done.stdout
    as_json = stack.daemon.cli("status", "--json")
    assert json.loads(as_json.stdout)["nodes"][0]["node"] == "edge-1"


def test_wrong_usage_exits_64(stack):
    for wrong in [], ["ban", "u"], ["block"], ["block", "u", "--for", "soon"], ["publish", "/no"]:
        done = stack.daemon.cli(*wrong)
        assert done.returncode == 64, (wrong, done)
        assert done.stderr


def test_no_daemon_exits_69(stack):
    nowhere = f"http://127.0.0.1:{ports.free()}"
    done = stack.daemon.cli("status", "--api", nowhere)
    assert done.returncode == 69 and nowhere in done.stderr
