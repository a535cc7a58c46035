"""The daemon's clock jumps, and comes back: no block is lost, and nothing stops working."""

import time
from contextlib import contextmanager

import pytest

from harness import plugin
from harness.clock import Clock
from harness.events import event, new_user, now_ms
from harness.proc import wait_until
from harness.stack import running

HOUR_S, DAY_S = 60 * 60, 24 * 60 * 60


@contextmanager
def with_clock(directory, **options):
    clock = Clock(directory)
    with running(plugin.standard(), daemon_env=clock.env, **options) as stack:
        yield stack, clock


def answer_to(stack, ahead_s: int) -> int:
    """What the daemon says to an event that occurs so much later than now."""
    late = event("block", new_user(), at_ms=now_ms() + ahead_s * 1000)
    return stack.daemon.post(late).status


def set_ahead(stack, clock: Clock, seconds: int) -> None:
    """Sets the daemon's clock, and waits until the daemon goes by it."""
    clock.ahead(seconds)
    # An event from more than five minutes in the future is refused.
    wait_until(lambda: answer_to(stack, seconds) == 200, "the new time to be seen")
    assert answer_to(stack, seconds + 10 * 60) == 400


def swept(stack) -> None:
    """The daemon looks every second for what it may forget."""
    uptime_s = stack.daemon.status()["uptime_s"]
    wait_until(lambda: stack.daemon.status()["uptime_s"] >= uptime_s + 3, "some sweeps")


@pytest.mark.parametrize("jump_s", [30 * DAY_S, -30 * DAY_S], ids=["ahead", "behind"])
def test_known_blocks_outlast_a_jump(tmp_path, user, jump_s):
    """A month is longer than what has ended is kept for."""
    with with_clock(tmp_path) as (stack, clock):
        stack.daemon.block(user, duration="24h")
        stack.daemon.block(forever := new_user())
        stack.daemon.block(lifted := new_user())
        stack.daemon.unblock(lifted)
        set_ahead(stack, clock, jump_s)
        swept(stack)
        assert stack.edge.get("/", user).status == 403
        set_ahead(stack, clock, 0)
        # The new Envoy knows only what the daemon still does, then only what is on its disk.
        for parts in ([stack.edge], [stack.daemon, stack.edge]):
            start_again(stack, parts)
            assert stack.edge.get("/", user).status == 403
            assert stack.edge.get("/", forever).status == 403
            assert stack.edge.get("/", lifted).status == 200


def test_known_blocks_outlast_a_start_with_a_clock_that_is_ahead(tmp_path, user):
    with with_clock(tmp_path) as (stack, clock):
        stack.daemon.block(user, duration="24h")
        clock.ahead(30 * DAY_S)
        start_again(stack, [stack.daemon])
        swept(stack)
        clock.ahead(0)
        start_again(stack, [stack.daemon, stack.edge])
        assert stack.edge.get("/", user).status == 403


def start_again(stack, parts) -> None:
    for part in parts:
        part.process.kill()
    for part in parts:
        part.start()
    stack.wait_synced()


def test_polls_and_receipts_go_by_no_clock_that_jumps(tmp_path, user):
    with with_clock(tmp_path) as (stack, clock):
        for jump_s in (HOUR_S, -HOUR_S, 0):
            set_ahead(stack, clock, jump_s)
            started = time.monotonic()
            now = now_ms() + min(jump_s, 0) * 1000
            stack.daemon.publish(event("block", new_user(), at_ms=now))
            assert time.monotonic() - started < 1
            node = stack.node()
            assert node["connected"] and node["staleness_ms"] < 5000, node
            assert stack.edge.get("/", user).status == 200, "stale"


def test_a_clock_behind_refuses_with_a_cause(tmp_path, user):
    with with_clock(tmp_path) as (stack, clock):
        set_ahead(stack, clock, -HOUR_S)
        refused = stack.daemon.post(event("block", user))
        assert refused.status == 400 and refused.json()["field"] == "occurred_at"
        metrics = stack.daemon.metrics()
        assert metrics['portcullis_events_refused_total{kind="from_the_future"}'] >= 1
        set_ahead(stack, clock, 0)
        stack.daemon.block(user)
        assert stack.edge.get("/", user).status == 403


# One token a second, so that a bucket is soon felt to fill again.
REFILLS = {**plugin.PER_USER, "max_tokens": 5, "tokens_per_fill": 5, "fill_interval": "5s"}


@pytest.mark.parametrize("skew_s", [HOUR_S, -HOUR_S, 0], ids=["ahead", "behind", "right"])
def test_a_zero_empties_buckets_once_whatever_the_daemon_s_clock(tmp_path, user, skew_s):
    clock = Clock(tmp_path)
    clock.ahead(skew_s)
    with running(plugin.standard(limits=[REFILLS]), daemon_env=clock.env) as stack:
        assert stack.edge.get("/", user).status == 200
        stack.daemon.publish(event("zero", user, at_ms=now_ms() + skew_s * 1000))
        begun = time.monotonic()
        assert stack.edge.get("/", user).status == 429
        wait_until(lambda: stack.edge.get("/", user).status == 200, "a token to come back", 3)
        assert time.monotonic() - begun > 0.5, "it was full again at once"
        # A node that starts anew has full buckets, and may empty them once more, but no longer.
        stack.edge.process.kill()
        stack.edge.start()
        stack.wait_synced()
        wait_until(lambda: stack.edge.get("/", user).status == 200, "a token to come back", 3)
