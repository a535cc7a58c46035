"""Bounded memory: no eviction gives amnesty, and what cannot be stored is said aloud."""

from harness import plugin
from harness.events import event, new_user
from harness.plugin import limits_only
from harness.proc import wait_until
from harness.stack import running

# Room for a few hundred subjects.
TINY = {"slabs": 16, "slab_bytes_max": 1024}
USERS = 3000
ONE = {
    "name": "one",
    "key": "user",
    "max_tokens": 1,
    "tokens_per_fill": 1,
    "fill_interval": "3600s",
}


def first_and_second_round(edge) -> tuple[dict, dict]:
    users = [new_user() for _ in range(USERS)]
    with edge.connect() as connection:
        first = {user: connection.get("/", user).status for user in users}
        second = {user: connection.get("/", user).status for user in users}
    return first, second


def test_full_memory_never_gives_a_fresh_bucket():
    with running(limits_only(ONE, storage=TINY), daemon=False) as stack:
        first, second = first_and_second_round(stack.edge)
        assert set(first.values()) == {200, 503}, "there was room for all: this proves nothing"
        for user, status in first.items():
            assert second[user] == (429 if status == 200 else 503)
        turned_away = 2 * list(first.values()).count(503)
        assert stack.edge.metric("portcullis_denied_slab_full") == turned_away


def test_full_memory_may_allow_if_configured():
    policy = {"slab_full": "allow", "contention": "deny"}
    config = limits_only(ONE, storage=TINY, fail_policy=policy)
    with running(config, daemon=False) as stack:
        first, second = first_and_second_round(stack.edge)
        assert set(first.values()) == {200}
        assert set(second.values()) == {200, 429}
        assert stack.edge.metric("portcullis_would_deny_slab_full") > 0


def test_refilled_buckets_make_room():
    quick = {**ONE, "fill_interval": "1s"}
    with running(limits_only(quick, storage=TINY), daemon=False) as stack:
        first_and_second_round(stack.edge)
        user = new_user()
        wait_until(lambda: stack.edge.get("/", user).status == 200, "room for a new bucket", 4)


def test_a_block_is_never_evicted_and_one_too_many_is_refused_aloud():
    users = [new_user() for _ in range(USERS)]
    with running(plugin.standard(storage=TINY), redis=True) as stack:
        early = [new_user() for _ in range(20)]
        for user in early:
            stack.daemon.block(user)
        for user in users:
            stack.redis.publish(event("block", user))
        wait_until(lambda: stack.daemon.status()["subjects"] == USERS + 20, "all events")
        wait_until(lambda: stack.node()["lag"] == 0, "the filter to have seen them all")
        assert stack.node()["refused"] > 0, "there was room for all: this proves nothing"
        with stack.edge.connect() as connection:
            assert {connection.get("/", user).status for user in early} == {403}
            rejected = [user for user in users if connection.get("/", user).status == 403]
        assert len(rejected) == USERS - stack.node()["refused"]
        assert stack.edge.metric("portcullis_push_refused") == stack.node()["refused"]
        # The publisher of one more is told that it is not enforced.
        full = stack.daemon.post(event("block", new_user()))
        assert full.status == 202 and full.json()["enforced"] is False, full.body
