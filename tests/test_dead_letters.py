"""What can never be applied is kept with its cause, and can be replayed."""

import base64
import json
import time

import pytest

from harness import dead_letters, events
from harness.events import event, new_user
from harness.proc import wait_until
from harness.stack import running

EVENT_BYTES_MAX = 16384
GARBAGE_BYTES_MAX = 1024
WEEK_MS = 7 * 24 * 3_600_000


@pytest.fixture(scope="module")
def stack():
    with running(redis=True) as started:
        yield started


def bad(**members) -> dict:
    """A block with top-level members replaced; None removes one."""
    made = {**event("block", new_user()), **members}
    return {name: value for name, value in made.items() if value is not None}


def long_ago() -> str:
    return events.timestamp(events.now_ms() - WEEK_MS - 60_000)


# what is wrong -> (message, kind, field)
MALFORMED = {
    "not json": (lambda: b"{not json", "malformed", "event"),
    "a list": (lambda: b"[1, 2]", "malformed", "event"),
    "empty": (lambda: b"", "malformed", "event"),
    "not utf-8": (lambda: b'{"event_id": "\xff\xfe"}', "malformed", "event"),
    "binary": (lambda: bytes(range(128, 256)), "malformed", "event"),
    "two values": (lambda: json.dumps(bad()).encode() * 2, "malformed", "event"),
    "deep": (lambda: b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "malformed", "event"),
    "oversized": (lambda: json.dumps(bad(x="x" * EVENT_BYTES_MAX)).encode(), "too_large", "event"),
    "a name twice": (lambda: b'{"event_id":"a","event_id":"b"}', "invalid", "event_id"),
    "no id": (lambda: bad(event_id=None), "invalid", "event_id"),
    "no user": (lambda: bad(key={}), "invalid", "key"),
    "bad action": (lambda: bad(payload={"action": "ban"}), "invalid", "payload.action"),
    "version 2": (lambda: bad(schema_version="2.0"), "unknown_version", "schema_version"),
    "too old": (lambda: bad(occurred_at=long_ago()), "too_old", "occurred_at"),
    "future": (
        lambda: bad(occurred_at=events.timestamp(events.now_ms() + 3_600_000)),
        "from_the_future",
        "occurred_at",
    ),
}


@pytest.mark.parametrize("make, kind, field", MALFORMED.values(), ids=MALFORMED.keys())
def test_every_malformed_kind_is_kept_with_its_cause(stack, user, make, kind, field):
    made = make()
    raw = made if isinstance(made, bytes) else json.dumps(made).encode()
    stack.redis.publish(raw)
    stack.redis.publish(event("block", user))
    wait_until(lambda: stack.edge.get("/", user).status == 403, "the good block after it", 3)

    # Of what was never an event, no more than shows what it is.
    garbage = kind in ("malformed", "too_large")
    most = GARBAGE_BYTES_MAX if garbage else EVENT_BYTES_MAX

    def letter() -> dict | None:
        for found in reversed(dead_letters.everything(stack.daemon)):
            whole = stack.daemon.get(f"/v1/dead-letters/{found['id']}").json()
            if base64.b64decode(whole["raw_base64"]) == raw[:most]:
                return whole
        return None

    found = wait_until(letter, "the dead letter")
    assert (found["kind"], found["field"], found["source"]) == (kind, field, "redis")
    assert found["bytes"] == len(raw) and found["truncated"] == (len(raw) > most)
    assert (found["class"] == "garbage") == garbage and not found["folded"]
    assert found["rule"] and not found["replayed"]
    if isinstance(made, dict) and "event_id" in made:
        assert found["event_id"] == made["event_id"]


def test_the_same_again_is_one_letter_with_a_count(stack):
    made = bad(schema_version="3.0")
    for _ in range(5):
        stack.redis.publish(made)
    wait_until(lambda: dead_letters.wait_for(stack.daemon, made["event_id"])["count"] == 5, "five")


def test_the_api_tells_its_publisher_and_keeps_no_letter(stack):
    made = bad(schema_version="2.0")
    assert stack.daemon.post(made).status == 400
    # One that is kept, later: so the other would be there by now.
    other = bad(schema_version="2.0")
    stack.redis.publish(other)
    dead_letters.wait_for(stack.daemon, other["event_id"])
    assert dead_letters.of_event(stack.daemon, made["event_id"]) == []


def test_what_was_too_old_is_replayed_once(stack, user):
    made = event("block", user, at_ms=events.now_ms() - WEEK_MS - 60_000)
    stack.redis.publish(made)
    letter = dead_letters.wait_for(stack.daemon, made["event_id"])
    assert stack.edge.get("/", user).status == 200
    [result] = dead_letters.replay(stack.daemon, event_id=made["event_id"])
    assert (result["result"], result["id"]) == ("applied", letter["id"])
    wait_until(lambda: stack.edge.get("/", user).status == 403, "the replayed block", 3)
    assert '"replayed":true' in stack.daemon.process.log.read_text()

    stack.daemon.unblock(user)
    [again] = dead_letters.replay(stack.daemon, id=letter["id"])
    assert again["result"] == "already_replayed"
    assert stack.edge.get("/", user).status == 200
    [kept] = dead_letters.of_event(stack.daemon, made["event_id"])
    [replay] = kept["replays"]
    assert kept["replayed"] and replay["operator"] == "jane" and replay["reason"] == "a test"
    assert replay["result"] == "applied"


def test_what_is_refused_again_says_so_and_stays(stack):
    made = bad(schema_version="2.0")
    stack.redis.publish(made)
    dead_letters.wait_for(stack.daemon, made["event_id"])
    [result] = dead_letters.replay(stack.daemon, event_id=made["event_id"])
    assert (result["result"], result["cause"]["kind"]) == ("refused", "unknown_version")
    [kept] = dead_letters.of_event(stack.daemon, made["event_id"])
    assert not kept["replayed"] and kept["count"] == 1


def test_letters_and_replays_survive_kill_9(stack, user):
    made = event("block", user, at_ms=events.now_ms() - WEEK_MS - 60_000)
    other = bad(schema_version="2.0")
    for message in made, other:
        stack.redis.publish(message)
        dead_letters.wait_for(stack.daemon, message["event_id"])
    dead_letters.replay(stack.daemon, event_id=made["event_id"])
    stack.daemon.process.kill()
    stack.daemon.start()
    assert dead_letters.wait_for(stack.daemon, made["event_id"])["replayed"]
    assert not dead_letters.wait_for(stack.daemon, other["event_id"])["replayed"]
    wait_until(lambda: stack.edge.get("/", user).status == 403, "the replayed block")


def test_a_flood_of_rubbish_delays_no_block(stack, user):
    def kept() -> int:
        letters = dead_letters.everything(stack.daemon)
        return sum(letter["count"] for letter in letters if letter["kind"] == "malformed")

    before = kept()
    pipeline = stack.redis.client.pipeline(transaction=False)
    for number in range(3_000):
        pipeline.publish(stack.redis.CHANNEL, b"rubbish %d" % number)
    pipeline.execute()
    started = time.monotonic()
    stack.redis.publish(event("block", user))
    wait_until(lambda: stack.edge.get("/", user).status == 403, "the block", 5)
    assert time.monotonic() - started < 3
    wait_until(lambda: kept() - before == 3_000, "every one to be counted")


def test_the_command_line(stack, user):
    made = event("block", user, at_ms=events.now_ms() - WEEK_MS - 60_000)
    stack.redis.publish(made)
    letter = dead_letters.wait_for(stack.daemon, made["event_id"])
    cli = stack.daemon.cli
    listed = cli("dlq", "list", "--event-id", made["event_id"])
    assert listed.returncode == 0, listed.stderr
    assert letter["id"] in listed.stdout and "too_old" in listed.stdout
    assert user not in listed.stdout
    as_json = json.loads(cli("dlq", "list", "--json", "--from", letter["first_at"]).stdout)
    assert letter["id"] in [found["id"] for found in as_json["letters"]]
    shown = cli("dlq", "show", letter["id"])
    assert "cause    too_old: occurred_at: must be at most" in shown.stdout
    assert user in shown.stdout
    words = ("--operator", "jane", "--reason", "ticket 4711")
    done = cli("dlq", "replay", "--event-id", made["event_id"], *words)
    assert (done.returncode, done.stdout) == (
        0,
        f"{letter['id']} (event {made['event_id']}): applied\n",
    )
    again = cli("dlq", "replay", "--id", letter["id"], *words)
    assert again.returncode == 0 and "was replayed before" in again.stdout
    assert "by jane (ticket 4711): applied" in cli("dlq", "show", letter["id"]).stdout


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (("show", "0" * 32), 1, "no such dead letter"),
        (("show", "../status"), 1, "no such dead letter"),
        (("list", "--limit", "0"), 0, "no dead letters"),
        (("list", "--from", "yesterday"), 64, "must be an RFC 3339 time"),
        (("list", "--event-id", "a b"), 1, "refused: event_id: must be 1 to 64"),
        (("replay", "--reason", "r", "--operator", "o"), 64, "required"),
        (("replay", "--event-id", "nothing", "--reason", "r", "--operator", "o"), 1, "no such"),
        (("replay", "--event-id", "x", "--reason", " ", "--operator", "o"), 1, "refused: reason:"),
        (("replay", "--event-id", "x", "--operator", "o"), 64, "--reason"),
    ],
)
def test_the_command_line_says_what_is_wrong(stack, arguments, code, message):
    ran = stack.daemon.cli("dlq", *arguments)
    assert (ran.returncode, message in ran.stdout + ran.stderr) == (code, True), ran


@pytest.mark.parametrize("path", ["?limit=0", "?limit=1001", "?from=x", "?after=x", "?other=1"])
def test_the_api_refuses_wrong_questions(stack, path):
    answer = stack.daemon.get(f"/v1/dead-letters{path}")
    assert answer.status == 400 and answer.json()["rule"]
