"""Daemon and filter are compared all the time: a difference is repaired, counted, and told."""

from harness import hosts
from harness.events import new_user
from harness.proc import wait_until
from harness.stack import running
from selection import COUNTS_WITHOUT_REQUESTS

FASTER = {"poll": {"hold": "100ms", "scrub": 4000}}


def test_what_a_node_has_lost_is_repaired_and_counted():
    """The test-only module empties all slabs, once, when it applies a block of this reason."""
    users = [new_user() for _ in range(200)]
    with running(daemon_settings=FASTER, module=hosts.chosen().trap()) as stack:
        for user in users:
            stack.daemon.block(user)
        stack.daemon.block(reason="test-forget", user=new_user())
        wait_until(lambda: stack.node()["repaired"] > 0, "the loss to be noticed")
        with stack.edge.connect() as connection:
            wait_until(
                lambda: {connection.get("/", user).status for user in users} == {403},
                "everything to be repaired",
            )
        wait_until(lambda: stack.node()["repaired"] == len(users), "everything to be counted")
        assert stack.daemon.metrics()['portcullis_repaired_total{where="node"}'] == len(users)
        stack.edge.wait_metric("portcullis_push_repaired", len(users))
        assert "lacked states" in stack.daemon.process.log.read_text()


@COUNTS_WITHOUT_REQUESTS
def test_a_healthy_node_is_checked_and_never_repaired():
    users = [new_user() for _ in range(300)]
    with running(daemon_settings=FASTER) as stack:
        for user in users:
            stack.daemon.block(user)
        for user in users[::2]:
            stack.daemon.unblock(user)
        rounds = 3 * len(users)
        wait_until(lambda: stack.edge.metric("portcullis_push_checked") > rounds, "some rounds")
        assert stack.daemon.metrics()['portcullis_repaired_total{where="node"}'] == 0
        stack.edge.wait_metric("portcullis_push_repaired", 0)
