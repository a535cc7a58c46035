"""Signatures, rules about fields and age, and the protobuf form, end to end."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from harness import dead_letters, events
from harness.artifacts import REPOSITORY
from harness.events import event
from harness.proc import wait_until
from harness.stack import running

SECRET = "a-secret-of-the-risk-engine"
KEYS = f"""
[[keys]]
id = "risk-1"
secret = "{SECRET}"
publishers = ["risk-engine"]

[[keys]]
id = "anyone"
secret = "{SECRET}"

[[keys]]
id = "old"
secret = "{SECRET}"
not_after = 2026-01-01T00:00:00Z
"""


def write_private(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.rename(path)


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("intake")
    write_private(made / "keys.toml", KEYS)
    write_private(made / "risk-1.secret", SECRET + "\n")
    return made


@pytest.fixture(scope="module")
def stack(directory):
    rules = {
        "keys_file": str(directory / "keys.toml"),
        "redis": {"signatures": "required"},
        "embedded": {"signatures": "optional"},
        "blocked_fields": ["email", "payload.details.name"],
    }
    with running(redis=True, daemon_settings={"events": rules}) as started:
        yield started


def recipe(language: str) -> str:
    """The only code block of this language in docs/how-to/sign-events.md."""
    text = (REPOSITORY / "docs/how-to/sign-events.md").read_text()
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found


def sign(made: dict, key: str = "risk-1", secret: str = SECRET) -> dict:
    """With the recipe for Python of the documentation."""
    names: dict = {}
    exec(recipe("python"), names)
    return names["sign"](made, key, secret.encode())


def signed(action: str, user: str, key: str = "risk-1", **options) -> dict:
    return sign({**event(action, user, **options), "publisher": "risk-engine"}, key)


def outcomes(stack, result: str, source: str = "redis") -> float:
    name = f'portcullis_event_signatures_total{{source="{source}",result="{result}"}}'
    return stack.daemon.metrics()[name]


def test_a_signed_event_is_applied(stack, user):
    before = outcomes(stack, "verified")
    stack.redis.publish(signed("block", user))
    wait_until(lambda: stack.edge.get("/", user).status == 403, "the signed block", 3)
    assert outcomes(stack, "verified") > before


def tampered(user: str) -> dict:
    made = signed("unblock", "somebody-else")
    made["key"]["user_id"] = user
    return made


FORGED = {
    "unsigned": (lambda user: event("unblock", user), "signature_missing", "missing"),
    "tampered": (tampered, "bad_signature", "mismatch"),
    "wrong secret": (
        lambda user: sign(
            {**event("unblock", user), "publisher": "risk-engine"}, secret="another-secret-123"
        ),
        "bad_signature",
        "mismatch",
    ),
    "unknown key": (lambda user: signed("unblock", user, "nobody"), "unknown_key", "unknown_key"),
    "expired key": (lambda user: signed("unblock", user, "old"), "expired_key", "expired_key"),
    "other publisher": (
        lambda user: sign({**event("unblock", user), "publisher": "marketing"}),
        "publisher_not_allowed",
        "publisher_not_allowed",
    ),
}


@pytest.mark.parametrize("forge, kind, result", FORGED.values(), ids=FORGED.keys())
def test_a_forged_event_changes_nothing_and_is_kept(stack, user, forge, kind, result):
    stack.redis.publish(signed("block", user))
    wait_until(lambda: stack.edge.get("/", user).status == 403, "the signed block", 3)
    before = outcomes(stack, result)
    made = forge(user)
    stack.redis.publish(made)
    assert dead_letters.wait_for(stack.daemon, made["event_id"])["kind"] == kind
    assert outcomes(stack, result) > before
    assert stack.edge.get("/", user).status == 403
    stack.redis.publish(signed("unblock", user))
    wait_until(lambda: stack.edge.get("/", user).status == 200, "the signed unblock", 3)


def test_where_signatures_are_optional_a_wrong_one_is_refused(stack, user):
    assert stack.daemon.publish(event("block", user))["result"] == "applied"
    assert stack.daemon.publish(signed("unblock", user))["result"] == "applied"
    answer = stack.daemon.post(signed("block", user, "nobody"))
    assert (answer.status, answer.json()["field"]) == (403, "sig.kid")
    assert stack.edge.get("/", user).status == 200


def test_the_openssl_recipe_makes_a_good_signature(stack, directory):
    made = subprocess.run(
        ["bash", "-euc", recipe("bash")],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    stack.redis.publish(made.strip().encode())
    wait_until(lambda: stack.edge.get("/", "alice").status == 403, "the block", 3)


def test_the_command_line_signs_what_is_published_and_what_is_printed(stack, directory, user):
    key = ("--sign-key-id", "risk-1", "--sign-secret-file", str(directory / "risk-1.secret"))
    before = outcomes(stack, "verified", "embedded")
    ran = stack.daemon.cli("block", user, "--publisher", "risk-engine", *key)
    assert ran.returncode == 0, ran.stderr
    assert outcomes(stack, "verified", "embedded") == before + 1
    lift = json.dumps({**event("unblock", user), "publisher": "risk-engine", "score": 0.1})
    printed = stack.daemon.cli("publish", "-", "--print", *key, stdin=lift)
    assert printed.returncode == 0, printed.stderr
    sig = json.loads(printed.stdout)["sig"]
    assert sig["mac"] == sign(json.loads(lift))["sig"]["mac"]
    stack.redis.publish(printed.stdout.encode())
    wait_until(lambda: stack.edge.get("/", user).status == 200, "the printed unblock", 3)


def test_a_new_key_is_noticed_and_what_was_refused_before_can_be_replayed(stack, directory, user):
    made = signed("block", user, "new")
    stack.redis.publish(made)
    assert dead_letters.wait_for(stack.daemon, made["event_id"])["kind"] == "unknown_key"
    write_private(directory / "keys.toml", f'{KEYS}[[keys]]\nid = "new"\nsecret = "{SECRET}"\n')

    def replayed() -> bool:
        [result] = dead_letters.replay(stack.daemon, event_id=made["event_id"])
        # The daemon tries it again by itself as well, once it has read the new key.
        return result["result"] in {"applied", "duplicate"}

    wait_until(replayed, "the new key")
    wait_until(lambda: stack.edge.get("/", user).status == 403, "the replayed block", 3)
    # A broken file changes nothing but what is shown.
    write_private(directory / "keys.toml", "keys = 7\n")
    name = "portcullis_event_keys_file_broken"
    wait_until(lambda: stack.daemon.metrics()[name] == 1, "the broken file")
    stack.redis.publish(signed("unblock", user, "new"))
    wait_until(lambda: stack.edge.get("/", user).status == 200, "the unblock", 3)
    write_private(directory / "keys.toml", KEYS)
    wait_until(lambda: stack.daemon.metrics()[name] == 0, "the repaired file")


def test_blocked_fields_are_named_and_never_repeated(stack, user):
    for members, field in [
        ({"Email": "alice@example.com"}, "email"),
        ({"more": [{"email": "alice@example.com"}]}, "email"),
        ({"payload": {"action": "block", "details": {"name": "Alice"}}}, "payload.details.name"),
    ]:
        answer = stack.daemon.post({**event("block", user), **members})
        assert answer.status == 400
        problem = answer.json()
        assert problem["type"].endswith(":blocked_field") and problem["field"] == field
        assert "alice" not in json.dumps(problem).lower()
    assert "alice@example.com" not in stack.daemon.process.log.read_text()
    assert stack.edge.get("/", user).status == 200


def test_an_old_event_is_refused_by_the_api_too(stack, user):
    week_ms = 7 * 24 * 3_600_000
    answer = stack.daemon.post(event("block", user, at_ms=events.now_ms() - week_ms - 60_000))
    assert (answer.status, answer.json()["field"]) == (400, "occurred_at")
    assert answer.json()["type"].endswith(":too_old")


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, value: bytes | str | int) -> bytes:
    """One field on the wire: a number, or something with a length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def protobuf(made: dict) -> bytes:
    """As crates/events/proto/event.proto says, by hand, so that ours is not tested against itself."""
    action = {"block": 1, "zero": 2, "unblock": 3, "override": 4}[made["payload"]["action"]]
    message = field(2, made["event_id"]) + field(3, made["event_type"])
    message += field(5, made["schema_version"]) + field(6, made["occurred_at"])
    message += field(8, field(1, made["key"]["user_id"])) + field(9, field(1, action))
    message += field(10, made["publisher"])
    if sig := made.get("sig"):
        parts = field(1, sig["algo"]) + field(2, sig["kid"]) + field(3, sig["ts"])
        message += field(11, parts + field(4, sig["mac"]))
    return message


def test_protobuf_is_the_same_event_with_the_same_signature(stack, user):
    stack.redis.publish(protobuf(signed("block", user)))
    wait_until(lambda: stack.edge.get("/", user).status == 403, "the block", 3)
    lift = signed("unblock", user)
    answer = stack.daemon.post(protobuf(lift), "application/x-protobuf")
    assert answer.status == 200 and answer.json()["event_id"] == lift["event_id"], answer.body
    assert stack.edge.get("/", user).status == 200
    assert stack.daemon.post(lift).json()["result"] == "duplicate"


def test_the_content_type_has_to_be_that_of_the_form(stack, user):
    made = signed("block", user)
    assert stack.daemon.post(protobuf(made), "application/json").status == 400
    assert stack.daemon.post(made, "application/x-protobuf").status == 400
    assert stack.edge.get("/", user).status == 200


def test_what_is_kept_stays_in_force_whatever_becomes_of_its_key(directory, user):
    keys = directory / "own-keys.toml"
    write_private(keys, KEYS)
    rules = {"keys_file": str(keys), "embedded": {"signatures": "required"}}
    with running(daemon_settings={"events": rules}) as stack:
        stack.daemon.publish(signed("block", user))
        stack.daemon.process.kill()
        write_private(keys, KEYS.replace(SECRET, "a-secret-of-somebody-else"))
        stack.daemon.start()
        assert stack.daemon.get(f"/v1/users/{user}").json()["blocks"]
        assert stack.daemon.post(signed("unblock", user)).json()["type"].endswith(":bad_signature")
