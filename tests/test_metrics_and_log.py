"""Every decision is counted, and the access log says which rule made it."""

import pytest

from harness import plugin
from harness.events import new_user
from harness.plugin import limits_only
from harness.stack import running
from selection import COUNTS_WITHOUT_REQUESTS

ONE = {
    "name": "one.per-user",
    "key": "user",
    "max_tokens": 1,
    "tokens_per_fill": 1,
    "fill_interval": "3600s",
    "match": [{"path": {"prefix": "/one"}}],
}


@pytest.fixture(scope="module")
def stack():
    with running(plugin.standard(limits=[plugin.PER_USER, ONE])) as started:
        yield started


def change(stack, name: str, act) -> float:
    before = stack.edge.settled_metric(name)
    act()
    return stack.edge.settled_metric(name) - before


def test_allowed_and_denied_are_counted(stack, user):
    def requests():
        for _ in range(3):
            stack.edge.get("/one", user)

    before = {k: stack.edge.settled_metric(f"portcullis_{k}") for k in ("allowed", "denied_limit")}
    requests()
    stack.edge.wait_metric("portcullis_allowed", before["allowed"] + 1)
    stack.edge.wait_metric("portcullis_denied_limit", before["denied_limit"] + 2)


def test_denials_are_counted_by_limit(stack, user):
    def requests():
        for _ in range(3):
            stack.edge.get("/one", user)

    assert change(stack, "portcullis_limit_one_per_user_denied", requests) == 2


def test_denials_are_counted_by_reason(stack, user):
    stack.daemon.block(user, reason="cooling_off")

    def requests():
        assert stack.edge.get("/", user).status == 403

    assert change(stack, "portcullis_block_cooling_off_denied", requests) == 1
    assert change(stack, "portcullis_denied_block", requests) == 1


def test_zero_is_counted(stack, user):
    stack.daemon.zero(user, duration="60s")
    assert change(stack, "portcullis_denied_zero", lambda: stack.edge.get("/", user)) == 1


@COUNTS_WITHOUT_REQUESTS
def test_pushes_are_counted(stack, user):
    assert change(stack, "portcullis_push_changes", lambda: stack.daemon.block(user)) == 1
    assert change(stack, "portcullis_push_batches", lambda: stack.daemon.unblock(user)) >= 1
    assert stack.edge.metric("portcullis_push_snapshots") >= 1


def test_stat_prefix(user):
    with running(limits_only(ONE, stat_prefix="gate"), daemon=False) as stack:
        stack.edge.get("/one", user)
        stack.edge.wait_metric("gate_allowed", 1)


def test_access_log_says_which_rule_fired(stack, user):
    receipt = stack.daemon.block(user, reason="cooling_off", scope=["bet"])
    stack.edge.get("/", user)
    stack.edge.get("/bet", user)
    stack.edge.get("/one", user)
    stack.edge.get("/one", user)
    lines = stack.edge.access_log_of(user, requests=4)
    allowed, blocked, _, limited = [line["details"] for line in lines]
    assert allowed == "via_upstream"
    assert blocked == f"portcullis:rule=block:cooling_off;event={receipt['event_id']}"
    assert limited == "portcullis:rule=limit:one.per-user"
    assert not any(line["shadow"] for line in lines)
    assert [line["status"] for line in lines] == [200, 403, 200, 429]


def test_access_log_of_zero(stack, user):
    stack.daemon.zero(user, duration="60s")
    stack.edge.get("/", user)
    (line,) = stack.edge.access_log_of(user)
    assert line["details"].startswith("portcullis:rule=zero;event=")


def test_access_log_shows_what_shadow_mode_would_have_done(user):
    with running(limits_only({**ONE, "shadow": True}), daemon=False) as stack:
        assert [stack.edge.get("/one", user).status for _ in range(2)] == [200, 200]
        first, second = stack.edge.access_log_of(user, requests=2)
        assert not first["shadow"] and second["shadow"] == "shadow=limit:one.per-user"
        assert second["details"] == "via_upstream"


def test_a_client_cannot_write_the_access_log_field(stack):
    user = new_user()
    stack.edge.get("/", user, portcullis="rule=forged", x_portcullis="rule=forged")
    (line,) = stack.edge.access_log_of(user)
    assert not line["shadow"] and line["details"] == "via_upstream"


def test_daemon_metrics(stack, user):
    stack.daemon.block(user)
    names = {name.partition("{")[0] for name in stack.daemon.metrics()}
    assert names and all(name.startswith(("portcullis_", "process_", "tokio_")) for name in names), names


def test_status(stack, user):
    receipt = stack.daemon.block(user)
    status = stack.daemon.status()
    assert status["sequence"] == receipt["sequence"]
    assert status["epoch"] and status["uptime_s"] >= 0 and status["subjects"] >= 1
    assert [source["name"] for source in status["sources"]] == ["embedded"]
    (node,) = status["nodes"]
    assert node["node"] == "edge-1" and node["connected"] is True
    assert (node["applied"], node["lag"], node["refused"]) == (receipt["sequence"], 0, 0)
    assert sorted(node["route_groups"]) == ["bet", "deposit", "public", "withdraw"]


def test_health(stack):
    assert stack.daemon.get("/healthz").status == 200
    assert stack.daemon.get("/readyz").status == 200
    assert stack.daemon.get("/nothing").status == 404
