"""Damage in Redis: keys of wrong types, keys that are gone, streams that are full, refusals that pass.

One bad key must not decide what becomes of the others, and what is missing must be noticed by its content.
"""

import json
import time

import pytest

from harness import dead_letters
from harness.daemon import Daemon
from harness.events import event, new_user
from harness.proc import wait_until
from harness.stack import running
from test_hostile_redis import looks, requiring
from test_intake import KEYS, SECRET, sign, write_private

PLUGIN_STALE_S = 5


def status(stack, user: str) -> int:
    return stack.edge.get("/", user).status


def metric(stack, name: str) -> float:
    return stack.daemon.metrics()[f"portcullis_{name}"]


def ready(stack) -> bool:
    return stack.daemon.get("/readyz").status == 200


@pytest.fixture
def stack(tmp_path):
    settings = {"limits": {}}
    with running(redis=True, daemon_settings=settings) as started:
        user = new_user("first")
        started.daemon.block(user)
        started.first = user
        before = looks(started)
        wait_until(lambda: looks(started) >= before + 3, "the daemon to have looked since")
        yield started


BOMBS = {
    "state": lambda redis: (
        redis.sadd("{portcullis}:state:user:bomb", "x"),
        redis.sadd("{portcullis}:subjects", "user:bomb"),
        redis.hset("{portcullis}:digest", "since", "x"),
    ),
    "digest": lambda redis: redis.set("{portcullis}:digest", "x"),
    "stream": lambda redis: (redis.delete("{portcullis}:stream"), redis.set("{portcullis}:stream", "x")),
    "subjects": lambda redis: (
        redis.delete("{portcullis}:subjects"),
        redis.set("{portcullis}:subjects", "x"),
    ),
    "full stream": lambda redis: redis.xadd("{portcullis}:stream", {"a": "b"}, id=f"{2**64 - 1}-{2**64 - 1}"),
    "large state": lambda redis: (
        redis.hset(
            "{portcullis}:state:user:bomb", mapping={f"f{number}": "x" * 100 for number in range(5_000)}
        ),
        redis.sadd("{portcullis}:subjects", "user:bomb"),
        redis.hset("{portcullis}:digest", "since", "x"),
    ),
    "everything": lambda redis: [
        (redis.delete(key), redis.set(key, "x")) for key in redis.keys("{portcullis}:*")
    ],
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_damaged_key_stops_nobody(stack, bomb):
    """With `stale_after` 5 s and `deny`: nobody gets 503, and what is published is written."""
    bomb(stack.redis.client)
    until = time.monotonic() + PLUGIN_STALE_S + 2
    while time.monotonic() < until:
        assert status(stack, new_user()) == 200
        assert status(stack, stack.first) == 403
        time.sleep(0.05)
    user = new_user()
    wait_until(lambda: stack.daemon.post(event("block", user)).json()["redis"], "a write")
    assert status(stack, user) == 403
    wait_until(lambda: ready(stack), "the daemon to be ready")
    key = f"{{portcullis}}:state:user:{stack.first}"
    wait_until(lambda: stack.redis.client.type(key) == b"hash", "the repair", 30)
    assert metric(stack, "redis_put_aside_total") >= 1


def test_a_fresh_daemon_gets_ready_whatever_one_key_is_like(stack, tmp_path):
    redis = stack.redis.client
    redis.sadd("{portcullis}:state:user:bomb", "x")
    redis.sadd("{portcullis}:subjects", "user:bomb")
    fresh = Daemon(tmp_path, stack.redis.url)
    try:
        wait_until(lambda: fresh.get("/readyz").status == 200, "the fresh daemon to be ready")
        blocks = fresh.get(f"/v1/users/{stack.first}").json()["blocks"]
        assert len(blocks) == 1
    finally:
        fresh.close()


def test_keys_that_are_deleted_are_noticed_and_written_back(tmp_path):
    """Also by a daemon that starts with nothing: it is not in step while something is missing."""
    with running(redis=True) as stack:
        users = [new_user() for _ in range(20)]
        for user in users:
            stack.daemon.block(user)
        redis = stack.redis.client
        for user in users[:15]:
            redis.delete(f"{{portcullis}}:state:user:{user}")
        fresh = Daemon(tmp_path, stack.redis.url)
        try:
            wait_until(lambda: fresh.get("/readyz").status == 200, "the fresh daemon", 30)
            known = [len(fresh.get(f"/v1/users/{user}").json().get("blocks", [])) for user in users]
            assert known == [1] * 20
        except AssertionError:
            print(fresh.process.log.read_text()[-6000:])
            print(stack.daemon.process.log.read_text()[-3000:])
            raise
        finally:
            fresh.close()
        assert all(redis.hlen(f"{{portcullis}}:state:user:{user}") == 1 for user in users)
        assert metric(stack, "redis_missing_events_total") >= 15


def test_while_nobody_knows_what_is_missing_a_fresh_daemon_is_not_ready(tmp_path):
    with running(redis=True) as stack:
        user = new_user()
        stack.daemon.block(user)
        stack.daemon.block(new_user())
        redis = stack.redis.client
        stack.daemon.process.stop()
        redis.delete(f"{{portcullis}}:state:user:{user}")
        fresh = Daemon(tmp_path, stack.redis.url)
        try:
            said = lambda: "Redis lacks events" in json.dumps(fresh.status())  # noqa: E731
            wait_until(said, "the hole to be told")
            assert fresh.get("/readyz").status == 503
            redis.delete("{portcullis}:digest")
            wait_until(lambda: fresh.get("/readyz").status == 200, "an operator's word", 30)
        finally:
            fresh.close()
            stack.daemon.start()


def test_a_block_refused_for_an_unknown_key_is_in_force_once_the_key_is_there(tmp_path):
    directory = tmp_path
    with requiring(directory) as stack:
        user = new_user()
        made = sign({**event("block", user), "publisher": "risk-engine"}, "late")
        from test_truth import script

        script(stack, made, user)
        line = f'"event_id":"{made["event_id"]}","kind":"unknown_key"'
        wait_until(lambda: line in stack.daemon.process.log.read_text(), "the refusal")
        wait_until(lambda: metric(stack, "redis_refused_events") == 1, "it to be counted")
        assert status(stack, user) == 200
        write_private(directory / "keys.toml", f'{KEYS}[[keys]]\nid = "late"\nsecret = "{SECRET}"\n')
        wait_until(lambda: status(stack, user) == 403, "the block", 20)
        wait_until(lambda: metric(stack, "redis_refused_events") == 0, "nothing to be refused")


def test_a_bare_block_refused_for_an_unknown_key_is_in_force_once_the_key_is_there(tmp_path):
    with requiring(tmp_path) as stack:
        user, lifted = new_user(), new_user()
        late = lambda action, user: sign({**event(action, user), "publisher": "risk-engine"}, "late")  # noqa: E731
        for made in [late("block", user), late("block", lifted), late("unblock", lifted)]:
            stack.redis.publish(made)
        wait_until(lambda: metric(stack, "redis_refused_bare_events") == 3, "them to be counted")
        letters = len(dead_letters.everything(stack.daemon))
        write_private(tmp_path / "keys.toml", f'{KEYS}[[keys]]\nid = "late"\nsecret = "{SECRET}"\n')
        wait_until(lambda: status(stack, user) == 403, "the block", 20)
        wait_until(lambda: metric(stack, "redis_refused_bare_events") == 0, "nothing to be refused")
        assert status(stack, lifted) == 200
        key = f"{{portcullis}}:state:user:{user}"
        wait_until(lambda: stack.redis.client.hlen(key) == 1, "it to be written")
        assert len(dead_letters.everything(stack.daemon)) == letters, "nothing is said twice"


def test_an_eviction_policy_is_an_alarm(tmp_path):
    with running(redis=True) as stack:
        assert metric(stack, "redis_evicts") == 0
        stack.redis.client.config_set("maxmemory-policy", "allkeys-lru")
        stack.daemon.process.stop()
        stack.daemon.start()
        wait_until(lambda: metric(stack, "redis_evicts") == 1, "the alarm")
        assert "set maxmemory-policy noeviction" in stack.daemon.process.log.read_text()
