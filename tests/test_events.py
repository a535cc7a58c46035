"""Events that must be refused: with a reason, counted, and without harm to the next good one."""

import json

import pytest

from harness import events
from harness.events import event, new_user
from harness.proc import wait_until
from harness.stack import running

EVENT_BYTES_MAX = 16384


@pytest.fixture(scope="module")
def stack():
    with running(redis=True) as started:
        yield started


def changed(**members) -> dict:
    """A good block with top-level members replaced; None removes one."""
    made = {**event("block", new_user()), **members}
    return {name: value for name, value in made.items() if value is not None}


def payload(**members) -> dict:
    return changed(payload={"action": "block", **members})


def oversized() -> bytes:
    return json.dumps(changed(padding="x" * EVENT_BYTES_MAX)).encode()


RATE = {"max_tokens": 5, "tokens_per_fill": 5, "fill_interval": "60s"}
FUTURE = events.timestamp(events.now_ms() + 3_600_000)

# what is wrong -> (event, HTTP status, field that the refusal names)
BAD = {
    "not json": (b"{not json", 400, None),
    "not an object": (b"[1, 2]", 400, None),
    "empty": (b"", 400, None),
    "not utf-8": (b'{"event_id": "\xff\xfe"}', 400, None),
    "two values": (json.dumps(changed()).encode() * 2, 400, None),
    "oversized": (oversized(), 413, None),
    "unknown major version": (changed(schema_version="2.0"), 400, "schema_version"),
    "no version": (changed(schema_version=None), 400, "schema_version"),
    "no event id": (changed(event_id=None), 400, "event_id"),
    "event id too long": (changed(event_id="e" * 65), 400, "event_id"),
    "event id not visible": (changed(event_id="a b"), 400, "event_id"),
    "event id not a string": (changed(event_id=7), 400, "event_id"),
    "no event type": (changed(event_type=None), 400, "event_type"),
    "no time": (changed(occurred_at=None), 400, "occurred_at"),
    "time without zone": (changed(occurred_at="2026-11-22T12:00:00"), 400, "occurred_at"),
    "time in the future": (changed(occurred_at=FUTURE), 400, "occurred_at"),
    "negative sequence": (changed(sequence=-1), 400, "sequence"),
    "no key": (changed(key=None), 400, "key"),
    "empty key": (changed(key={}), 400, "key"),
    "two keys": (changed(key={"user_id": "u", "session_id": "s"}), 400, "key"),
    "empty user id": (changed(key={"user_id": ""}), 400, "key.user_id"),
    "user id too long": (changed(key={"user_id": "u" * 257}), 400, "key.user_id"),
    "no payload": (changed(payload=None), 400, "payload"),
    "unknown action": (payload(action="ban"), 400, "payload.action"),
    "scope is a string": (payload(scope="bet"), 400, "payload.scope"),
    "scope too long": (payload(scope=[f"g{i}" for i in range(9)]), 400, "payload.scope"),
    "reason in capitals": (payload(reason="Fraud!"), 400, "payload.reason"),
    "reason too long": (payload(reason="r" * 65), 400, "payload.reason"),
    "for is a number": (payload(**{"for": 24}), 400, "payload.for"),
    "for without unit": (payload(**{"for": "24"}), 400, "payload.for"),
    "until is no time": (payload(until="tomorrow"), 400, "payload.until"),
    "until and for": (payload(until=FUTURE, **{"for": "1h"}), 400, "payload"),
    "limit of a block": (payload(limit={"name": "per-user", **RATE}), 400, "payload.limit"),
    "override without limit": (payload(action="override"), 400, "payload.limit"),
    "override of nothing": (
        payload(action="override", limit={"name": "per-user"}), 400, "payload.limit"
    ),
    "override with 0 tokens": (
        payload(action="override", limit={"name": "per-user", **RATE, "max_tokens": 0}),
        400,
        "payload.limit.max_tokens",
    ),
}  # fmt: skip


def refusals(stack, source: str) -> float:
    metrics = stack.daemon.metrics()
    return sum(v for k, v in metrics.items() if "refused" in k and f'source="{source}"' in k)


def assert_the_next_good_one_works(stack, user: str) -> None:
    assert stack.edge.get("/", user).status == 200
    stack.daemon.block(user)
    assert stack.edge.get("/", user).status == 403


@pytest.mark.parametrize("bad, status, field", BAD.values(), ids=BAD.keys())
def test_http_refuses(stack, user, bad, status, field):
    before = refusals(stack, "embedded")
    answer = stack.daemon.post(bad)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status and problem["title"]
    assert problem["rule"]
    if field:
        assert problem["field"] == field
    assert refusals(stack, "embedded") == before + 1
    assert_the_next_good_one_works(stack, user)


def test_http_refuses_other_content_types(stack, user):
    body = json.dumps(event("block", user)).encode()
    for content_type in "text/plain", "application/x-www-form-urlencoded", None:
        assert stack.daemon.post(body, content_type).status == 415
    assert stack.edge.get("/", user).status == 200


@pytest.mark.parametrize("bad, field", [(b, f) for b, _, f in BAD.values()], ids=BAD.keys())
def test_redis_refuses(stack, user, bad, field):
    before = refusals(stack, "redis")
    stack.redis.publish(bad)
    stack.redis.publish(event("block", user))
    wait_until(lambda: stack.edge.get("/", user).status == 403, "the good event after it", 3)
    assert refusals(stack, "redis") == before + 1
    if field:
        assert field in stack.daemon.process.log.read_text()


def test_newer_minor_version_and_unknown_fields_are_accepted(stack, user):
    made = changed(schema_version="1.7", key={"user_id": user}, trace={"id": "abc"})
    assert stack.daemon.publish(made)["result"] == "applied"
    assert stack.edge.get("/", user).status == 403


def test_largest_event_is_accepted(stack, user):
    made = changed(key={"user_id": user}, padding="")
    made["padding"] = "x" * (EVENT_BYTES_MAX - len(json.dumps(made)))
    assert stack.daemon.publish(made)["result"] == "applied"


def test_through_redis_like_through_http(stack, user):
    assert stack.redis.publish(event("block", user, scope=["bet"])) == 1
    wait_until(lambda: stack.edge.get("/bet", user).status == 403, "the block", 3)
    assert stack.edge.get("/withdraw", user).status == 200
    stack.redis.publish(event("unblock", user))
    wait_until(lambda: stack.edge.get("/bet", user).status == 200, "the unblock", 3)


def test_same_event_through_both_sources_counts_once(stack, user):
    made = event("block", user)
    stack.redis.publish(made)
    wait_until(lambda: stack.edge.get("/", user).status == 403, "the block", 3)
    assert stack.daemon.publish(made)["result"] == "duplicate"


def test_user_ids_are_pseudonymized_in_logs(stack, user):
    stack.daemon.block(user, reason="fraud")
    stack.redis.publish(changed(key={"user_id": user}, schema_version="2.0"))
    stack.redis.publish(event("zero", user))
    wait_until(lambda: stack.daemon.get(f"/v1/users/{user}").json()["zero"], "the zero", 3)
    log = stack.daemon.process.log.read_text()
    assert user not in log
    assert user not in stack.edge.process.log.read_text()
    assert not any(user in name for name in stack.daemon.metrics())
    assert not any(user in name for name in stack.edge.metrics())
