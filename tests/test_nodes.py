"""Several Envoys on one daemon: what one of them does, or does not, is no other one's trouble."""

from contextlib import contextmanager

from harness import plugin
from harness.envoy import Envoy, Options
from harness.events import event, new_user
from harness.proc import wait_until
from harness.stack import running

# What a publisher waits for a node that hangs, and well below.
ACK_TIMEOUT = "500ms"
UNDISTURBED_MS = 250


@contextmanager
def second_envoy(stack):
    directory = stack.edge.config.parent / "second"
    directory.mkdir()
    options = Options(
        plugin=plugin.standard(node="edge-2"),
        upstream_port=stack.upstream.port,
        poll_address=stack.daemon.poll_address,
    )
    envoy = Envoy(directory, options)
    try:
        wait_until(lambda: envoy.get("/", new_user()).status == 200, "the second Envoy")
        yield envoy
    finally:
        envoy.process.resume()
        envoy.close()


def node(stack, name: str) -> dict:
    (found,) = [node for node in stack.daemon.status()["nodes"] if node["node"] == name]
    return found


def test_an_envoy_that_hangs_delays_no_other_and_catches_up():
    settings = {"api": {"ack_timeout": ACK_TIMEOUT}}
    with running(daemon_settings=settings) as stack, second_envoy(stack) as second:
        early = new_user()
        stack.daemon.block(early)
        second.process.pause()
        blocked = [new_user() for _ in range(5)]
        for user in blocked:
            answer = stack.daemon.post(event("block", user))
            receipt = answer.json()
            assert answer.status == 202 and receipt["enforced"] is False, receipt
            assert receipt["pending"] == ["edge-2"], receipt
            (acknowledged,) = receipt["nodes"]
            assert acknowledged["node"] == "edge-1"
            assert acknowledged["ms"] < UNDISTURBED_MS, receipt
            assert stack.edge.get("/", user).status == 403

        # In the end it is not waited for any more, and publishers are warned.
        wait_until(lambda: not node(stack, "edge-2")["connected"], "the hanging node to be missed")
        receipt = stack.daemon.block(new_user())
        assert [one["node"] for one in receipt["nodes"]] == ["edge-1"]
        assert any("edge-2" in warning for warning in receipt["warnings"]), receipt

        let_through = []
        second.process.resume()
        sequence = stack.daemon.status()["sequence"]
        wait_until(lambda: node(stack, "edge-2")["applied"] >= sequence, "the node to catch up")
        # It has acknowledged them: from now on nothing passes, on any worker.
        for connection in second.every_worker():
            with connection:
                statuses = [connection.get("/", user).status for user in [early, *blocked]]
                let_through += [status for status in statuses if status != 403]
        assert let_through == []
        receipt = stack.daemon.block(new_user())
        assert sorted(one["node"] for one in receipt["nodes"]) == ["edge-1", "edge-2"]


def test_a_crowd_of_events_meanwhile_is_caught_up_with():
    """More than a batch, and more than the log: a snapshot. What is new does not wait for it."""
    users = [new_user() for _ in range(3000)]
    settings = {"api": {"ack_timeout": ACK_TIMEOUT}, "limits": {"log_entries_max": 1000}}
    with (
        running(daemon_settings=settings, redis=True) as stack,
        second_envoy(stack) as second,
    ):
        second.process.pause()
        for user in users:
            stack.redis.publish(event("block", user))
        wait_until(lambda: stack.daemon.status()["subjects"] == len(users), "all events", 30)
        wait_until(lambda: node(stack, "edge-1")["lag"] == 0, "the first node to follow", 30)
        second.process.resume()
        wait_until(lambda: node(stack, "edge-2")["lag"] == 0, "the second node to catch up", 30)
        with second.connect() as connection:
            assert {connection.get("/", user).status for user in users} == {403}
