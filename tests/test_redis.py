"""Redis from end to end: what docs/how-to/publish-over-redis.md tells publishers to do, and losing everything there."""

import os
import subprocess
import sys

import pytest

from harness import artifacts
from harness.events import event, new_user
from harness.proc import wait_until
from harness.stack import running
from harness.store import forget_everything

DOCUMENT = artifacts.REPOSITORY / "docs/how-to/publish-over-redis.md"


@pytest.fixture(scope="module")
def stack():
    with running(redis=True) as started:
        yield started


def example(section: str, language: str) -> str:
    """The code of a section of the document."""
    chapter = DOCUMENT.read_text().split(f"\n### {section}\n")[1]
    return chapter.split(f"```{language}\n")[1].split("```")[0]


def run(stack, argv: list[str]) -> str:
    environment = {**os.environ, "REDIS_URL": stack.redis.url}
    done = subprocess.run(
        argv,
        cwd=artifacts.REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def kept(stack, user: str) -> int:
    return stack.redis.client.hlen(f"{{portcullis}}:state:user:{user}")


def assert_blocked(stack, user: str) -> None:
    wait_until(lambda: stack.edge.get("/", user).status == 403, "the block", 3)


def test_python_example(stack):
    assert run(stack, [sys.executable, "-c", example("Python (redis-py)", "python")]) == "written\n"
    assert_blocked(stack, "alice")
    assert kept(stack, "alice") == 1


def test_redis_cli_example(stack):
    output = run(stack, ["bash", "-euc", example("redis-cli", "sh")])
    assert output.splitlines()[-1] == "written"
    assert_blocked(stack, "bob")
    assert kept(stack, "bob") == 1


def test_bare_publish_example(stack):
    assert run(stack, ["bash", "-euc", example("A bare PUBLISH", "sh")]) == "1\n"
    assert_blocked(stack, "dave")
    wait_until(lambda: kept(stack, "dave") == 1, "the daemon to write it", 3)


def test_nothing_in_redis_stands_in_the_open_beyond_its_keys(stack, user):
    stack.daemon.block(user)
    assert kept(stack, user) == 1
    names = {key.decode().split(":")[0] for key in stack.redis.client.keys("*")}
    assert names == {"{portcullis}"}


def test_losing_everything_in_redis_lets_nobody_through(user):
    with running(redis=True) as stack:
        stack.daemon.block(user)
        stack.redis.client.flushall()
        for _ in range(50):
            assert stack.edge.get("/", user).status == 403
        wait_until(lambda: kept(stack, user) == 1, "the daemon to write it back", 5)
        metrics = stack.daemon.metrics()
        assert metrics["portcullis_redis_data_lost_total"] == 1
        assert stack.edge.get("/", user).status == 403
        assert stack.edge.get("/", new_user()).status == 200


def test_a_daemon_with_nothing_learns_everything_from_redis(user):
    with running(redis=True) as stack:
        stack.redis.publish(event("block", user))
        wait_until(lambda: kept(stack, user) == 1, "the daemon to write it", 3)
        stack.daemon.process.kill()
        forget_everything(stack.daemon)
        stack.daemon.start()
        known = lambda: stack.daemon.get(f"/v1/users/{user}").status == 200  # noqa: E731
        wait_until(known, "the daemon to read it", 5)
        assert stack.edge.get("/", user).status == 403


# --- settling, or different ---------------------------------------------------------------------


def redis_of(stack) -> dict:
    return stack.daemon.status()["redis"] or {}


def is_the_same(stack, events: int) -> bool:
    redis = redis_of(stack)
    return redis.get("state") == "same" and redis["here"]["count"] == events


def unequal(stack, state: str) -> float:
    name = f'portcullis_redis_unequal_seconds{{state="{state}"}}'
    return stack.daemon.metrics().get(name, 0)


def test_what_comes_together_after_a_loss_is_settling_and_never_different(user):
    """Forgetting in Redis is spread over seconds: that digests differ meanwhile is no alarm."""
    with running(redis=True) as stack:
        users = [new_user() for _ in range(20)]
        for someone in users:
            # Each event overtakes the one before, which then is to be forgotten.
            for _ in range(3):
                stack.daemon.block(someone, reason="fraud")
        wait_until(lambda: is_the_same(stack, 20), "both to be the same", 20)
        assert redis_of(stack)["since"] is None and redis_of(stack)["for_ms"] == 0
        assert "the same 20 events as here" in stack.daemon.cli("status").stdout
        stack.redis.client.flushall()
        for someone in users:
            stack.daemon.block(someone, reason="fraud")
        lost = lambda: (r := redis_of(stack)).get("state") == "settling" and r  # noqa: E731
        settling = wait_until(lost, "the loss", every_s=0.002)
        assert settling["since"] is not None
        ready = stack.daemon.get("/readyz")
        states = set()

        def is_same() -> bool:
            states.add(redis_of(stack).get("state"))
            return redis_of(stack).get("state") == "same"

        wait_until(is_same, "both to be the same again", 30)
        assert ready.status == 200 and ready.json()["why"] == [], ready.body
        assert "differs" not in states
        assert stack.daemon.metrics()["portcullis_redis_data_lost_total"] == 1
        assert unequal(stack, "settling") == unequal(stack, "differs") == 0


def test_a_difference_with_nothing_under_way_is_said_to_be_one(user):
    """As if somebody had written past the script. It is not compared so often that it is mended."""
    with running(redis=True) as stack:
        config = stack.daemon.config.read_text()
        line = f'url = "{stack.redis.url}"\n'
        assert line in config
        stack.daemon.config.write_text(config.replace(line, f'{line}digest_interval = "1h"\n'))
        stack.daemon.process.kill()
        stack.daemon.start()
        stack.wait_synced()
        stack.daemon.block(user)
        wait_until(lambda: is_the_same(stack, 1), "both to be the same", 20)
        stack.redis.client.hincrby("{portcullis}:digest", "count", 2)
        wait_until(lambda: redis_of(stack).get("state") == "settling", "the first look at it", 5)
        settling = stack.daemon.get("/readyz")
        assert settling.status == 200
        (word,) = settling.json()["settling"]
        assert word == f"what source redis holds is settling since {redis_of(stack)['since']}"
        differs = wait_until(
            lambda: (r := redis_of(stack)).get("state") == "differs" and r, "the difference", 20
        )
        assert differs["there"]["count"] == differs["here"]["count"] + 2
        assert differs["for_ms"] >= 10_000
        not_ready = stack.daemon.get("/readyz")
        assert not_ready.status == 503 and not_ready.json()["settling"] == []
        since = f"since {differs['since']}"
        assert not_ready.json()["why"] == [f"source redis differs from what is known here {since}"]
        assert unequal(stack, "differs") >= 10 and unequal(stack, "settling") == 0
        assert f"DIFFERS {since}" in stack.daemon.cli("status").stdout
        assert '"Redis differs, and nothing is under way"' in stack.daemon.process.log.read_text()
        assert stack.edge.get("/", user).status == 403
        stack.redis.client.hincrby("{portcullis}:digest", "count", -2)
        wait_until(lambda: redis_of(stack).get("state") == "same", "both to be the same again", 5)
        assert stack.daemon.get("/readyz").status == 200
        stack.redis.client.shutdown(nosave=True)
        wait_until(lambda: stack.daemon.status()["redis"] is None, "nothing to be said", 10)
