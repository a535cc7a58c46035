"""What a publisher may do is bounded, whichever way its events come."""

import json

import pytest

from harness import dead_letters
from harness.daemon import new_token, token_entry
from harness.events import event, new_user
from harness.proc import wait_until
from harness.stack import running
from test_intake import KEYS, SECRET, sign, write_private

BOUNDED = """
[[keys]]
id = "fraud-1"
secret = "%s"
allow = { actions = ["block", "unblock"], reasons = ["fraud"], scopes = ["bet"] }

[[keys]]
id = "brand-a"
secret = "%s"
allow = { id_prefixes = ["a:"] }
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    directory = tmp_path_factory.mktemp("authority")
    write_private(directory / "keys.toml", KEYS + BOUNDED % (SECRET, SECRET))
    rules = {"keys_file": str(directory / "keys.toml"), "redis": {"signatures": "required"}}
    with running(redis=True, daemon_settings={"events": rules}) as started:
        yield started


def signed(action: str, user: str, **options) -> dict:
    return sign(event(action, user, **options), "fraud-1")


def test_a_key_is_good_for_what_it_names(stack, user):
    stack.redis.publish(signed("block", user, reason="fraud", scope=["bet"]))
    wait_until(lambda: stack.edge.get("/bet", user).status == 403, "the block")
    stack.daemon.block(user, reason="self_excluded", scope=["deposit"])
    beyond = [
        signed("unblock", user),
        signed("unblock", user, reason="self_excluded"),
        signed("block", user, reason="fraud"),
        signed("zero", user, scope=["bet"]),
    ]
    for made in beyond:
        stack.redis.publish(made)
        letter = dead_letters.wait_for(stack.daemon, made["event_id"])
        assert letter["kind"] == "beyond_authority"
        [result] = dead_letters.replay(stack.daemon, event_id=made["event_id"])
        assert result["result"] == "refused"
    assert stack.edge.get("/deposit", user).status == 403
    assert stack.edge.get("/withdraw", user).status == 200
    stack.redis.publish(signed("unblock", user, reason="fraud"))
    wait_until(lambda: stack.edge.get("/bet", user).status == 200, "the unblock")
    assert stack.edge.get("/deposit", user).status == 403


def test_a_key_is_good_for_its_own_users(stack):
    theirs, other = f"a:{new_user()}", f"b:{new_user()}"
    for user in (theirs, other):
        made = sign(event("block", user), "brand-a")
        stack.redis.publish(made)
        if user == other:
            assert dead_letters.wait_for(stack.daemon, made["event_id"])["kind"] == "beyond_authority"
    wait_until(lambda: stack.edge.get("/", theirs).status == 403, "the block")
    assert stack.edge.get("/", other).status == 200


def test_a_token_is_good_for_what_it_names(tmp_path):
    token = new_token()
    with running(daemon=True) as stack:
        text = stack.daemon.config.read_text()
        inline = 'allow = { actions = ["override"] }'
        entry = token_entry("marketing", "publisher", token)
        lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in entry.items())
        stack.daemon.config.write_text(f"{text}\n[[api.tokens]]\n{lines}\n{inline}\n")
        stack.daemon.process.stop()
        stack.daemon.start()
        stack.wait_synced()
        stack.daemon.tokens["marketing"] = token
        user = new_user()
        refused = stack.daemon.post(event("block", user), role="marketing")
        assert (refused.status, refused.json()["field"]) == (403, "payload.action")
        assert refused.json()["type"].endswith(":beyond_authority")
        assert stack.edge.get("/", user).status == 200
        limit = {"name": "per-user", "max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"}
        assert stack.daemon.post(event("override", user, limit=limit), role="marketing").status == 200
