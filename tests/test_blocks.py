"""Block, zero, unblock and override: what a push does to the very next request.

`any_stack` runs a test twice: polling from Envoy's main thread, and from a worker.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from harness import events
from harness.client import hammer
from harness.events import event, new_user
from harness.proc import wait_until


def status(stack, user: str, path: str = "/") -> int:
    return stack.edge.get(path, user).status


def test_block_is_enforced_on_every_worker_once_acknowledged(any_stack, user):
    workers = any_stack.edge.every_worker()
    assert {worker.get("/", user).status for worker in workers} == {200}
    receipt = any_stack.daemon.block(user, reason="fraud")
    assert {worker.get("/", user).status for worker in workers} == {403}
    assert [node["node"] for node in receipt["nodes"]] == ["edge-1"]


def test_block_lands_in_the_middle_of_a_flood(any_stack, user):
    """No request that is sent after the acknowledgement gets through, however many there are."""
    roomy = {"max_tokens": 100_000, "tokens_per_fill": 100_000, "fill_interval": "1s"}
    any_stack.daemon.override(user, name="per-user", **roomy)
    workers = any_stack.edge.every_worker()
    with ThreadPoolExecutor() as pool:
        flood = pool.submit(hammer, workers, 1.0, user=user)
        wait_until(lambda: any_stack.upstream.seen[user] > 100, "the flood to begin")
        any_stack.daemon.block(user)
        acknowledged = time.monotonic()
        result = flood.result()
    assert set(result.statuses) == {200, 403}
    assert result.last_allowed < acknowledged
    assert status(any_stack, user) == 403


def test_other_users_are_unaffected(any_stack, user):
    any_stack.daemon.block(user)
    assert status(any_stack, new_user()) == 200


def test_session_block(any_stack, user):
    session = f"session-of-{user}"
    any_stack.daemon.block(session=session)
    assert any_stack.edge.get("/", user, x_session_id=session).status == 403
    assert any_stack.edge.get("/", user, x_session_id=f"{session}-2").status == 200
    # A user of the same id is another subject.
    assert any_stack.edge.get("/", session).status == 200


def test_scope_leaves_withdraw_open(any_stack, user):
    any_stack.daemon.block(user, scope=["bet", "deposit"], reason="cooling_off")
    assert status(any_stack, user, "/bet") == 403
    assert status(any_stack, user, "/deposit/card") == 403
    assert status(any_stack, user, "/withdraw") == 200
    assert status(any_stack, user, "/") == 200


def test_scope_cannot_be_walked_around(any_stack, user):
    any_stack.daemon.block(user, scope=["bet"])
    for path in "/bet?x=/withdraw", "/withdraw/../bet", "//bet", "/%62et", "/bet/", "/bet%2F1":
        assert status(any_stack, user, path) == 403, path


def test_block_expires(any_stack, user):
    start = time.monotonic()
    any_stack.daemon.block(user, duration="1s")
    assert status(any_stack, user) == 403
    wait_until(lambda: status(any_stack, user) == 200, "the block to expire", 4)
    assert 0.9 < time.monotonic() - start < 2


def test_until_is_a_point_in_time(any_stack, user):
    start = time.monotonic()
    any_stack.daemon.block(user, until=events.timestamp(events.now_ms() + 1000))
    assert status(any_stack, user) == 403
    wait_until(lambda: status(any_stack, user) == 200, "the block to expire", 4)
    assert 0.9 < time.monotonic() - start < 2


def test_a_block_that_has_already_expired_blocks_nothing(any_stack, user):
    over = event("block", user, duration="1s", at_ms=events.now_ms() - 5000)
    assert any_stack.daemon.post(over).json()["result"] == "no_effect"
    assert status(any_stack, user) == 200


def test_unblock(any_stack, user):
    any_stack.daemon.block(user)
    assert status(any_stack, user) == 403
    any_stack.daemon.unblock(user)
    workers = any_stack.edge.every_worker()
    assert {worker.get("/", user).status for worker in workers} == {200}


def test_reasons_stand_side_by_side(any_stack, user):
    any_stack.daemon.block(user, reason="cooling_off", scope=["bet"])
    any_stack.daemon.block(user, reason="fraud")
    assert status(any_stack, user, "/withdraw") == 403
    any_stack.daemon.unblock(user, reason="fraud")
    assert status(any_stack, user, "/withdraw") == 200
    assert status(any_stack, user, "/bet") == 403
    any_stack.daemon.unblock(user)
    assert status(any_stack, user, "/bet") == 200


def test_the_same_reason_again_replaces_the_block(any_stack, user):
    any_stack.daemon.block(user, reason="fraud")
    any_stack.daemon.block(user, reason="fraud", scope=["bet"])
    assert status(any_stack, user, "/withdraw") == 200
    assert status(any_stack, user, "/bet") == 403


def test_zero_empties_the_bucket_which_then_refills(any_stack, user):
    assert status(any_stack, user) == 200
    any_stack.daemon.zero(user)
    rejected = any_stack.edge.get("/", user)
    assert rejected.status == 429
    assert rejected.problem == "abnormal-usage-detected"
    assert 1 <= int(rejected.headers["retry-after"]) <= 2
    # One token each 0.6 s.
    wait_until(lambda: status(any_stack, user) == 200, "the bucket to refill", 3)


def test_zero_until_a_time(any_stack, user):
    start = time.monotonic()
    any_stack.daemon.zero(user, duration="2s")
    rejected = any_stack.edge.get("/", user)
    assert (rejected.status, rejected.problem) == (429, "abnormal-usage-detected")
    assert 1 <= int(rejected.headers["retry-after"]) <= 3
    wait_until(lambda: status(any_stack, user) == 200, "the hold to end", 6)
    assert time.monotonic() - start > 1.9


def test_unblock_lifts_a_zero_hold(any_stack, user):
    any_stack.daemon.zero(user, duration="1h")
    assert status(any_stack, user) == 429
    any_stack.daemon.unblock(user)
    wait_until(lambda: status(any_stack, user) == 200, "the bucket to refill", 3)


def test_override_lowers_a_limit(any_stack, user):
    lower = {"max_tokens": 2, "tokens_per_fill": 2, "fill_interval": "60s"}
    any_stack.daemon.override(user, name="per-user", **lower)
    answers = [any_stack.edge.get("/", user) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert '"per-user";q=2;w=60' in answers[2].headers["ratelimit-policy"]


def test_override_raises_a_limit_and_clears_the_denial(any_stack, user):
    lower = {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"}
    any_stack.daemon.override(user, name="per-user", **lower)
    assert [status(any_stack, user), status(any_stack, user)] == [200, 429]
    # What was used up stays used up, but no longer is the wait than for one token of the new rate.
    higher = {"max_tokens": 30, "tokens_per_fill": 30, "fill_interval": "30s"}
    any_stack.daemon.override(user, name="per-user", **higher)
    wait_until(lambda: status(any_stack, user) == 200, "the first token of the new rate", 2)


def test_override_back_to_the_default(any_stack, user):
    lower = {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"}
    any_stack.daemon.override(user, name="per-user", **lower)
    assert [status(any_stack, user), status(any_stack, user)] == [200, 429]
    any_stack.daemon.override(user, name="per-user", default=True)
    wait_until(lambda: status(any_stack, user) == 200, "the configured limit to hold again", 3)


def test_duplicate_is_a_no_op(any_stack, user):
    block = event("block", user)
    assert any_stack.daemon.publish(block)["result"] == "applied"
    assert any_stack.daemon.publish(block)["result"] == "duplicate"
    any_stack.daemon.unblock(user)
    # The same event once more, now behind the unblock: it must not come back to life.
    assert any_stack.daemon.post(block).json()["result"] == "duplicate"
    assert status(any_stack, user) == 200


def test_a_late_unblock_does_not_undo_a_newer_block_of_its_publisher(any_stack, user):
    now = events.now_ms()

    def late(**options) -> dict:
        made = event("unblock", user, **options)
        return any_stack.daemon.post({**made, "publisher": "risk-engine"}).json()

    block = event("block", user, at_ms=now, reason="fraud")
    any_stack.daemon.publish({**block, "publisher": "risk-engine"})
    assert late(at_ms=now - 1000, reason="fraud")["result"] == "stale"
    assert status(any_stack, user) == 403
    # Lifting everything is another topic, but no less late.
    assert late(at_ms=now - 500)["result"] == "stale"
    assert status(any_stack, user) == 403
    assert late(at_ms=now + 1)["result"] == "applied"
    assert status(any_stack, user) == 200


def test_an_event_that_is_delivered_long_after_it_happened_counts_from_then(any_stack, user):
    now = events.now_ms()
    any_stack.daemon.unblock(user)
    late = any_stack.daemon.post(event("block", user, at_ms=now - 3_600_000)).json()
    assert (late["result"], late["in_effect"]) == ("stale", False)
    assert status(any_stack, user) == 200


def test_sequence_decides_before_time(any_stack, user):
    now = events.now_ms()
    any_stack.daemon.block(user, reason="fraud", sequence=5, at_ms=now - 2000)
    late = event("unblock", user, reason="fraud", sequence=4, at_ms=now)
    assert any_stack.daemon.post(late).json()["result"] == "stale"
    everything = event("unblock", user, sequence=4, at_ms=now)
    assert any_stack.daemon.post(everything).json()["result"] == "stale"
    assert status(any_stack, user) == 403
    lifted = any_stack.daemon.unblock(user, sequence=6, at_ms=now - 3000)
    assert lifted["result"] == "applied"
    assert status(any_stack, user) == 200


def test_user_ids_of_every_kind(any_stack):
    for name in new_user("ü"), new_user("a b"), new_user("x" * 240), new_user("%2e%2e/'\"{}"):
        header = name.encode().decode("latin-1")
        assert status(any_stack, header) == 200
        any_stack.daemon.block(name)
        assert status(any_stack, header) == 403, name


def test_what_the_daemon_says_of_a_user(any_stack, user):
    assert any_stack.daemon.get(f"/v1/users/{user}").status == 404
    block = event("block", user, reason="cooling_off", scope=["bet"], duration="1h", disclose=True)
    any_stack.daemon.publish(block)
    any_stack.daemon.block(user, reason="fraud")
    answer = any_stack.daemon.get(f"/v1/users/{user}").json()
    blocks = {entry["reason"]: entry for entry in answer["blocks"]}
    assert set(blocks) == {"cooling_off", "fraud"}
    assert blocks["cooling_off"]["scope"] == ["bet"]
    assert blocks["cooling_off"]["event_id"] == block["event_id"]
    assert blocks["cooling_off"]["disclose"] is True
    assert [(node["node"], node["enforced"]) for node in answer["nodes"]] == [("edge-1", True)]


def test_unknown_names_are_warned_about(any_stack, user):
    typo = any_stack.daemon.post(event("block", user, scope=["bett"])).json()
    assert "bett" in " ".join(typo["warnings"]) and not typo["enforced"]
    assert not any_stack.daemon.block(new_user(), scope=["bet"])["warnings"]
    refill = {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1s"}
    limit = {"name": "per-usr", **refill}
    unknown = any_stack.daemon.post(event("override", new_user(), limit=limit)).json()
    assert "per-usr" in " ".join(unknown["warnings"]) and not unknown["enforced"]
