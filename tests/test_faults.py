"""What happens when a part dies, hangs or lies: no block is lost, nobody gets a free pass."""

import time

import pytest

from harness import artifacts, plugin, ports
from harness.asking import asking
from harness.client import Connection
from harness.daemon import SECRET
from harness.envoy import Envoy, Options
from harness.events import event, new_user
from harness.proc import wait_until
from harness.stack import running
from harness.store import forget_everything
from selection import COUNTS_WITHOUT_REQUESTS, WASM_TRAPS, WORKER_POLLS

TRAPPED = "proxy_on_http_call_response failed"

either_poller = pytest.mark.parametrize(
    "singleton", [True, pytest.param(False, marks=WORKER_POLLS)], ids=["singleton", "worker"]
)


def stale_soon(**changes) -> dict:
    return plugin.standard(
        invalidator={**plugin.INVALIDATOR, "stale_after": "3s"},
        limits=[{**plugin.PER_USER, "max_tokens": 100_000}],
        **changes,
    )


def until_status(stack, user: str, status: int, path: str = "/", timeout_s: float = 15) -> None:
    def reached() -> bool:
        return stack.edge.get(path, user).status == status

    wait_until(reached, f"{status} for {path}", timeout_s)


@either_poller
def test_envoy_killed(singleton, user):
    with running(stale_soon(), singleton=singleton) as stack:
        stack.daemon.block(user)
        with asking(stack.edge.port, user) as seen:
            stack.edge.process.kill()
            stack.edge.start()
            until_status(stack, user, 403)
            wait_until(lambda: seen[403] > 0, "whoever asks all the while to be rejected")
        assert seen[200] == 0, seen
        # The dead process counts as connected for a moment after its last poll, and then is not
        # waited for any more: only the living one has to acknowledge.
        stack.wait_synced()
        receipt = stack.daemon.block(new_user())
        assert len(receipt["nodes"]) == 1


@either_poller
def test_envoy_restarted_with_thousands_of_blocks(singleton):
    users = [new_user() for _ in range(3000)]
    with running(redis=True, singleton=singleton) as stack:
        for user in users:
            stack.redis.publish(event("block", user))
        wait_until(lambda: stack.daemon.status()["subjects"] == len(users), "all events")
        stack.wait_synced()
        stack.edge.process.kill()
        stack.edge.start()
        stack.wait_synced()
        with stack.edge.connect() as connection:
            assert {connection.get("/", user).status for user in users} == {403}
            assert connection.get("/", new_user()).status == 200


@either_poller
def test_daemon_killed(singleton, user):
    with running(stale_soon(), singleton=singleton) as stack:
        stack.daemon.block(user)
        with asking(stack.edge.port, user) as seen:
            stack.daemon.process.kill()
            stack.daemon.start()
            stack.wait_synced()
            another = new_user()
            stack.daemon.block(another)
            assert stack.edge.get("/", another).status == 403
            assert stack.edge.get("/", user).status == 403
        assert set(seen) == {403}, seen
        stack.daemon.unblock(user)
        assert stack.edge.get("/", user).status == 200


def test_daemon_terminated_in_good_order(user):
    with running() as stack:
        stack.daemon.block(user)
        start = time.monotonic()
        assert stack.daemon.process.stop() == 0
        assert time.monotonic() - start < 3
        assert stack.edge.get("/", user).status == 403
        assert not stack.daemon.poll_socket.exists()


def test_daemon_starts_over_the_socket_a_dead_one_left(user):
    with running() as stack:
        stack.daemon.process.kill()
        assert stack.daemon.poll_socket.exists()
        stack.daemon.start()
        assert stack.daemon.poll_socket.stat().st_mode & 0o777 == 0o600
        stack.wait_synced()


def test_redis_killed(user):
    with running(stale_soon(), redis=True) as stack:
        stack.redis.publish(event("block", user))
        until_status(stack, user, 403)
        with asking(stack.edge.port, user) as seen:
            stack.redis.kill()
            wait_until(lambda: stack.daemon.get("/readyz").status == 503, "the loss to be noticed")
            assert stack.daemon.get("/healthz").status == 200
            # Nobody can say what has been published meanwhile.
            until_status(stack, new_user(), 503)
            stack.redis.start()
            wait_until(lambda: stack.daemon.get("/readyz").status == 200, "the reconnection")
            until_status(stack, new_user(), 200)
            another = new_user()
            assert stack.redis.publish(event("block", another)) == 1
            until_status(stack, another, 403)
        assert set(seen) <= {403, 503}, seen


def test_redis_hanging_is_noticed_within_three_seconds():
    with running(redis=True) as stack:
        assert stack.daemon.get("/readyz").status == 200
        stack.redis.process.pause()
        start = time.monotonic()
        wait_until(lambda: stack.daemon.get("/readyz").status == 503, "the silence to be noticed")
        assert time.monotonic() - start < 3.5
        stack.redis.process.resume()
        wait_until(lambda: stack.daemon.get("/readyz").status == 200, "the reconnection")


def test_redis_absent_at_the_start_is_not_synced():
    with running(redis=True) as stack:
        stack.daemon.process.kill()
        stack.edge.process.kill()
        stack.redis.kill()
        # Nothing is known from before: this is a daemon that never heard Redis.
        forget_everything(stack.daemon)
        stack.daemon.start()
        stack.edge.start()
        wait_until(stack.node, "the first poll")
        assert stack.edge.get("/", new_user()).status == 503
        stack.redis.start()
        until_status(stack, new_user(), 200)


@either_poller
def test_stale_deny(singleton, user):
    with running(stale_soon(), singleton=singleton) as stack:
        stack.daemon.block(user)
        stack.daemon.process.pause()
        until_status(stack, new_user(), 503)
        rejected = stack.edge.get("/", new_user())
        assert rejected.problem == "temporary-reduced-capacity"
        assert stack.edge.get("/", user).status == 503
        assert stack.edge.settled_metric("portcullis_denied_stale") >= 1
        stack.daemon.process.resume()
        until_status(stack, new_user(), 200)
        assert stack.edge.get("/", user).status == 403


def test_stale_allow(user):
    policy = {**plugin.FAIL_POLICY, "stale": "allow"}
    with running(stale_soon(fail_policy=policy)) as stack:
        stack.daemon.block(user)
        bystander = new_user()
        with asking(stack.edge.port, bystander) as seen:
            stack.daemon.process.kill()
            wait_until(lambda: stack.edge.metric("portcullis_failed_open_stale"), "staleness to be counted")
            assert stack.edge.get("/", user).status == 403, "what is known stays enforced"
        assert set(seen) == {200}, seen


def test_stale_by_route_group(user):
    stale = {"default": "deny", "route_groups": {"public": "allow"}}
    policy = {**plugin.FAIL_POLICY, "stale": stale}
    with running(stale_soon(fail_policy=policy)) as stack:
        stack.daemon.process.kill()
        until_status(stack, user, 503)
        assert stack.edge.get("/public/odds", user).status == 200
        assert stack.edge.get("/bet", user).status == 503


def test_never_synced_allow_and_by_route_group(user):
    by_group = {"default": "allow", "route_groups": {"bet": "deny"}}
    policy = {**plugin.FAIL_POLICY, "never_synced": by_group}
    with running(plugin.standard(fail_policy=policy)) as stack:
        stack.daemon.process.kill()
        stack.edge.process.kill()
        stack.edge.start()
        assert stack.edge.get("/", user).status == 200
        assert stack.edge.get("/bet", user).status == 503
        stack.edge.wait_metric("portcullis_failed_open_never_synced", 1)
        stack.edge.wait_metric("portcullis_denied_never_synced", 1)


def test_event_while_no_envoy_is_there(user):
    with running() as stack:
        stack.edge.process.kill()
        answer = stack.daemon.post(event("block", user))
        assert answer.status == 202, answer.body
        assert answer.json()["enforced"] is False
        stack.edge.start()
        stack.wait_synced()
        assert stack.edge.get("/", user).status == 403


def test_event_that_is_not_acknowledged_in_time(user):
    with running(daemon_settings={"api": {"ack_timeout": "300ms"}}) as stack:
        stack.edge.process.pause()
        answer = stack.daemon.post(event("block", user))
        stack.edge.process.resume()
        assert answer.status == 202, answer.body
        assert (answer.json()["enforced"], answer.json()["pending"]) == (False, ["edge-1"])
        until_status(stack, user, 403)


@COUNTS_WITHOUT_REQUESTS
def test_filter_with_the_wrong_secret_never_syncs(user):
    invalidator = {**plugin.INVALIDATOR, "secret": "another-secret-of-decent-length"}
    with running(plugin.standard(invalidator=invalidator), wait=False) as stack:
        wait_until(lambda: stack.edge.metric("portcullis_push_failed") >= 2, "polls to fail")
        assert stack.daemon.status()["nodes"] == []
        assert stack.edge.get("/", user).status == 503


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer ", "Bearer another-secret-of-decent-length", SECRET, f"Bearer {SECRET}x"],
)
def test_poll_with_a_wrong_secret_gets_nothing(stack, user, authorization):
    stack.daemon.block(user)
    with Connection(str(stack.daemon.poll_socket)) as connection:
        answer = connection.request(
            "POST",
            "/v1/poll",
            b"\x08\x01\x12\x01n\x1a\x01b",  # protocol 1, node "n", boot id "b"
            content_type="application/x-protobuf",
            authorization=authorization,
        )
    assert answer.status == 401
    assert user not in answer.body.decode(errors="replace")
    assert [node["node"] for node in stack.daemon.status()["nodes"]] == ["edge-1"]


def test_poll_socket_serves_nothing_else(stack):
    with Connection(str(stack.daemon.poll_socket)) as connection:
        assert connection.get("/v1/status").status == 404
        assert connection.request("POST", "/v1/invalidations", b"{}").status == 404
    with Connection(stack.daemon.port) as api:
        assert api.request("POST", "/v1/poll", authorization=f"Bearer {SECRET}").status == 401
        operator = stack.daemon.bearer()
        assert api.request("POST", "/v1/poll", authorization=operator).status == 404


def test_poll_over_tcp(user):
    settings = {"poll": {"listen": f"127.0.0.1:{ports.free()}"}}
    with running(daemon_settings=settings) as stack:
        stack.daemon.block(user)
        assert stack.edge.get("/", user).status == 403


def seen_until_403(stack, user: str) -> set[int]:
    seen = set()

    def is_blocked() -> bool:
        seen.add(stack.edge.get("/", user).status)
        return 403 in seen

    wait_until(is_blocked, f"{user} to be blocked")
    return seen


@WASM_TRAPS
@either_poller
def test_polling_vm_trapped(singleton, user, summary):
    """The test-only module panics once, in the VM that applies a block of this reason."""
    with running(stale_soon(), singleton=singleton, module=artifacts.trap_wasm()) as stack:
        stack.daemon.block(user)
        with asking(stack.edge.port, user) as blocked, asking(stack.edge.port, new_user()) as bystander:
            trapping = new_user()
            receipt = stack.daemon.block(trapping, reason="test-trap")
            assert TRAPPED in stack.edge.process.log.read_text(), "nothing has trapped"
            summary(f"polling VM trapped ({singleton=}) -> enforced: {receipt['elapsed_ms']:.0f} ms")
            assert receipt["elapsed_ms"] <= 1000, "another VM must take over within a second"
            later = new_user()
            stack.daemon.block(later)
            assert seen_until_403(stack, trapping) | seen_until_403(stack, later) <= {403, 503}
        # A worker's VM that trapped answers with 503 before it is loaded again.
        assert set(blocked) <= {403, 503} and blocked[403] > 0, blocked
        assert set(bystander) <= {200, 503} and bystander[503] < bystander[200], bystander


def test_two_envoys_on_one_daemon(user):
    """Both must acknowledge before the publisher is told that the block is enforced."""
    with running() as stack:
        directory = stack.edge.config.parent / "second"
        directory.mkdir()
        second = Envoy(
            directory,
            Options(
                plugin=plugin.standard(node="edge-2"),
                upstream_port=stack.upstream.port,
                poll_address=stack.daemon.poll_address,
            ),
        )
        try:
            wait_until(lambda: second.get("/", new_user()).status == 200, "the second Envoy")
            receipt = stack.daemon.block(user)
            assert {stack.edge.get("/", user).status, second.get("/", user).status} == {403}
            assert sorted(node["node"] for node in receipt["nodes"]) == ["edge-1", "edge-2"]
        finally:
            second.close()
