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
        stack.edge.wait_metric("portcullis_denied_slab_full", turned_away)


def test_full_memory_may_allow_if_configured():
    policy = {"slab_full": "allow", "contention": "deny"}
    config = limits_only(ONE, storage=TINY, fail_policy=policy)
    with running(config, daemon=False) as stack:
        first, second = first_and_second_round(stack.edge)
        assert set(first.values()) == {200}
        assert set(second.values()) == {200, 429}
        assert stack.edge.settled_metric("portcullis_failed_open_slab_full") > 0


def test_refilled_buckets_make_room():
    quick = {**ONE, "fill_interval": "1s"}
    with running(limits_only(quick, storage=TINY), daemon=False) as stack:
        first_and_second_round(stack.edge)
        user = new_user()
        wait_until(lambda: stack.edge.get("/", user).status == 200, "room for a new bucket", 4)


def test_a_block_is_never_evicted_and_one_too_many_is_refused_aloud():
    # Blocks may use more room than buckets, but not without end: these are large ones.
    scope = ["bet", *(f"{number}".rjust(64, "g") for number in range(7))]
    early = [new_user() for _ in range(20)]
    users = [new_user() for _ in range(USERS)]
    with running(plugin.standard(storage=TINY), redis=True) as stack:
        for user in early:
            stack.daemon.block(user)
        for user in users:
            stack.redis.publish(event("block", user, scope=scope))
        wait_until(lambda: stack.daemon.status()["subjects"] == USERS + 20, "all events")
        wait_until(lambda: stack.node()["lag"] == 0, "the filter to have seen them all")
        with stack.edge.connect() as connection:
            assert {connection.get("/", user).status for user in early} == {403}
            enforced = {user for user in users if connection.get("/bet", user).status == 403}
        assert 0 < len(enforced) < USERS, "there was room for all: this proves nothing"
        # Each of them is tried once in its turn, and perhaps once ahead of it.
        refused = USERS - len(enforced)
        assert refused <= stack.edge.settled_metric("portcullis_push_refused") <= 2 * refused
        assert stack.node()["refused"] > 0
        # Whoever asks about a user gets the truth.
        assert {user for user in users if claims_enforced(stack, user)} == enforced
        # And so does the publisher of one more.
        receipts = [stack.daemon.post(event("block", new_user(), scope=scope)) for _ in range(50)]
        assert {receipt.status for receipt in receipts} == {202}
        assert not any(receipt.json()["enforced"] for receipt in receipts)


def claims_enforced(stack, user: str) -> bool:
    (node,) = stack.daemon.get(f"/v1/users/{user}").json()["nodes"]
    return node["enforced"]
