"""Is what is answered true? Whether an event is in effect, whatever clocks, ids and numbers say."""

import json

import pytest

from harness import artifacts, dead_letters, plugin
from harness.events import event, new_user, now_ms
from harness.proc import wait_until
from harness.stack import running


@pytest.fixture(scope="module")
def pair():
    """A stack with Redis."""
    with running(redis=True) as started:
        yield started


def status(stack, user: str, path: str = "/") -> int:
    return stack.edge.get(path, user).status


def view(stack, user: str) -> list[str]:
    """The ids of the blocks that the daemon shows."""
    answer = stack.daemon.get(f"/v1/users/{user}")
    return [block["event_id"] for block in answer.json()["blocks"]]


def of(made: dict, publisher: str) -> dict:
    return {**made, "publisher": publisher}


def script(stack, made: dict, user: str) -> list[bytes]:
    """Publishes with the script of docs/how-to/publish-over-redis.md."""
    text = (artifacts.REPOSITORY / "invalidator/redis/publish.lua").read_text()
    keys = [f"{{portcullis}}:{name}" for name in (f"state:user:{user}", "subjects", "stream", "digest")]
    arguments = ["portcullis.invalidations", f"user:{user}", made["event_id"], json.dumps(made)]
    return stack.redis.client.register_script(text)(keys=keys, args=[*arguments, 100_000, 256])


@pytest.mark.parametrize("slow_ms", [0, 2_000, 60_000, 299_000])
def test_a_block_after_an_unblock_is_in_force_whatever_its_publishers_clock(stack, user, slow_ms):
    """An operator unblocks, without a number; a risk engine with numbers and a slow clock blocks."""
    stack.daemon.unblock(user)
    block = event("block", user, sequence=1, at_ms=now_ms() - slow_ms, reason="fraud")
    done = stack.daemon.publish(of(block, "risk-engine"))
    assert (done["result"], done["in_effect"]) == ("applied", True)
    assert status(stack, user) == 403
    assert view(stack, user) == [block["event_id"]]


@pytest.mark.parametrize("fast_ms", [2_000, 60_000, 299_000])
def test_a_fast_clock_does_not_outrank_what_comes_after(stack, user, fast_ms):
    stack.daemon.publish(event("unblock", user, at_ms=now_ms() + fast_ms))
    done = stack.daemon.cli("block", user)
    assert done.returncode == 0 and done.stdout.startswith("enforced on 1 node"), done
    assert status(stack, user) == 403
    stack.daemon.publish(event("block", user, at_ms=now_ms() + fast_ms, reason="fraud"))
    assert stack.daemon.cli("unblock", user).returncode == 0
    assert status(stack, user) == 200


def test_what_a_publishers_own_number_overrules_is_not_said_to_be_in_effect(stack, user):
    newer = event("unblock", user, sequence=8)
    stack.daemon.publish(of(newer, "risk-engine"))
    older = of(event("block", user, sequence=7), "risk-engine")
    answer = stack.daemon.post(older)
    done = answer.json()
    assert (answer.status, done["result"], done["in_effect"]) == (200, "stale", False)
    assert done["enforced"] is False
    assert [by["event_id"] for by in done["overruled_by"]] == [newer["event_id"]]
    assert done["overruled_by"][0]["sequence"] == 8
    assert status(stack, user) == 200
    again = stack.daemon.post(older).json()
    assert (again["result"], again["in_effect"], again["enforced"]) == ("duplicate", False, False)
    cli = stack.daemon.cli("publish", "-", stdin=json.dumps(older))
    assert cli.returncode == 2 and cli.stderr.startswith("NOT in effect: the unblock (event "), cli
    # Of another publisher the number says nothing.
    done = stack.daemon.publish(of(event("block", user, sequence=1), "compliance"))
    assert done["result"] == "applied" and status(stack, user) == 403


def test_a_number_far_ahead_locks_nobody_out(stack, user):
    far = of(event("unblock", user, sequence=2**64 - 1), "risk-engine")
    stack.daemon.publish(far)
    late = stack.daemon.post(of(event("block", user, sequence=9), "risk-engine")).json()
    assert late["in_effect"] is False and late["overruled_by"][0]["event_id"] == far["event_id"]
    assert stack.daemon.cli("block", user).returncode == 0
    assert status(stack, user) == 403
    assert stack.daemon.cli("unblock", user).returncode == 0
    assert status(stack, user) == 200


def test_a_repeated_event_says_whether_it_is_still_in_effect(stack, user):
    block = event("block", user)
    stack.daemon.publish(block)
    assert stack.daemon.publish(block)["result"] == "duplicate"
    unblock = event("unblock", user)
    stack.daemon.publish(unblock)
    again = stack.daemon.post(block).json()
    assert (again["result"], again["in_effect"], again["enforced"]) == ("duplicate", False, False)
    assert [by["event_id"] for by in again["overruled_by"]] == [unblock["event_id"]]
    assert status(stack, user) == 200


def test_an_unblock_that_lifts_nothing_says_so(stack, user):
    stack.daemon.block(user, reason="cooling_off")
    other = stack.daemon.post(event("unblock", user, reason="fraud")).json()
    assert other["result"] == "no_effect"
    assert any('the block "cooling_off" stays' in warning for warning in other["warnings"])
    assert any('no block "fraud" is in effect' in warning for warning in other["warnings"])
    done = stack.daemon.cli("unblock", user, "--reason", "fraud")
    assert done.returncode == 3 and "cooling_off" in done.stderr, done
    assert status(stack, user) == 403
    over = stack.daemon.post(event("block", user, until="2020-01-01T00:00:00Z")).json()
    assert (over["result"], over["in_effect"], over["enforced"]) == ("no_effect", False, False)


def test_cheap_events_make_nobody_unblockable(stack, user):
    for number in range(40):
        stack.daemon.publish(event("unblock", user, reason=f"unused-{number}"))
        limit = {"name": f"unknown-{number}", "max_tokens": 1, "tokens_per_fill": 1}
        limit["fill_interval"] = "1s"
        stack.daemon.post(event("override", user, limit=limit))
    assert stack.daemon.block(user)["result"] == "applied"
    assert status(stack, user) == 403
    assert stack.daemon.zero(user)["result"] == "applied"
    assert stack.daemon.unblock(user)["result"] == "applied"
    assert status(stack, user) == 200


def test_what_is_lifted_makes_room(stack, user):
    for round_ in range(3):
        for number in range(24):
            stack.daemon.publish(
                of(event("block", user, reason=f"r{round_}-{number}", sequence=100 * round_ + number), "x")
            )
        full = stack.daemon.post(event("block", user, reason="one-more"))
        assert (full.status, full.json()["field"]) == (409, "key")
        assert stack.daemon.cli("unblock", user).returncode == 0
        assert status(stack, user) == 200


@pytest.mark.parametrize("member", ["scopes", "duration", "Reason", "limit.max"])
def test_what_is_mistyped_is_refused(stack, user, member):
    mistyped = event("block", user)
    if member == "limit.max":
        limit = {"name": "per-user", "default": True, "max": 5}
        mistyped = event("override", user, limit=limit)
    else:
        mistyped["payload"][member] = ["bet"]
    answer = stack.daemon.post(mistyped)
    assert (answer.status, answer.json()["field"]) == (400, f"payload.{member}")
    assert "events.unknown_fields" in answer.json()["rule"]
    newer = {**mistyped, "schema_version": "1.1"}
    taken = stack.daemon.post(newer).json()
    assert any(f"payload.{member}: is ignored" in warning for warning in taken["warnings"])
    beside = {**event("block", user), "scope": ["bet"]}
    warnings = stack.daemon.post(beside).json()["warnings"]
    assert "scope: is ignored: no member has this name" in warnings


@pytest.mark.parametrize("name", ["a\x00b", "a\nb", " padded", "padded\t", "\x7f"])
def test_a_user_that_no_request_can_name_is_refused(stack, name):
    answer = stack.daemon.post(event("block", name))
    assert (answer.status, answer.json()["field"]) == (400, "key.user_id")


def test_an_id_is_one_event(stack, user):
    override = event("unblock", user, event_id="ticket-7")
    stack.daemon.publish(override)
    answer = stack.daemon.post(event("block", user, event_id="ticket-7"))
    assert (answer.status, answer.json()["type"]) == (409, "urn:portcullis:problem:conflict")
    assert status(stack, user) == 200
    refused = stack.daemon.metrics()['portcullis_events_refused_total{kind="conflict"}']
    assert refused >= 1


def test_a_bare_event_takes_no_id_of_one_with_credentials(pair):
    """Who came first may be a forger: with a bare unblock under the id that a block will have."""
    user = new_user()
    forged = event("unblock", user, event_id="order-1")
    pair.redis.client.publish("portcullis.invalidations", json.dumps(forged))
    key = f"{{portcullis}}:state:user:{user}"
    wait_until(lambda: pair.redis.client.hlen(key) == 1, "the forged event to be written")
    genuine = event("block", user, event_id="order-1")
    done = pair.daemon.publish(genuine)
    assert (done["result"], done["redis"]) == ("applied", True)
    assert done["event_id"].startswith("order-1~")
    assert any("another publisher's event" in warning for warning in done["warnings"])
    assert status(pair, user) == 403
    assert pair.daemon.publish(genuine)["result"] == "duplicate"
    # The other way round: a bare event cannot take the id that is taken.
    second = new_user()
    pair.daemon.publish(event("block", second, event_id="order-2"))
    bare = event("unblock", second, event_id="order-2")
    pair.redis.client.publish("portcullis.invalidations", json.dumps(bare))

    assert dead_letters.wait_for(pair.daemon, "order-2")["kind"] == "conflict"
    assert status(pair, second) == 403


def test_the_script_tells_a_conflict_from_a_duplicate(pair):
    user = new_user()
    first = event("block", user, event_id="s-1")
    assert script(pair, first, user)[1] == b"written"
    wait_until(lambda: status(pair, user) == 403, "the block")
    assert script(pair, first, user)[1] == b"duplicate"
    other = event("unblock", user, event_id="s-1")
    with pytest.raises(Exception, match="PORTCULLIS_CONFLICT"):
        script(pair, other, user)

    def told() -> bool:
        letters = dead_letters.everything(pair.daemon)
        return any(letter["event_id"] == "s-1" and letter["kind"] == "conflict" for letter in letters)

    wait_until(told, "the dead letter")
    assert status(pair, user) == 403


def test_what_is_published_through_redis_counts_from_when_it_was_written(pair):
    """The same order for everybody, by Redis's clock and not by the publishers'."""
    user = new_user()
    for slow_ms, action, expected in [
        (-200_000, "block", 403),
        (250_000, "unblock", 200),
        (100_000, "block", 403),
    ]:
        made = event(action, user, at_ms=now_ms() - slow_ms)
        assert script(pair, made, user)[1] == b"written"
        wait_until(lambda code=expected: status(pair, user) == code, action)
    pair.daemon.process.stop()
    pair.daemon.start()
    pair.wait_synced()
    assert status(pair, user) == 403


# --- what a node does nothing about ---------------------------------------------------------------


IDLE = {
    "blocks.shadow: blocks and zeros are only counted": (
        {"blocks": {"shadow": True}}, ["block", "zero", "session"],
    ),
    "blocks.shadow: ": ({"shadow": True}, ["block", "zero", "session"]),
    "identity.session: no source names sessions": (
        {"identity": plugin.USER_BY_HEADER}, ["session"],
    ),
    "identity.user: no source names users": (
        {
            "identity": {"session": [{"header": "x-session-id"}]},
            "limits": [{**plugin.PER_USER, "key": "session"}],
        },
        ["block", "zero", "override"],
    ),
    "limits: none that counts has the key user": (
        {"limits": [{**plugin.PER_USER, "shadow": True}]}, ["zero"],
    ),
}  # fmt: skip
RATE = {"name": "per-user", "max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"}


@pytest.mark.parametrize("cause", IDLE)
def test_what_a_node_does_nothing_about_is_not_enforced(cause, user):
    """Each was `enforced` on 1 node, with exit code 0, and the request passed."""
    changes, idle = IDLE[cause]
    made = {
        "block": event("block", user, scope=["bet"]),
        "zero": event("zero", user),
        "override": event("override", user, limit=RATE),
        "session": event("block", session=new_user()),
    }
    with running(plugin.standard(**changes)) as stack:
        for name, one in made.items():
            answer = stack.daemon.post(one)
            receipt = answer.json()
            if name in idle:
                assert (answer.status, receipt["enforced"], receipt["nodes"]) == (202, False, [])
                [refused] = receipt["refused"]
                assert refused["node"] == "edge-1" and refused["cause"].startswith(cause), refused
                assert stack.daemon.post(one).status == 202, "also when it is repeated"
            else:
                assert (answer.status, receipt["enforced"]) == (200, True), (name, receipt)
        assert stack.node()["idle"]
        # What ends something is as good as it ever was.
        assert stack.daemon.post(event("unblock", user)).json()["enforced"] is True


def test_names_that_no_node_has_are_not_enforced(user):
    """A misspelt scope was `enforced`, with exit code 0, and refused nobody anything."""
    with running() as stack:
        done = stack.daemon.cli("block", user, "--scope", "bett")
        assert done.returncode == 1 and "no connected node has any" in done.stderr, done
        [node] = stack.daemon.get(f"/v1/users/{user}").json()["nodes"]
        assert node["enforced"] is False
        change = stack.daemon.post(event("override", user, limit={**RATE, "name": "per-userr"}))
        assert (change.status, change.json()["enforced"]) == (202, False)
        stack.daemon.block(user, scope=["bet", "bett"])
        assert (status(stack, user, "/bet"), status(stack, user)) == (403, 200)


def test_the_view_and_the_command_line_say_what_is_only_counted(user):
    with running(plugin.standard(blocks={"shadow": True})) as stack:
        done = stack.daemon.cli("block", user, "--reason", "fraud")
        assert done.returncode == 1 and "blocks.shadow" in done.stderr, done
        assert status(stack, user) == 200
        [node] = stack.daemon.get(f"/v1/users/{user}").json()["nodes"]
        assert node["enforced"] is False
