"""Redis from end to end: what docs/redis.md tells publishers to do, and losing everything there."""

import os
import subprocess
import sys

import pytest

from harness import artifacts
from harness.events import event, new_user
from harness.proc import wait_until
from harness.stack import running
from harness.store import forget_everything

DOCUMENT = artifacts.REPOSITORY / "docs/redis.md"


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
        argv, cwd=artifacts.REPOSITORY, env=environment, capture_output=True, text=True, timeout=20
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
