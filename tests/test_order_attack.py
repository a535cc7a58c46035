"""Stories against the order of events: each once had an untrue answer, or ended differently on two daemons or nodes."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import artifacts
from harness.clock import Clock
from harness.events import event, new_user, now_ms
from harness.proc import wait_until
from harness.stack import running
from test_order import cut_off, in_step, two  # noqa: F401
from test_truth import of, script, status, view

NONE_OF_A_MILLION = {"name": "per-user", "max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"}


def start_anew(stack) -> None:
    """Without what it kept."""
    stack.daemon.process.kill()
    shutil.rmtree(stack.daemon.store)
    stack.daemon.store.with_suffix(".witness").unlink()
    stack.daemon.start()


def by_script(stack, made: dict) -> None:
    script(stack, made, made["key"]["user_id"])


def state_key(user: str) -> str:
    return f"{{portcullis}}:state:user:{user}"


def fresh(stack) -> None:
    wait_until(lambda: status(stack, "nobody") != 503, "the Envoy to be fresh")


def assert_same(first, second, user: str) -> None:
    in_step(first, second)
    assert view(first, user) == view(second, user)
    assert status(first, user) == status(second, user)


# --- what Redis has lost, and hears anew ----------------------------------------------------------


def test_a_retry_after_a_flush_is_no_newer_for_a_daemon_that_starts_with_nothing(two):
    """The stream that would have told it is gone: each daemon stayed of its own mind, and said `same`."""
    first, second = two
    user = new_user()
    block = event("block", user, reason="fraud")
    by_script(first, block)
    wait_until(lambda: status(first, user) == 403, "the block")
    first.daemon.unblock(user)
    in_step(first, second)
    first.redis.client.flushall()
    in_step(first, second)
    start_anew(second)
    in_step(first, second)
    by_script(first, block)
    assert_same(first, second, user)
    assert status(first, user) == status(second, user) == 200


def test_a_restart_forgets_no_place_for_good(cut_off):
    """The store has stamps, and the lift that was said meanwhile comes with an earlier place."""
    first, second, ends = cut_off
    user = new_user()
    in_step(first, second)
    second.daemon.process.pause()
    first.redis.publish(event("unblock", user))
    wait_until(lambda: first.redis.client.hlen(state_key(user)) == 1, "the bare unblock to be written")
    by_script(first, event("block", user, reason="fraud"))
    wait_until(lambda: status(first, user) == 403, "the block")
    ends[0].silence()
    first.daemon.post(event("unblock", user, reason="fraud"))
    second.daemon.process.resume()
    wait_until(lambda: view(second, user), "the block at the other daemon")
    second.daemon.process.kill()
    second.daemon.start()
    ends[0].heal()
    fresh(first)
    fresh(second)
    assert_same(first, second, user)
    assert status(first, user) == 200


@pytest.mark.parametrize("many", [40, 90])
def test_more_is_overtaken_by_a_late_stamp_than_is_remembered(two, many):
    first, second = two
    user = new_user()
    in_step(first, second)
    second.daemon.process.pause()
    first.redis.publish(event("unblock", user))
    wait_until(lambda: first.daemon.get(f"/v1/users/{user}").status == 200, "the bare unblock")
    kept = event("block", user, reason="fraud")
    by_script(first, kept)
    for number in range(many):
        by_script(first, event(["block", "unblock"][number % 2], user, reason="other"))
    wait_until(lambda: view(first, user) == [kept["event_id"]], "all of it here")
    second.daemon.process.resume()
    fresh(second)
    assert_same(first, second, user)
    assert status(second, user) == 403


@pytest.mark.parametrize("heard", ["-5", "0", "nan", "inf", "1e300", "0x10", "-0", "1.5", "9" * 17])
def test_whatever_a_publisher_says_when_an_event_was_heard_daemons_agree(two, heard):
    first, second = two
    user = new_user()
    made = event("block", user)
    text = (artifacts.REPOSITORY / "invalidator/redis/publish.lua").read_text()
    keys = [state_key(user), *(f"{{portcullis}}:{name}" for name in ("subjects", "stream", "digest"))]
    given = [
        "portcullis.invalidations",
        f"user:{user}",
        made["event_id"],
        json.dumps(made),
        100_000,
        256,
        heard,
    ]
    first.redis.client.register_script(text)(keys=keys, args=given)
    wait_until(lambda: status(first, user) == 403, "the block")
    assert_same(first, second, user)
    start_anew(second)
    fresh(second)
    assert_same(first, second, user)
    assert status(second, user) == 403


# --- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["api", "bare", "script"])
def test_a_redis_whose_clock_has_gone_back_keeps_the_order(how):
    """As after a failover to a server whose clock is behind: the stream is ahead of the clock."""
    with running(redis=True) as stack:
        user = new_user()
        stack.redis.client.xadd("{portcullis}:stream", {"of": "before"}, id=f"{now_ms() + 20_000}-0")
        by_script(stack, event("block", user))
        wait_until(lambda: status(stack, user) == 403, "the block")
        by_script(stack, event("unblock", user))
        wait_until(lambda: status(stack, user) == 200, "the unblock")
        block = event("block", user)
        if how == "api":
            assert stack.daemon.publish(block)["in_effect"] is True
        elif how == "bare":
            stack.redis.publish(block)
        else:
            by_script(stack, block)
        in_step(stack)
        assert view(stack, user) == [block["event_id"]]
        assert status(stack, user) == 403


@pytest.mark.parametrize("jump_s", [-30, 200])
@pytest.mark.parametrize("ways", ["script bare", "bare api", "bare bare", "bare script"])
def test_the_last_word_stays_the_last_while_the_daemons_clock_is_set(tmp_path, jump_s, ways):
    """What was answered as enforced was undone a quarter of a second later."""
    clock = Clock(tmp_path)
    with running(redis=True, daemon_env=clock.env) as stack:
        user = new_user()
        stack.daemon.block(user)
        unblock, block = event("unblock", user), event("block", user)
        send = {
            "script": lambda made: by_script(stack, made),
            "bare": stack.redis.publish,
            "api": stack.daemon.publish,
        }
        first, last = ways.split()
        clock.ahead(jump_s)
        send[first](unblock)
        wait_until(lambda: view(stack, user) == [], "the unblock")
        time.sleep(0.01)
        send[last](block)
        wait_until(
            lambda: stack.redis.client.hexists(state_key(user), block["event_id"]), "the block in Redis"
        )
        in_step(stack)
        assert view(stack, user) == [block["event_id"]]
        assert status(stack, user) == 403


@pytest.mark.parametrize("how", ["clock", "message"])
def test_no_stamp_of_the_future_stays_with_a_node(tmp_path, how):
    """The daemon that starts with nothing has a smaller one, and says `enforced` of what its node ignores."""
    clock = Clock(tmp_path)
    with running(redis=True, daemon_env=clock.env) as stack:
        user = new_user()
        block = event("block", user, at_ms=now_ms() + 200_000)
        if how == "clock":
            clock.ahead(240)
            stack.daemon.post(block)
            clock.ahead(0)
        else:
            message = f"{now_ms() + 290_000}-0 {json.dumps(block)}"
            stack.redis.client.publish(stack.redis.CHANNEL, message)
        wait_until(lambda: status(stack, user) == 403, "the block")
        wait_until(
            lambda: stack.redis.client.hexists(state_key(user), block["event_id"]), "the block in Redis"
        )
        start_anew(stack)
        stack.wait_synced()
        wait_until(lambda: view(stack, user), "the block")
        time.sleep(1)
        assert stack.daemon.publish(event("unblock", user))["in_effect"] is True
        assert status(stack, user) == 200


# --- a user at the limits -------------------------------------------------------------------------


def test_a_state_in_redis_that_is_full_keeps_out_nothing_that_a_daemon_took_in(two):
    first, second = two
    user = new_user()
    for number in range(256):
        by_script(first, event("block", user, reason=f"r-{number}"))
    wait_until(lambda: status(second, user) == 403, "the blocks")
    done = first.daemon.publish(event("unblock", user))
    assert (done["in_effect"], done["redis"]) == (True, True)
    assert_same(first, second, user)
    assert status(second, user) == 200


@pytest.mark.xfail(strict=True, reason="which publishers' numbers count depends on who was heard first")
def test_numbers_of_more_publishers_than_count(cut_off):
    first, second, ends = cut_off
    user = new_user()
    in_step(first, second)
    for link in ends:
        link.silence()

    def say(stack, names: str) -> None:
        for name in names:
            stack.daemon.post(of(event("unblock", user, sequence=5, reason=f"r-{name}"), name))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(say, [first, second], ["abcd", "efgh"]))
    for link in ends:
        link.heal()
    in_step(first, second)
    first.daemon.post(of(event("block", user, sequence=4, reason="r-a"), "a"))
    first.daemon.post(of(event("block", user, sequence=4, reason="r-e"), "e"))
    assert_same(first, second, user)


@pytest.mark.xfail(strict=True, reason="who finds room depends on who was heard first")
def test_both_daemons_are_full_of_other_blocks(cut_off):
    first, second, ends = cut_off
    user = new_user()
    wait_until(first.redis.client.ping, "Redis")
    for link in ends:
        link.silence()
    with ThreadPoolExecutor(48) as pool:
        for number in range(24):
            pool.submit(first.daemon.post, event("block", user, reason=f"a-{number}", scope=["bet"]))
            pool.submit(second.daemon.post, event("block", user, reason=f"b-{number}", scope=["deposit"]))
    for link in ends:
        link.heal()
    fresh(first)
    fresh(second)
    wait_until(lambda: first.redis.client.hlen(state_key(user)) == 48, "all in Redis", 20)
    assert view(first, user) == view(second, user)


@pytest.mark.parametrize("what", ["block", "override"])
def test_a_node_that_was_away_hears_of_a_lift_that_is_forgotten_since(two, what):
    first, _ = two
    user = new_user()
    if what == "block":
        first.daemon.block(user, reason="fraud")
        lift = event("unblock", user, reason="fraud")
    else:
        first.daemon.publish(event("override", user, limit=NONE_OF_A_MILLION))
        lift = event("override", user, limit={"name": "per-user", "default": True})
    first.edge.process.pause()
    # What the held poll is answered with.
    by_script(first, event("block", other := new_user()))
    wait_until(lambda: view(first, other), "the block of another")
    by_script(first, lift)
    for number in range(20):
        by_script(first, event("unblock", user, reason=f"x-{number}"))
    in_view = lambda: first.daemon.get(f"/v1/users/{user}").json()  # noqa: E731
    wait_until(lambda: not in_view()["blocks"] and not in_view()["overrides"], "the lift")
    first.edge.process.resume()
    first.wait_synced()
    assert [status(first, user) for _ in range(3)] == [200] * 3
