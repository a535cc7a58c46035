"""Envoy's hot restart: the new process is told everything by the daemon, the old one enforces until it ends."""

from harness import plugin
from harness.asking import asking
from harness.events import new_user
from harness.proc import wait_until
from harness.stack import running


def test_a_hot_restart_lets_no_blocked_user_pass(user):
    gate = plugin.standard(limits=[{**plugin.PER_USER, "max_tokens": 100_000}])
    with running(gate, hot_restart=True) as stack:
        stack.daemon.block(user)
        bystander = new_user()
        with asking(stack.edge.port, user) as blocked, asking(stack.edge.port, bystander) as other:
            old = stack.edge.take_over()
            later = new_user()
            stack.daemon.block(later)
            wait_until(lambda: stack.edge.get("/", later).status == 403, "the new process to know")
            wait_until(lambda: not old.alive(), "the old process to end", 30)
            stack.wait_synced()
            assert stack.edge.get("/", user).status == 403
            assert stack.edge.get("/", bystander).status == 200
        assert set(blocked) <= {403, 503, 0} and blocked[403] > 0, blocked
        assert set(other) <= {200, 503, 0} and other[200] > 0, other
