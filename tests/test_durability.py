"""What was acknowledged once is enforced for good, whatever is killed and whoever is away."""

from harness import plugin
from harness.events import new_user
from harness.proc import wait_until
from harness.stack import running


def blocked(stack, user: str) -> bool:
    return stack.edge.get("/", user).status == 403


def test_a_block_outlives_daemon_and_envoy_while_redis_is_away():
    users = [new_user() for _ in range(50)]
    lifted = new_user()
    # The age of what is known goes on counting while the daemon is away.
    patient = plugin.standard(invalidator={**plugin.INVALIDATOR, "stale_after": "60s"})
    with running(patient, redis=True) as stack:
        wait_until(lambda: stack.daemon.get("/readyz").status == 200, "Redis to be connected")
        for user in [*users, lifted]:
            receipt = stack.daemon.block(user)
            assert receipt["durable"] is True
        stack.daemon.unblock(lifted)
        mark = stack.daemon.store / "state.mark"
        wait_until(lambda: int(mark.read_text().split()[-2]) > 0, "a note that Redis was well")
        stack.redis.process.kill()
        stack.daemon.process.kill()
        stack.edge.process.kill()

        stack.daemon.start()
        status = stack.daemon.status()
        # The unblock, and for ten minutes the block that it has lifted.
        assert status["store"]["events"] == len(users) + 2
        assert {s["name"]: s["state"] for s in status["sources"]}["redis"] != "connected"
        stack.edge.start()
        wait_until(lambda: blocked(stack, users[0]), "the blocks to be back", 15)
        assert all(blocked(stack, user) for user in users)
        assert stack.edge.get("/", lifted).status == 200
        assert stack.edge.get("/", new_user()).status == 200


def test_a_daemon_that_is_killed_again_and_again_forgets_nothing():
    with running() as stack:
        users = []
        for _ in range(5):
            users.append(new_user())
            stack.daemon.block(users[-1])
            stack.daemon.process.kill()
            stack.daemon.start()
            stack.wait_synced()
            for user in users:
                (node,) = stack.daemon.get(f"/v1/users/{user}").json()["nodes"]
                assert node["enforced"] is True
        assert all(blocked(stack, user) for user in users)
