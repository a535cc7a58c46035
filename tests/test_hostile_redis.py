"""Where signatures are required: what somebody who can write to Redis can do, and what not.

Each test is a line of the table in docs/explanation/redis.md. Whoever writes there writes keys raw, past the
script, and with any date.
"""

import json
import time
from contextlib import contextmanager

import pytest

from harness import events
from harness.events import event, new_user
from harness.proc import wait_until
from harness.stack import running
from test_intake import KEYS, sign, write_private
from test_truth import script

DAY_MS = 24 * 3_600_000


@contextmanager
def requiring(directory, redis_url=None, **rules):
    write_private(directory / "keys.toml", KEYS)
    rules = {"keys_file": str(directory / "keys.toml"), "redis": {"signatures": "required"}, **rules}
    sources = {"redis": {"url": redis_url, "digest_interval": "200ms"}} if redis_url else {}
    settings = {"events": rules, **({"sources": sources} if sources else {})}
    with running(redis=redis_url is None, daemon_settings=settings) as started:
        yield started


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def stack(directory):
    with requiring(directory) as started:
        first = signed("block", "somebody")
        started.redis.publish(first)
        key = "{portcullis}:state:user:somebody"
        wait_until(lambda: started.redis.client.hlen(key) == 1, "the first event in Redis")
        before = looks(started)
        wait_until(lambda: looks(started) >= before + 2, "the daemon to have looked since")
        yield started


def looks(stack) -> int:
    """How often scripts have run in Redis: the daemon looks there with one."""
    return stack.redis.client.info("commandstats")["cmdstat_evalsha"]["calls"]


def signed(action: str, user: str, **options) -> dict:
    return sign({**event(action, user, **options), "publisher": "risk-engine"})


def put(stack, made: dict, at_ms: int) -> None:
    """Into the hash of its user, and so that the daemon reads everything."""
    user, redis = made["key"]["user_id"], stack.redis.client
    redis.hset(f"{{portcullis}}:state:user:{user}", made["event_id"], f"{at_ms}-0 {json.dumps(made)}")
    redis.sadd("{portcullis}:subjects", f"user:{user}")
    redis.hincrby("{portcullis}:digest", "count", 1)
    # A loss of data has everything read at once.
    redis.hset("{portcullis}:digest", "since", f"{time.time_ns()}-0")


def refused(stack, event_id: str, kind: str) -> None:
    line = f'"event_id":"{event_id}","kind":"{kind}"'
    wait_until(lambda: line in stack.daemon.process.log.read_text(), f"the refusal as {kind}")


def status(stack, user: str) -> int:
    return stack.edge.get("/", user).status


@pytest.mark.parametrize("heard_days_ago", [0, 20, 400, -1])
def test_a_block_of_long_ago_is_not_brought_back(stack, heard_days_ago):
    user, now = new_user(), events.now_ms()
    made = signed("block", user, at_ms=now - 20 * DAY_MS)
    put(stack, made, now - heard_days_ago * DAY_MS)
    refused(stack, made["event_id"], "too_old")
    assert status(stack, user) == 200


def test_an_unblock_that_a_newer_block_has_overtaken_lifts_nothing(stack):
    user, now = new_user(), events.now_ms()
    unblock = signed("unblock", user, at_ms=now - 3_600_000)
    block = signed("block", user)
    stack.redis.publish(block)
    wait_until(lambda: status(stack, user) == 403, "the block")
    for at_ms in (now + 60_000, now - 3_600_000, 0):
        put(stack, unblock, at_ms)
        marker = signed("block", new_user())
        put(stack, marker, now)
        wait_until(lambda m=marker: status(stack, m["key"]["user_id"]) == 403, "all to be read")
        assert status(stack, user) == 403


def test_an_unsigned_copy_does_not_swallow_the_signed_event(stack):
    """Whoever knows what will be published writes it first, without the signature."""
    user = new_user()
    genuine = signed("block", user)
    copy = {name: value for name, value in genuine.items() if name != "sig"}
    assert script(stack, copy, user)[1] == b"written"
    assert script(stack, genuine, user)[1] == b"written"
    assert script(stack, genuine, user)[1] == b"duplicate"
    wait_until(lambda: status(stack, user) == 403, "the signed block")


def test_nothing_unsigned_is_believed_whatever_lies_beside_it(stack):
    user, now = new_user(), events.now_ms()
    made = event("block", user)
    stack.redis.client.hset(f"{{portcullis}}:vouches:user:{user}", made["event_id"], f"{now} {'0' * 64}")
    put(stack, made, now)
    refused(stack, made["event_id"], "signature_missing")
    assert status(stack, user) == 200


def test_an_old_block_that_is_in_force_is_vouched_for_and_so_reaches_a_new_node(directory):
    """And one that nobody vouches for, or only somebody without the key, does not."""
    with requiring(directory, max_age="60s") as old:
        kept, dropped = new_user("kept"), new_user("dropped")
        occurred_ms = events.now_ms() - 50_000
        blocks = {user: signed("block", user, at_ms=occurred_ms) for user in (kept, dropped)}
        for made in blocks.values():
            old.redis.publish(made)
        for user in (kept, dropped):
            wait_until(lambda u=user: status(old, u) == 403, "the block")
        redis = old.redis.client
        key = "{portcullis}:vouches:user:"
        for user in (kept, dropped):
            wait_until(lambda u=user: redis.hlen(key + u) == 1, "a daemon's word", 30)
        wait_until(lambda: events.now_ms() > occurred_ms + 61_000, "them to be too old", 30)
        old.daemon.process.stop()
        word = redis.hget(key + dropped, blocks[dropped]["event_id"]).decode()
        at_ms, mac = word.split(" ")
        redis.hset(key + dropped, blocks[dropped]["event_id"], f"{int(at_ms) + 5_000} {mac}")
        with requiring(directory, old.redis.url, max_age="60s") as new:
            wait_until(lambda: status(new, kept) == 403, "the block that is vouched for")
            refused(new, blocks[dropped]["event_id"], "too_old")
            assert status(new, dropped) == 200
